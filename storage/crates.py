"""A result as an RO-Crate 1.1: its files, and how it was made, for archives and other people's programs.

The document follows the specification (w3id.org/ro/crate/1.1) and its profile for provenance: each record of
the lineage is a file of the crate, and each artifact is the result of one action on its parents' records.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from storage import layout, records
from storage.keys import digest_text
from storage.names import inside
from storage.objects import Objects
from storage.records import Record
from storage.staging import check_space, staged, write_file

DOCUMENT = "ro-crate-metadata.json"
DATA = "data/"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
Listener = Callable[[int, int], None]
Entity = dict[str, Any]


def export_crate(objects: Objects, record: Record, out: Path, listener: Listener | None = None) -> int:
    """Copy an artifact with the records of all it was made from into a folder that is an RO-Crate.

    Returns
    -------
    The number of actions that led to it.

    Raises
    ------
    InputError
        `out` exists and is not an empty folder, or lies in the store.
    DamagedStoreError
        An object of the artifact is lost or changed.
    """
    chain = records.lineage(objects, record)
    manifest = records.read_manifest(objects, record)
    with staged(objects, out, is_folder=True) as staging:
        staging.mkdir()
        check_space(out.parent, sum(size for size, _ in manifest.values()))
        copied: dict[str, int] = {}
        for number, (path, wanted) in enumerate(manifest.items(), start=1):
            name = DATA + path.removeprefix(f"{layout.artifact_folder(record.kind, record.key)}/")
            copied[name] = wanted[0]
            write_file(inside(staging, name), records.checked_bytes(objects, path, wanted))
            if listener is not None:
                listener(number, len(manifest))
        for one in chain:
            content = json.dumps(one.model_dump(mode="json"), indent=1, sort_keys=True).encode()
            copied[_file(one)] = len(content)
            write_file(inside(staging, _file(one)), content)
        text = json.dumps(described(chain, copied), indent=2, ensure_ascii=False)
        write_file(staging / DOCUMENT, text.encode())
    return len(chain)


def described(chain: list[Record], files: Mapping[str, int]) -> dict[str, Any]:
    """Return the document of a crate.

    Parameters
    ----------
    chain
        The result's record, then those of all it was made from.
    files
        Size in bytes of the crate's files, by path in it.
    """
    result = chain[0]
    about = {"@id": "./"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{result.kind} {result.name}",
        "description": f"The {result.kind} {result.key} that chipcyte made, and the records of its making.",
        "datePublished": result.created,
        "identifier": result.key,
        "hasPart": [{"@id": name} for name in sorted(files)],
        "mentions": [{"@id": _action(one)} for one in chain],
    }
    head = {
        "@id": DOCUMENT,
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": about,
    }
    graph = [head, root, *_file_entities(chain, files), *_actions(chain), *_software(chain)]
    return {"@context": f"{SPECIFICATION}/context", "@graph": graph}


def _file_entities(chain: Iterable[Record], files: Mapping[str, int]) -> list[Entity]:
    of = {_file(one): one for one in chain}
    found: list[Entity] = []
    for name, size_bytes in sorted(files.items()):
        entity: Entity = {"@id": name, "@type": "File", "contentSize": str(size_bytes)}
        if name in of:
            one = of[name]
            entity |= {
                "name": f"{one.kind} {one.name}",
                "identifier": one.key,
                "description": f"The record of {one.kind} {one.key}: settings, counts, versions, parents.",
                "encodingFormat": "application/json",
                "dateCreated": one.created,
            }
        found.append(entity)
    return found


def _actions(chain: list[Record]) -> list[Entity]:
    known = {one.reference: one for one in chain}
    made = chain[0]
    found: list[Entity] = []
    for one in chain:
        results = [{"@id": _file(one)}]
        if one is made:
            results.append({"@id": "./"})
        found.append(
            {
                "@id": _action(one),
                "@type": "CreateAction",
                "name": f"{one.kind} of {one.name}",
                "instrument": {"@id": _software_id(one)},
                "object": [{"@id": _file(known[parent])} for parent in one.parents],
                "result": results,
                "endTime": one.created,
                "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
            }
        )
    return found


def _software(chain: Iterable[Record]) -> list[Entity]:
    """Return one entity for each version of chipcyte that made something."""
    by_identity = {_software_id(one): one.versions for one in chain}
    return [
        {
            "@id": identity,
            "@type": "SoftwareApplication",
            "name": "chipcyte",
            "softwareVersion": versions.get("chipcyte", "unknown"),
            "softwareRequirements": [f"{name} {number}" for name, number in sorted(versions.items())],
        }
        for identity, versions in sorted(by_identity.items())
    ]


def _software_id(record: Record) -> str:
    return f"#software-{digest_text(json.dumps(record.versions, sort_keys=True))[:12]}"


def _action(record: Record) -> str:
    return f"#make-{record.kind}-{record.key}"


def _file(record: Record) -> str:
    return layout.record_path(record.kind, record.key)
