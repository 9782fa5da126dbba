import io
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tasks.models.cellpose_checkpoints import Cellpose4Error, cellpose_from, load_cellpose, save_cellpose
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tests.tasks.models.cellpose_files import (
    NARROW,
    NET,
    TINY,
    WIDE,
    gap,
    picture,
    saved,
    written,
)


@pytest.mark.parametrize(
    ("channels", "widths"), [(2, WIDE), (1, WIDE), (2, NARROW), (1, NARROW), (3, TINY), (2, (4, 8))]
)
def test_documented_state_dictionaries_come_back_exactly(channels: int, widths: tuple[int, ...]) -> None:
    state = written(channels, widths)
    net = load_cellpose(saved(state))
    assert net.config == CellposeConfig(channels, widths)
    assert not net.training
    for data in (net.state_dict(), torch.load(io.BytesIO(save_cellpose(net)), weights_only=True)):
        assert data.keys() == state.keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in data.items())


def test_older_and_parallel_and_half_files_load(tmp_path: Path) -> None:
    state = written()
    expected = NET(picture()).maps_ncyx
    path = tmp_path / "cellpose_residual_on_style_on_concatenation_off_train"
    for content in (saved(state, _use_new_zipfile_serialization=False), saved(state)):
        path.write_bytes(content)
        assert torch.equal(load_cellpose(path)(picture()).maps_ncyx, expected)
    parallel = cellpose_from({f"module.{name}": tensor for name, tensor in state.items()})
    assert torch.equal(parallel(picture()).maps_ncyx, expected)
    first = {k: v for k, v in state.items() if "diam" not in k and "num_batches" not in k}
    assert torch.equal(cellpose_from(first)(picture()).maps_ncyx, expected)
    assert cellpose_from(first).diam_mean.item() == 30
    assert NET.diam_mean.item() == NET.diam_labels.item() == 17
    half = save_cellpose(NET, half=True)
    assert len(half) < len(save_cellpose(NET))
    assert 0 < gap(expected, load_cellpose(half)(picture()).maps_ncyx) < 0.02


def test_a_narrow_network_in_half_precision_is_small() -> None:
    assert len(save_cellpose(seeded_cellpose(CellposeConfig(2, NARROW), seed=0), half=True)) < 4e6


class Trap:
    """Unpickled, it would spring."""

    sprung = False

    @staticmethod
    def spring() -> None:
        Trap.sprung = True

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return Trap.spring, ()


@pytest.mark.parametrize("old", [False, True])
def test_nothing_hidden_in_a_file_runs(tmp_path: Path, old: bool) -> None:
    hostile = tmp_path / "model"
    hostile.write_bytes(saved(written() | {"trap": Trap()}, _use_new_zipfile_serialization=not old))
    for source in (hostile, hostile.read_bytes(), pickle.dumps(Trap())):
        with pytest.raises(ValueError, match=r"more than tensors.*state_dict"):
            load_cellpose(source)
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "damaged"),
        (saved(written())[:3000], "damaged"),
        (b"<!DOCTYPE html>", "<!DOCTYP"),
        (saved(NET), "more than tensors"),
        (saved([1]), "found list"),
        (saved({"state_dict": written()}), "found dict of other things"),
        (saved({"a.weight": torch.ones(1)}), "such as a.weight"),
        (saved({}), "among 0 names"),
        (b"\x93NUMPY\x01\x00", "size model"),
        (b"\x12\x01\0\0\0\0\0\0", "MXNet"),
    ],
)
def test_other_files_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=f"expected a network of Cellpose 1 to 3.*{says}"):
        load_cellpose(data)


def test_cellpose_4_is_recognised() -> None:
    encoder = {"encoder.patch_embed.proj.weight": torch.ones(8, 3, 8, 8), "diam_mean": torch.ones(1)}
    for state in (encoder, {f"module.{name}": one for name, one in encoder.items()}, {"W2": torch.ones(1)}):
        with pytest.raises(Cellpose4Error, match=r"found one of Cellpose 4 .*cellpose package"):
            load_cellpose(saved(state))


LAST, FULL = "output.2.weight", "upsample.up.res_up_0.conv.conv_1.full.weight"
OTHERS: list[tuple[dict[str, Tensor], str]] = [
    ({LAST: torch.ones(1, 4, 1, 1)}, "3 output maps, found 1: image restoration"),
    ({LAST: torch.ones(3, 4, 1, 1, 1)}, r"output.2.weight of shape \(3, 4, 1, 1, 1\) instead"),
    ({FULL: torch.ones(8, 10)}, "concatenation_off"),
    ({"downsample.down.conv_down_0.conv.conv_0.0.weight": torch.ones(2)}, "residual_on"),
    ({"logdist.weight": torch.ones(2), "b": torch.ones(1)}, "an unknown logdist.weight, an unknown b: "),
    ({"output.2.bias": torch.tensor([0.0, math.nan, 0.0])}, "finite numbers, found others in output.2.bias"),
    ({"diam_mean": torch.zeros(1)}, r"diameter above 0 px, found 0\.0"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), OTHERS)
def test_networks_it_cannot_hold_are_refused(change: dict[str, Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cellpose_from(written() | change)


def test_missing_names_and_a_net_without_style_are_refused(tmp_path: Path) -> None:
    state = written()
    del state["output.0.bias"]
    with pytest.raises(ValueError, match=r"no output\.0\.bias"):
        cellpose_from(state)
    with pytest.raises(ValueError, match="style_on"):
        load_cellpose(tmp_path / "cellpose_residual_on_style_off_concatenation_off_train")
    with pytest.raises(FileNotFoundError):
        load_cellpose(tmp_path / "nowhere")
