import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from tasks.models.cellpose_checkpoints import load_cellpose
from tests.flows.test_cli import answer, chipcyte, said
from tests.flows.test_refining import registered
from tests.support import write_tiff
from tests.tasks.test_refine import discs


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    masks = np.zeros((50, 60), np.uint16)
    masks[5:20, 5:25], masks[30:45, 30:50] = 1, 2
    write_tiff(folder / "p.tif", masks * np.uint16(100))
    write_tiff(folder / "p_masks.tif", masks)
    return folder


def test_frames_out_and_back(carried, tmp_path):
    store = carried[0].url
    out = answer("refine", "export", "out", "--frames", "2", "--store", store)
    assert out["counts"]["frames"] == 2
    assert out["counts"]["candidates"] == 8
    assert len(out["key"]) == 2
    assert out["uri"] == str(tmp_path / "out")
    back = answer(
        "refine", "import", "out", "--store", store
    )  # nobody changed a thing: the store is as it was
    assert back["counts"]["annotations"] == 0
    assert back["counts"]["untouched"] == 2
    assert sorted(back["waiting"]) == sorted(one["name"] for one in out["frames"])
    assert "exists already" in said("refine", "export", "out", "--store", store)


def test_pictures_from_elsewhere(pictures):
    first = answer("refine", "import", "pictures", "--store", "s", "--by", "R. Hooke")
    assert (first["counts"]["annotations"], first["counts"]["cells"], first["reused"]) == (1, 2, False)
    assert first["metrics"] == {"iou_to_prediction": {"p": None}}
    second = answer("refine", "import", "pictures", "--store", "s")
    assert (second["key"], second["reused"]) == (first["key"], True)
    listed = answer("list", "annotation", "--store", "s")
    assert listed["key"] == first["key"]
    people = chipcyte("refine", "import", "pictures", "--store", "s")
    assert people.exit_code == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(people.stdout)


def test_what_cannot_be_imported(pictures, tmp_path):
    assert "found none" in said("refine", "import", "gone", "--store", "s")
    (tmp_path / "empty").mkdir()
    assert "NAME_masks" in said("refine", "import", "empty", "--store", "s")
    tifffile.imwrite(pictures / "p_masks.tif", np.zeros((9, 9), np.uint8))
    assert "uncropped" in said("refine", "import", "pictures", "--store", "s")
    tifffile.imwrite(pictures / "p_masks.tif", (np.indices((50, 60)).sum(0) // 20 % 2).astype(np.uint8))
    assert "--part" in said("refine", "import", "pictures", "--store", "s")
    assert answer("refine", "import", "pictures", "--store", "s", "--part")["counts"]["cells"] > 1


def test_a_hostile_file_ends_with_2(pictures, tmp_path):
    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    (pictures / "p_masks.tif").unlink()
    np.save(pictures / "p_seg.npy", np.array({"masks": Runs()}, dtype=object), allow_pickle=True)
    assert "nothing in it was run" in said("refine", "import", "pictures", "--store", "s", code=2)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("verb", ["export", "import"])
def test_every_command_explains_itself(verb):
    result = chipcyte("refine", verb, "--help")
    assert result.exit_code == 0
    assert "--store" in result.output


# --- train and rollback


@pytest.fixture
def tiny_training(tmp_path, monkeypatch, prefect_server):
    """Options of a training that takes a moment, of pictures with a disc each; MLflow is a file."""
    servers = SimpleNamespace(mlflow_url=f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr("flows.cli.refine.start_servers", lambda: servers)
    monkeypatch.setattr("tasks.refine.log_network", registered)
    for number in range(3):
        yx, labels = discs(number)
        write_tiff(tmp_path / "pairs" / f"p{number}.tif", yx)
        write_tiff(tmp_path / "pairs" / f"p{number}_masks.tif", labels.astype(np.uint8))
    small = ("batch_size=2", "crop_px=32", "diameter_px=12")
    options = [word for one in small for word in ("--set", f"refine.{one}")]
    return [
        "--base",
        "scratch",
        "--widths",
        "4,8",
        "--steps",
        "2",
        "--pairs",
        "pairs",
        "--store",
        "s",
        *options,
    ]


def test_train_with_pictures_of_no_store_and_rollback(tiny_training, tmp_path, monkeypatch):
    judged = iter([0.9, 0.1])  # the new network, and what is in use
    monkeypatch.setattr("tasks.refine._judged", lambda _: next(judged))
    first = answer("refine", "train", *tiny_training, "--out", "net.pt")
    assert first["counts"]["held_out_nuclei"] == 4
    assert first["promoted"]
    assert first["champion"]["key"] == first["key"]
    assert set(first["metrics"]["after"]) == {"ap_0.50", "ap_0.75", "ap_0.90"}
    assert load_cellpose(tmp_path / "net.pt").config.widths == (4, 8)
    assert "exists already" in said("refine", "train", *tiny_training, "--out", "net.pt")
    people = chipcyte("refine", "train", *tiny_training)
    assert people.exit_code == 0
    assert "AP on the hold-out" in people.stdout
    back = answer("refine", "rollback", "--store", "s")
    assert (back["left"]["key"], back["champion"]) == (first["key"], None)
    assert "found none" in said("refine", "rollback", "--store", "s")


def test_what_cannot_be_trained(tiny_training, tmp_path):
    assert "no store at" in said("refine", "train", "--store", "gone")
    assert "found none" in said("refine", "train", "--pairs", "gone", "--store", "s")
    assert "refine.widths" in said("refine", "train", *tiny_training, "--widths", "a,8")
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("p0.tif", "p0_masks.tif"):
        (alone / name).write_bytes((tmp_path / "pairs" / name).read_bytes())
    assert "two chips" in said("refine", "train", *tiny_training, "--pairs", "alone")
