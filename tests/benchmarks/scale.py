"""A million records, ten thousand recordings that wait, 100 TB: listing, planning, and the watcher's look.

No pixel exists: records are written as files; the recordings are one sparse file of 10 GB under many names.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from flows.watching import Watcher, open_watcher
from storage import layout, records
from storage.inbox import FileState
from storage.keys import KEY_LENGTH, digest_text
from storage.objects import Objects, open_store
from storage.records import Record, Reference
from tasks.samples import standing_samples
from tasks.settings import Settings
from tests.benchmarks.measuring import scratch_folder, timed
from tests.support import ROOT

RECORDS, PENDING = 1_000_000, 10_000
KINDS = ("raw", "sample", "clean", "labels", "patches")  # of each acquisition one
PLANES, EDGE_PX = 1192, 2048  # uint16: 10 GB
COMMAND = "from flows.cli import main; main()"


def run(size: float) -> None:
    """Make a store and an inbox, and print how long each question takes."""
    acquisitions, pending = round(RECORDS * size) // len(KINDS), round(PENDING * size)
    with scratch_folder() as folder:
        objects = open_store(str(folder / "store"), create=True)
        made_s = timed(lambda: _write_records(objects, acquisitions))
        print(f"{acquisitions * len(KINDS):,} records written in {made_s:.0f} s\n")
        _print_times(_questions(objects))
        inbox = folder / "inbox"
        _write_recordings(inbox, pending)
        for name, words in _commands(objects, inbox):
            before, began = _children_cpu_s(), time.perf_counter()
            said = _chipcyte(*words)
            seconds = time.perf_counter() - began
            print(f"{name:<58}{seconds:>8.2f} s{_children_cpu_s() - before:>8.2f} s of CPU", flush=True)
        print("\n" + "\n".join(said.splitlines()[-4:]) + "\n")  # of the plan
        _print_times(_looks(objects, inbox))


def _print_times(questions: Iterator[tuple[str, Callable[[], object]]]) -> None:
    for name, work in questions:
        began = time.process_time()
        seconds = timed(work)
        print(f"{name:<58}{seconds:>8.2f} s{time.process_time() - began:>8.2f} s of CPU", flush=True)


def _questions(objects: Objects) -> Iterator[tuple[str, Callable[[], object]]]:
    key = _key("labels", 7)
    yield "the last 1000 of all records", lambda: records.newest(objects, None, 1000)
    yield "the last 1000 of one kind", lambda: records.newest(objects, "raw", 1000)
    yield "a record by its whole key", lambda: records.resolve(objects, key)
    yield "a record by the first 12 digits", lambda: records.resolve(objects, key[:12])
    raws = {_key("raw", 7)}
    yield "samples of one acquisition, which its run reads", lambda: standing_samples(objects, raws)
    yield "all samples that hold, which a run of all reads", lambda: standing_samples(objects)


def _commands(objects: Objects, inbox: Path) -> Iterator[tuple[str, list[str]]]:
    store = ["--store", objects.url]
    yield "chipcyte --help", ["--help"]
    yield "chipcyte list", ["list", *store]
    yield "chipcyte list raw", ["list", "raw", *store]
    yield "chipcyte show KEY", ["show", _key("patches", 7), *store]
    yield "chipcyte plan, one recording", ["plan", str(inbox / "chip0_0.tif"), *store]
    yield "chipcyte plan, all recordings", ["plan", str(inbox), *store]


def _looks(objects: Objects, inbox: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """A watcher that starts, one that finds all complete, and one that knows all files."""
    watcher = open_watcher(str(inbox), objects.url, Settings(), announce=lambda _: None)
    yield "the watcher's first look, all recordings new", watcher.look
    yield "its next look, all of them complete", watcher.look
    _settle(watcher, inbox)
    yield "a look where all of them are known", watcher.look


def _settle(watcher: Watcher, inbox: Path) -> None:
    """Note all files as taken, as if each had become a raw image of the store."""
    marks = []
    for number, path in enumerate(sorted(inbox.glob("*.tif"))):
        facts = path.stat()
        answer = f"raw/{_key('raw', number)}"
        marks.append((path.name, FileState(facts.st_size, facts.st_mtime_ns), (answer,)))
    watcher.known.note(marks)
    watcher.known.flush()


def _key(kind: str, number: int) -> str:
    return digest_text(f"{kind} {number}")[:KEY_LENGTH]


def _write_records(objects: Objects, acquisitions: int) -> None:
    folder = Path(objects.url, layout.RECORDS)
    for place, kind in enumerate(KINDS):
        (folder / kind).mkdir(parents=True)
        parents = (Reference(kind=KINDS[place - 1], key="PARENT"),) if place else ()
        text = json.dumps(_record(kind, parents).model_dump(mode="json"), indent=1, sort_keys=True)
        for number in range(acquisitions):
            parent = _key(KINDS[place - 1], number)
            content = text.replace("PARENT", parent).replace("KEY", _key(kind, number))
            (folder / kind / f"{_key(kind, number)}.json").write_text(content)


def _record(kind: str, parents: tuple[Reference, ...]) -> Record:
    facts: dict[str, Any] = {"shape": [PLANES, 1, 1, EDGE_PX, EDGE_PX], "dtype": "uint16"}
    sample = {"file": "a.ome.tif", "chip": "wt-1", "condition": "wild type", "position": "", "replicate": ""}
    return Record(
        kind=kind,
        key="KEY",
        name="chip KEY.ome.tif",
        path=f"{layout.artifact_folder(kind, 'KEY')}/image.ome.zarr",
        parents=parents,
        settings=sample if kind == "sample" else {"content": "0" * 64},
        versions=dict(records.software_versions()),
        created=records.now(),
        counts={"frames": PLANES, "units": PLANES},
        details=facts,
    )


def _write_recordings(inbox: Path, count: int) -> None:
    """Write one sparse file and link it under many names, with a row of samples.csv for each."""
    inbox.mkdir()
    first = inbox / "chip0_0.tif"
    facts: dict[str, Any] = {"bigtiff": True, "metadata": {"axes": "TYX"}}
    tifffile.imwrite(first, shape=(PLANES, EDGE_PX, EDGE_PX), dtype=np.uint16, truncate=True, **facts)
    names = [f"chip{number % 8}_{number}.tif" for number in range(count)]
    for name in names[1:]:
        os.link(first, inbox / name)
    rows = [f"{name},{name.partition('_')[0]},wild type" for name in names]
    (inbox / "samples.csv").write_text("\n".join(["file,chip,condition", *rows]) + "\n")


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _chipcyte(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout
