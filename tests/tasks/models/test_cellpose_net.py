import math

import pytest
import torch
from torch import nn

from tasks.models.cellpose_checkpoints import cellpose_from, load_cellpose, save_cellpose
from tasks.models.cellpose_fused import fused
from tasks.models.cellpose_net import CellposeConfig, CellposeNet, inference, seeded_cellpose, style_of
from tests.tasks.models.cellpose_files import NARROW, NET, TINY, WIDE, documented, gap, picture, written

CORNERS = [0.3494, 0.19894, -0.50555, 0.25982, 0.28592, -0.17677, -0.01481, 0.33994, -0.0305]
MEANS = [0.30833, 0.39676, -0.49328]
STYLE = [0.0077, -0.03418, -0.28483, 0.0384, 0.40401, -0.02674, 0.60366, -0.0644, -0.27734, -0.55386]


def test_the_published_network_has_6_6_million_parameters() -> None:
    learned = {k: v for k, v in documented(2, WIDE).items() if "running" not in k and "num_b" not in k}
    count = sum(map(math.prod, learned.values()))
    assert count == 6_600_845
    assert sum(one.numel() for one in seeded_cellpose(CellposeConfig(), seed=0).parameters()) + 2 == count


def test_the_maps_are_those_of_the_original() -> None:
    """Numbers that `cellpose.resnet_torch.CPnet` of cellpose 2 gave for these weights and this picture."""
    maps_ncyx, style = NET(picture())
    corner = (
        maps_ncyx[0, :, 0, 0].tolist() + maps_ncyx[0, :, 17, 30].tolist() + maps_ncyx[0, :, 31, 39].tolist()
    )
    assert corner == pytest.approx(CORNERS, abs=2e-5)
    assert maps_ncyx.mean((0, 2, 3)).tolist() == pytest.approx(MEANS, abs=2e-5)
    assert style[0].tolist() == pytest.approx(STYLE, abs=2e-5)


@pytest.mark.parametrize("sides", [(8, 8), (8, 24), (64, 40)])
def test_any_size_that_8_divides(sides: tuple[int, int]) -> None:
    ncyx = torch.rand(3, 2, *sides, generator=torch.Generator().manual_seed(0))
    maps_ncyx, style = NET(ncyx)
    assert maps_ncyx.shape == (3, 3, *sides)
    assert torch.allclose(style.norm(dim=1), torch.ones(3), atol=1e-6)
    alone = NET(ncyx[1:2])
    assert gap(maps_ncyx[1], alone.maps_ncyx[0]) < 1e-4


@pytest.mark.parametrize("shape", [(1, 2, 12, 16), (1, 1, 16, 16), (2, 16, 16), (1, 2, 0, 8)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected images \(n, 2, y, x\) with sides divisible by 8, found"):
        NET(torch.zeros(shape))


@pytest.mark.parametrize("arguments", [(0, WIDE), (2, ()), (2, (4, 0))])
def test_impossible_configs_are_refused(arguments: tuple[int, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected one channel and one width or more"):
        CellposeConfig(*arguments)


@pytest.mark.parametrize("make", [lambda net: net, fused])
def test_a_shift_by_8_px_shifts_the_maps(make) -> None:
    """And tiles that share a style agree to the last bits where neither sees its border."""
    net, reach = make(NET), NET.config.reach_px
    rows = 2 * reach // 8 * 8 + 24
    whole = picture(rows=rows, columns=rows + 8)
    with inference(torch.device("cpu")):
        style = style_of(net.encode(whole)[-1])
        left, right = (net.decode(net.encode(one), style) for one in (whole[..., :rows], whole[..., 8:]))
    inner = slice(reach, rows - reach)
    assert inner.stop - inner.start > 8
    a, b = left[0, :, inner, reach + 8 : rows - reach], right[0, :, inner, reach : rows - reach - 8]
    assert gap(a, b) < 1e-4


def test_a_pixel_decides_no_further_than_the_reach() -> None:
    net, reach = NET, NET.config.reach_px
    side = 2 * (reach // 8 * 8 + 24)
    ncyx = picture(rows=side, columns=16).requires_grad_()
    features = net.encode(ncyx)
    net.decode(features, style_of(features[-1]).detach())[0, :, side // 2, 8].sum().backward()
    touched = ncyx.grad.abs().sum((0, 1, 3)).nonzero()[:, 0] - side // 2
    assert -reach <= touched.min() < -reach // 2
    assert reach // 2 < touched.max() <= reach


@pytest.mark.parametrize(("channels", "widths"), [(2, TINY), (1, NARROW), (1, (4,)), (2, (4, 8))])
def test_the_fused_network_gives_the_same(channels: int, widths: tuple[int, ...]) -> None:
    net = cellpose_from(written(channels, widths))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    ncyx = torch.cat([picture(channels), 0.5 * picture(channels).flip(2)])
    with torch.inference_mode():
        expected, found = net(ncyx), fused(net)(ncyx)
    for one, other in zip(expected, found, strict=True):
        assert gap(one, other) < 1e-4
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(one.requires_grad for one in net.parameters())


@pytest.mark.parametrize("make", [lambda net: net, fused])
def test_half_precision_stays_close_and_float32_comes_out(make) -> None:
    expected = NET(picture())
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        found = make(NET)(picture())
    for one, other in zip(expected, found, strict=True):
        assert other.dtype == torch.float32
        assert 0 < gap(one, other) < 0.05


@pytest.mark.gpu
@pytest.mark.parametrize("make", [lambda net: net, fused])
def test_half_precision_on_a_gpu(make) -> None:
    gpu = torch.device("cuda")
    with inference(gpu):
        found = make(cellpose_from(written()).to(gpu))(picture().to(gpu))
    for one, other in zip(NET(picture()), found, strict=True):
        assert other.dtype == torch.float32
        assert gap(one, other.cpu()) < 0.1


def test_a_seed_decides_every_number_and_nothing_else_is_drawn() -> None:
    config = CellposeConfig(1, TINY)
    before = torch.get_rng_state()
    one, same, other = (seeded_cellpose(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert all(torch.isfinite(tensor).all() for tensor in one.values())
    assert not torch.equal(one["output.2.weight"], other["output.2.weight"])


def test_it_learns() -> None:
    net = seeded_cellpose(CellposeConfig(1, TINY), seed=0).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    ncyx = picture(1)
    target = torch.cat([ncyx, -ncyx, ncyx**2], dim=1)
    losses = []
    for _ in range(15):
        loss = nn.functional.mse_loss(net(ncyx).maps_ncyx, target)
        optimizer.zero_grad()
        loss.backward()
        if not losses:
            assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert isinstance(load_cellpose(save_cellpose(net)), CellposeNet)
