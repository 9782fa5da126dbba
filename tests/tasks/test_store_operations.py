"""What each stage asks of the store, counted. A chunk that is read again needs a reason, which stands here.

Requests are counted where they leave the process: obstore's functions, and zarr's reads of shards. On S3 each
is a round trip, and a put or a list is paid for.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace

import obstore
import pytest

from storage import objects as objects_of_a_store
from storage.arrays import CheckedStore
from storage.objects import open_store
from tasks.extract import extract
from tasks.ingest import ingest
from tasks.preprocess import preprocess
from tasks.samples import attach_sample
from tasks.segment import segment
from tasks.simulate import simulate_experiment
from tests.support import QUICK, TINY, found_in

VERBS = ("get", "put", "head", "list", "delete")
PLANES, LEVELS = 2, 2  # a plane is one shard in each level
TILED = QUICK.model_copy(update={"segment": QUICK.segment.model_copy(update={"tile_px": 128})})
STRANGER = "0" * 20
STEPS = {"ingest": 1, "preprocess": 2, "segment": 5, "extract": 1}


@dataclass
class Requests:
    """The requests of one stage, and how many units it had."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    units: int = 0

    def of(self, verb, pattern=""):
        """How often each name that holds a pattern was asked for."""
        return Counter(name for asked, name in self.seen if asked == verb and re.search(pattern, name))

    def count(self, verb, pattern=""):
        return self.of(verb, pattern).total()


def counted(patch, requests):
    """Count every request from now on."""

    def noting(verb, function):
        def request(backend, name=None, *args, **kwargs):
            requests.seen.append((verb, str(name)))
            return function(backend, name, *args, **kwargs)

        return request

    async def get(store, key, *args, **kwargs):
        requests.seen.append(("get", f"{store.folder}/{key}"))
        return await read(store, key, *args, **kwargs)

    def walked(folder, prefix, **torn):
        if not torn:  # whole objects, as S3 would list them
            requests.seen.append(("list", prefix))
        return walk(folder, prefix, **torn)

    read, walk = CheckedStore.get, objects_of_a_store.walk
    for verb in VERBS:
        patch.setattr(obstore, verb, noting(verb, getattr(obstore, verb)))
    patch.setattr(objects_of_a_store, "walk", walked)
    patch.setattr(CheckedStore, "get", get)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The requests of each stage on two planes of 192 x 300 px, cut into tiles of 128 px."""
    folder = tmp_path_factory.mktemp("operations")
    simulate_experiment(folder / "experiment", replace(TINY, width_px=300))
    objects = open_store(str(folder / "store"), create=True)
    url, resources = objects.url, TILED.resources
    objects.put_all({f"records/{kind}/{STRANGER}.json": b"of another" for kind in ("clean", "labels")})
    found = found_in(folder / "experiment")[0]
    stages = {name: Requests() for name in STEPS}

    def asked(name, stage, *args, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            counted(patch, stages[name])
            made = stage.fn(*args, **kwargs)
        stages[name].units = made.units_done
        return made

    raw = asked("ingest", ingest, found.acquisition, url, TILED.ingest, resources)
    clean = asked("preprocess", preprocess, raw, url, TILED.preprocess, resources)
    labels = asked("segment", segment, clean, url, TILED.segment, resources)
    asked(
        "extract",
        extract,
        clean=clean,
        labels=labels,
        sample=attach_sample(objects, raw, found.sample, None),
        truth=None,
        store=url,
        settings=TILED.extract,
        resources=resources,
    )
    return stages


def test_ingest_writes_each_shard_once_and_reads_none(stages):
    assert stages["ingest"].count("put", "/c/") == PLANES * LEVELS
    assert stages["ingest"].count("get", "/c/") == 0


def test_preprocess_reads_a_plane_for_the_vote_and_for_the_cleaning(stages):
    """The angle is that of all planes, so none can be cleaned before the last has voted."""
    assert set(stages["preprocess"].of("get", "/c/").values()) == {2}
    assert stages["preprocess"].count("get", "acquisitions/.*/1/c/") == 0
    assert stages["preprocess"].count("get", "/c/") == 2 * PLANES
    assert stages["preprocess"].count("put", "/c/") == PLANES * LEVELS


def test_segment_reads_a_plane_for_its_facts_and_once_a_tile_and_group_of_cells(stages):
    """Tiles see their neighbours' pixels (the halo), and one chunk of 512 px holds many small tiles.

    Cells are measured a few tiles at a time, so that a plane need not fit the memory.
    """
    groups = stages["segment"].count("put", "progress/labels/.*/cells/")
    tiles = len(stages["segment"].of("put", "scratch/c/"))
    assert tiles > 2 * PLANES
    clean = stages["segment"].of("get", r"image\.ome\.zarr/0/c/")
    assert groups < tiles
    assert list(clean.values()) == [1 + (tiles + groups) // PLANES] * PLANES


def test_segment_reads_final_labels_to_measure_the_cells(stages):
    """A cell is measured whole by one group of tiles, which may reach into those of up to three others."""
    labels = stages["segment"].of("get", "image.*/labels/.*/c/")
    assert max(labels.values()) <= 1 + 3
    written = set(stages["segment"].of("put", "image.*/labels/.*/0/c/"))
    assert set(labels) <= written  # where there is no cell, nothing is measured
    assert stages["segment"].count("put", "image.*/labels/.*/c/") == LEVELS * len(written)


def test_segment_reads_first_labels_for_each_pair_of_tiles_and_to_number_them(stages):
    """A tile is read with the neighbours right of and below it, and as such of up to three others."""
    scratch = stages["segment"].of("get", "scratch/c/")
    assert set(scratch) == set(stages["segment"].of("put", "scratch/c/"))
    assert max(scratch.values()) <= 1 + 3 + 1


def test_extract_reads_each_shard_once(stages):
    assert set(stages["extract"].of("get", "/c/").values()) == {1}


@pytest.mark.parametrize("stage", STEPS)
def test_no_record_of_another_acquisition_is_read(stage, stages):
    """A store holds a million of them."""
    assert stages[stage].count("get", STRANGER) == 0
    assert stages[stage].count("list", "^records") == 0


@pytest.mark.parametrize("stage", STEPS)
def test_metadata_is_read_once_in_a_step(stage, stages):
    """And by the stage itself: before it makes an array it looks for one that an unfinished run left."""
    reads = stages[stage].of("get", r"^(?!.*cells\.zarr).*zarr\.json$")
    assert reads
    assert max(reads.values()) <= STEPS[stage] + 3


@pytest.mark.parametrize("stage", STEPS)
def test_nothing_is_written_twice(stage, stages):
    """But for the lease, which the clock renews."""
    assert set(stages[stage].of("put", r"(?<!lease\.json)$").values()) == {1}


@pytest.mark.parametrize("stage", STEPS)
def test_whether_something_is_there_is_asked_only_before_a_table_is_read(stage, stages):
    tables = {"extract": 3}  # of the labels for their sizes and then in parts, and of the patches
    assert stages[stage].count("head") <= tables.get(stage, 0)


@pytest.mark.parametrize("stage", STEPS)
def test_listings_do_not_grow_with_the_units(stage, stages):
    """The markers of each step; tables before, while and after they grow; what is there at last."""
    assert stages[stage].count("list") <= STEPS[stage] + 6


@pytest.mark.parametrize("stage", STEPS)
def test_a_unit_costs_a_marker_and_its_removal(stage, stages):
    for verb in ("put", "delete"):
        markers = stages[stage].count(verb, "progress/.*/[0-9.]+json$")
        assert markers == stages[stage].units
