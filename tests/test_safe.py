"""Names that came from elsewhere lead nowhere else, and nothing from elsewhere is run."""

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from flows.cli.app import app
from storage import names, records
from storage.errors import ChipcyteError, DamagedStoreError, FormatError, InputError
from storage.keys import canonical_json, digest_text
from storage.layout import manifest_path, record_path
from storage.objects import Objects, open_store
from storage.plates import plain_names
from storage.samples import Sample
from storage.sources.discovery import find_acquisitions, open_acquisition
from tasks.refine_export import Frame
from tasks.samples import attach_sample
from tests.test_rooms import FILES, ROOT

HOSTILE = ["../../x", "/etc/x", "a/../../x", "./x", "a//x", "a\0x", "..", "", "C:x", "..\\x", "a\nx"]
HARMLESS = ["..%2fx", "a b/ü.tif", "...", "a..b", "-rf", "~", "$HOME", "%2e%2e/x"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_none(name: str, tmp_path: Path) -> None:
    assert not names.is_plain(name)
    with pytest.raises(InputError, match="may lead elsewhere"):
        names.inside(tmp_path, name)


@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_name_is_only_a_name(name: str, tmp_path: Path) -> None:
    assert names.inside(tmp_path, name) == tmp_path / name


def test_a_link_on_the_way_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="may lead elsewhere"):
        names.inside(tmp_path / "folder", "link/x")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_store_keeps_every_object_below_itself(store: Objects, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(store.url)}
    for act in (lambda: store.put(name, b"x"), lambda: store.create(name, b"x"), lambda: store.get(name)):
        try:
            act()
        except (ChipcyteError, ValueError):
            continue
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(store.url)} == before


@pytest.mark.parametrize("field", ["path", "kind", "key", "parents"])
def test_a_forged_record_is_a_damaged_one(store: Objects, field: str) -> None:
    record = records.Record(kind="raw", key="aa", name="../../x", path="acquisitions/aa").model_dump()
    record[field] = [{"kind": "raw", "key": "../../x"}] if field == "parents" else "../../x"
    store.put(record_path("raw", "aa"), json.dumps(record).encode())
    with pytest.raises(DamagedStoreError, match="leads out of the store"):
        records.read(store, "raw", "aa")


def test_a_forged_manifest_is_a_damaged_one(store: Objects) -> None:
    manifest = canonical_json({"../../x": [1, "0"]})
    digest = digest_text(manifest)
    store.put(manifest_path("raw", "aa", digest), manifest.encode())
    record = records.Record(kind="raw", key="aa", name="a", path="acquisitions/aa", digest=digest)
    with pytest.raises(DamagedStoreError, match="leads out of the store"):
        records.read_manifest(store, record)


def test_what_samples_csv_says_becomes_no_path(carried, tmp_path: Path) -> None:
    """Chips and conditions name the rows and columns of a plate, files and names those of a correction."""
    shutil.copytree(carried[0].url, tmp_path / "store")
    objects = open_store(str(tmp_path / "store"))
    for one, name in zip(carried[1], HOSTILE, strict=False):
        said = Sample(file=name or "-", chip=name or "-", condition=f"{name}/..%2f", position=name)
        attach_sample(objects, one.raw, said, None)
    out = tmp_path / "deep" / "er" / "plate.zarr"
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")}
    result = CliRunner().invoke(app, ["export", "--as", "plate", str(out), "--store", objects.url])
    assert result.exit_code == 0, result.stderr
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")} == before
    assert list((tmp_path / "deep" / "er").iterdir()) == [out]
    for name in plain_names(HOSTILE + HARMLESS, "empty"):
        assert name.isalnum()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_recording_is_called_becomes_no_path(store: Objects, name: str) -> None:
    clean = records.Reference(kind="clean", key="abcdef")
    frame = Frame(
        store, records.Record(kind="labels", key="a", name=name, path="", parents=(clean,)), 0, 0, ""
    )
    assert names.is_plain(f"{frame.name}.tif")
    assert "/" not in frame.name


OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">{image}</OME>'
IMAGE = (
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" '
    'SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:0" SamplesPerPixel="1"/><TiffData IFD="0" '
    'PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData></Pixels></Image>'
)
OWN = "6c3ea86d-1b4d-4a6a-9a44-5a3b0a1d1f01"


@pytest.mark.parametrize("uuid", [f"urn:uuid:{OWN}", f" urn:uuid:{OWN} ", "urn:uuid:another"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("ending", [".ome.tif", ".companion.ome"])
def test_a_recording_reads_no_file_of_another_folder(
    tmp_path: Path, uuid: str, absolute: bool, ending: str
) -> None:
    """Whether the OME-XML says that the plane lies elsewhere, or that elsewhere is here."""
    secret = tmp_path / "private" / "secret.tif"
    secret.parent.mkdir()
    tifffile.imwrite(secret, np.full((8, 8), 7, np.uint16))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    name = str(secret) if absolute else "../private/secret.tif"
    text = OME.format(own=OWN, image=IMAGE.format(name=name, uuid=uuid))
    if ending == ".ome.tif":
        tifffile.imwrite(inbox / f"a{ending}", np.zeros((8, 8), np.uint16), description=text, metadata=None)
    else:
        (inbox / f"a{ending}").write_text(text)
    (acquisition,) = find_acquisitions([inbox])
    with pytest.raises(FormatError, match=r"another folder|expected \S+secret.tif beside it"):
        open_acquisition(acquisition)


FORBIDDEN = {
    ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("cloudpickle", "load"),
    ("cloudpickle", "loads"), ("dill", "load"), ("dill", "loads"), ("joblib", "load"), ("marshal", "load"),
    ("marshal", "loads"), ("shelve", "open"), ("pd", "read_pickle"), ("yaml", "load"),
}  # fmt: skip
WRITES_FOR_CELLPOSE = {
    ("storage/seg_files.py", "np.save")
}  # its windows open nothing else; read by pickled.py


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def says(call: ast.Call, keyword: str) -> str | None:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == keyword), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path: Path) -> None:
    """Dask's own messages between our processes are the one exception, and none of this code's."""
    place = str(path.relative_to(ROOT))
    for name, call in calls(path):
        assert tuple(name.rsplit(".", 2)[-2:]) not in FORBIDDEN, f"{place}:{call.lineno}"
        assert name not in ("eval", "exec"), f"{place}:{call.lineno}"
        if name == "torch.load":
            assert says(call, "weights_only") == "True", f"{place}:{call.lineno}"
        if name in ("np.load", "numpy.load"):
            assert says(call, "allow_pickle") == "False", f"{place}:{call.lineno}"
        elif (place, name) not in WRITES_FOR_CELLPOSE:
            assert says(call, "allow_pickle") in (None, "False"), f"{place}:{call.lineno}"
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "cloudpickle", "dill")
        for alias in node.names
    }
    assert not imported & {"load", "loads", "Unpickler"}
