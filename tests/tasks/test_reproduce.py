import json

import numpy as np
import pytest

from flows.cli.reproduce import _changed
from storage.errors import InputError
from storage.objects import open_store
from tasks.models import training
from tasks.reproduce import reproduce, sweep, track
from tasks.reproduce_settings import as_vae, recipe
from tasks.stage import folder
from tests.storage.test_idx import write_split


def glyphs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten kinds of glyphs of 3 x 3 blocks on black, each moved and shaded a little."""
    kinds = np.random.default_rng(5).permutation(512)[:10]
    rng = np.random.default_rng(seed)
    labels, nyx = rng.integers(0, 10, n), np.zeros((n, 28, 28), np.uint8)
    for image, label in zip(nyx, labels, strict=True):
        blocks = np.unpackbits(np.array([kinds[label] >> 8, kinds[label] & 255], np.uint8))[-9:].reshape(3, 3)
        y, x = rng.integers(4, 7, 2)
        image[y : y + 18, x : x + 18] = np.kron(blocks, np.ones((6, 6))) * rng.integers(180, 256)
    return nyx, labels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    at = tmp_path_factory.mktemp("glyphs")
    write_split(at, "train", *glyphs(600, seed=1))
    write_split(at, "test", *glyphs(200, seed=2))
    return at


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return open_store(str(tmp_path_factory.mktemp("store") / "s"), create=True)


def quick(protocol, **changes):
    settings = _changed(recipe("fashion", protocol, 8), None, changes.pop("epochs", 6), 0)
    training_settings = settings.train.model_copy(update={"batch_size": 32})
    return settings.model_copy(update={"train": training_settings, "map_points": 300, **changes})


def test_the_label_is_found_again_where_it_was_told_and_the_result_says_so(objects, data):
    made = reproduce(objects, data, quick("label-conditioned", epochs=2))
    assert made.metrics["test_accuracy"] > 0.95
    assert made.counts["test_images"] == 200
    assert {"test_silhouette", "test_davies_bouldin", "test_calinski_harabasz"} <= made.metrics.keys()
    again = reproduce(objects, data, quick("label-conditioned", epochs=2))
    assert (again.key, again.reused) == (made.key, True)
    from storage import records

    assert "true label was an input" in records.read(objects, "reproduction", made.key).details["note"]


def test_without_labels_the_kinds_are_found_and_labels_change_nothing_but_scores(objects, data, tmp_path):
    settings = quick("unsupervised", teach_epochs=4)
    made = reproduce(objects, data, settings)
    assert made.metrics["test_accuracy"] > 0.6
    for split, seed, n in (("train", 1, 600), ("test", 2, 200)):
        nyx, labels = glyphs(n, seed)
        write_split(tmp_path, split, nyx, (labels * 7 + 3) % 10)
    renamed = reproduce(objects, tmp_path, settings)
    assert renamed.key != made.key
    for score in ("accuracy", "silhouette", "latent_silhouette"):
        assert renamed.metrics[f"test_{score}"] == pytest.approx(made.metrics[f"test_{score}"])
    weights = [objects.get(folder("reproduction", one.key, "model.pt")) for one in (made, renamed)]
    assert weights[0] == weights[1]


def test_a_killed_row_goes_on_in_its_epoch(objects, data, monkeypatch):
    settings, begun = quick("label-conditioned", epochs=3), []
    whole = training._epoch

    def dies(run, epoch):
        begun.append(epoch)
        if begun == [1, 2]:
            raise KeyboardInterrupt
        return whole(run, epoch)

    monkeypatch.setattr(training, "_epoch", dies)
    with pytest.raises(KeyboardInterrupt):
        reproduce(objects, data, settings)
    made = reproduce(objects, data, settings)
    assert begun == [1, 2, 2, 3]
    history = json.loads(objects.get(folder("reproduction", made.key, "history.json")))
    assert [one["epoch"] for one in history] == [1, 2, 3]


def test_a_sweep_draws_its_rows_and_finds_them_again(objects, data):
    settings = quick("label-conditioned", epochs=1)
    chart, rows = sweep(objects, data, settings, [1.0, 1e-10])
    assert objects.get(folder("reproduction", chart.key, "sweep.png")).startswith(b"\x89PNG")
    assert len({row.key for row in rows}) == 2
    again, rows = sweep(objects, data, settings, [1.0, 1e-10])
    assert again.reused
    assert all(row.reused for row in rows)


def test_beta_is_swept_over_a_vae():
    for dataset in ("digits", "fashion"):
        given = recipe(dataset, "unsupervised", 16)
        swept = as_vae(given)
        assert swept.train.views is None
        assert (swept.map_dimensions, swept.teach_epochs) == (given.map_dimensions, given.teach_epochs)
    assert as_vae(recipe("digits", "unsupervised", 16)) == recipe("digits", "unsupervised", 16)


def test_a_row_is_remembered_in_mlflow_and_lives_without_it(objects, data, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = reproduce(objects, data, quick("label-conditioned", epochs=2))
    assert track(objects, made, f"sqlite:///{tmp_path}/mlflow.db").startswith("runs:/")
    assert not list(objects.names("deliveries"))
    track(objects, made, "http://127.0.0.1:9/")
    assert list(objects.names("deliveries")), "what a lost MLflow could not take waits in the store"


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="images"):
        _changed(recipe("digits", "unsupervised", 16), 5, None, 0)
