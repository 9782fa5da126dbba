import shutil
from dataclasses import replace

import pytest

from storage import records
from storage.objects import open_store
from storage.samples import Sample
from tasks.samples import (
    Statements,
    attach_sample,
    attach_truth,
    sample_facts,
    standing_samples,
    standing_truths,
)
from tests.support import carry, cells_of, ingested

A, B = (Sample(file="a.tif", chip="1", condition=condition) for condition in ("wild type", "BRAF"))
ROWS = [
    {"t": 0, "label": 1, "centroid_y_px": 2.0, "centroid_x_px": 3.0, "population": "round"},
    {"t": 1, "label": 1, "centroid_y_px": 2.5, "centroid_x_px": 3.0, "population": "bent"},
]


@pytest.fixture
def raw(experiment, store):
    return ingested(store, experiment / "wt-1_p1.ome.tif")


def said(store, raw, sample):
    return attach_sample(store, raw, sample, standing_samples(store).get(raw.key))


def test_the_same_statement_is_noted_once(store, raw):
    first, second = said(store, raw, A), said(store, raw, A)
    assert (first.reused, second.reused) == (False, True)
    assert first.key == second.key
    assert sample_facts(store, second) == A


def test_the_last_statement_holds_also_after_going_back(store, raw):
    keys = [said(store, raw, sample).key for sample in (A, B, A)]
    assert len(set(keys)) == 3
    assert standing_samples(store)[raw.key].key == keys[-1]
    assert sample_facts(store, said(store, raw, A)) == A


@pytest.mark.parametrize("followed", [A, B])
def test_what_follows_one_of_two_statements_made_at_once_comes_after_both(followed, store, raw, monkeypatch):
    monkeypatch.setattr(records, "now", lambda: "2026-01-01T00:00:00+00:00")
    for sample in (A, B):
        attach_sample(store, raw, sample, None)
    (one,) = [every for every in records.listing(store, "sample") if every.settings == followed.model_dump()]
    later = attach_sample(store, raw, A.model_copy(update={"condition": "other"}), one)
    assert standing_samples(store)[raw.key].key == later.key


def test_statements_about_two_acquisitions_do_not_mix(experiment, store, raw):
    other = ingested(store, experiment / "braf-1_p1.ome.tif")
    said(store, raw, A)
    said(store, other, B)
    standing = standing_samples(store)
    assert (standing[raw.key].settings["condition"], standing[other.key].settings["condition"]) == (
        "wild type",
        "BRAF",
    )


def test_of_some_acquisitions_all_is_known_and_of_the_others_nothing_is_looked_into(
    experiment, store, raw, monkeypatch
):
    other = ingested(store, experiment / "braf-1_p1.ome.tif")
    last = [said(store, raw, sample) for sample in (A, B)][-1]
    said(store, other, B)
    parsed, parse = [], records._parsed
    monkeypatch.setattr(records, "_parsed", lambda *given: parsed.append(given) or parse(*given))
    assert {key: one.key for key, one in standing_samples(store, {raw.key}).items()} == {raw.key: last.key}
    assert len(parsed) == 2
    assert standing_samples(store, set()) == {}


def test_what_was_said_is_read_once_and_not_for_what_is_new(store, raw, monkeypatch):
    last, asked = said(store, raw, A), []
    monkeypatch.setattr(
        "tasks.samples.standing_samples", lambda objects: asked.append(1) or standing_samples(objects)
    )
    statements, again = Statements(store), replace(raw, reused=True)
    assert statements.about(raw) is None
    assert asked == []
    assert [statements.about(again).key for _ in range(2)] == [last.key] * 2
    assert asked == [1]


def test_truth_is_kept_once_and_found_by_the_raw_image(store, raw):
    first, second = attach_truth(store, raw, ROWS), attach_truth(store, raw, ROWS)
    assert second.reused
    assert first.counts["cells"] == 2
    assert standing_truths(store)[raw.key].key == first.key
    table = cells_of(store, first)
    assert table["population"].astype(str).tolist() == ["round", "bent"]
    assert table["centroid_y_px"].tolist() == [2.0, 2.5]


def test_without_rows_there_is_no_truth(store, raw):
    assert attach_truth(store, raw, []) is None
    assert standing_truths(store) == {}


def test_another_condition_makes_new_tables_and_patches_and_nothing_else(carried, tmp_path):
    objects, (first, *_) = carried
    shutil.copytree(objects.url, tmp_path / "copy")
    copy, found = open_store(str(tmp_path / "copy")), first.found
    changed = type(found)(found.acquisition, Sample(file=found.acquisition.name, condition="x"), found.truth)
    second = carry(copy, changed)
    assert (second.raw.reused, second.clean.reused) == (True, True)
    assert (second.labels.reused, second.labels.units_done) == (False, 0), (
        "labels are taken over, not computed"
    )
    assert not second.patches.reused
    assert set(cells_of(copy, second.patches)["condition"]) == {"x"}
    assert set(cells_of(copy, first.patches)["condition"]) == {first.found.sample.condition}
