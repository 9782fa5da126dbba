import dataclasses
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.vae import LOG_VARIANCE_BOUND, VAE, VAEConfig, sample_latents, seeded_vae

SIDES_PX = st.integers(min_value=8, max_value=65)


@settings(deadline=None, max_examples=25)
@given(rows=SIDES_PX, columns=SIDES_PX, channels=st.integers(1, 3), depth=st.integers(1, 5))
def test_any_size_comes_back_in_its_own_shape_and_range(
    rows: int, columns: int, channels: int, depth: int
) -> None:
    config = VAEConfig(channels, rows, columns, latent=3, widths=(4, 4, 8, 8, 8)[:depth])
    ncyx = torch.rand(2, channels, rows, columns)
    reconstruction, mean, log_variance = seeded_vae(config, seed=1)(ncyx)
    assert reconstruction.shape == ncyx.shape
    assert mean.shape == log_variance.shape == (2, 3)
    assert reconstruction.min() >= 0.0
    assert reconstruction.max() <= 1.0


@settings(deadline=None, max_examples=25)
@given(rows=SIDES_PX, columns=SIDES_PX)
def test_every_pixel_reaches_the_latents(rows: int, columns: int) -> None:
    model = seeded_vae(VAEConfig(1, rows, columns, latent=4, widths=(8, 8, 8)), seed=2)
    ncyx = torch.rand(3, 1, rows, columns, requires_grad=True)
    model.encode(ncyx)[0].square().sum().backward()
    assert ncyx.grad is not None
    edges = [ncyx.grad[..., 0, :], ncyx.grad[..., -1, :], ncyx.grad[..., 0], ncyx.grad[..., -1]]
    assert all(edge.abs().sum() > 0 for edge in edges)


def test_forward_is_the_mean_path_in_both_modes() -> None:
    model = seeded_vae(VAEConfig(2, 17, 12, latent=3), seed=3)
    ncyx = torch.rand(4, 2, 17, 12)
    expected = torch.sigmoid(model.decode(model.encode(ncyx)[0]))
    assert torch.equal(model.train()(ncyx)[0], expected)
    assert torch.equal(model.eval()(ncyx)[0], expected)


def test_a_patch_does_not_depend_on_its_batch() -> None:
    model = seeded_vae(VAEConfig(1, 20, 20), seed=4)
    ncyx = torch.rand(5, 1, 20, 20)
    torch.testing.assert_close(model(ncyx)[0][3:4], model(ncyx[3:4])[0], rtol=1e-5, atol=1e-6)


def test_log_variance_is_bounded_whatever_comes_in() -> None:
    model = seeded_vae(VAEConfig(1, 16, 16), seed=5)
    _, log_variance = model.encode(1e6 * torch.rand(8, 1, 16, 16))
    assert log_variance.abs().max() <= LOG_VARIANCE_BOUND
    assert log_variance.abs().max() > 0.9 * LOG_VARIANCE_BOUND


def test_sampling_has_the_posteriors_mean_and_deviation() -> None:
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    drawn = sample_latents(torch.tensor([[3.0]]), torch.tensor([[4.0]]).log(), noise)
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(2.0, abs=0.02)


def test_seed_decides_the_weights_and_the_global_state_is_left_alone() -> None:
    config = VAEConfig(1, 16, 16)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = seeded_vae(config, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again, other = seeded_vae(config, seed=1), seeded_vae(config, seed=2)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.to_posterior.weight, other.to_posterior.weight)


@pytest.mark.parametrize("side_px", [16, 21])
def test_export_keeps_the_batch_dynamic_through_a_file(side_px: int) -> None:
    model = seeded_vae(VAEConfig(1, side_px, side_px, latent=4), seed=6).eval()
    program = torch.export.export(
        model, (torch.rand(2, 1, side_px, side_px),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for n in (1, 2, 9):
        ncyx = torch.rand(n, 1, side_px, side_px)
        for found, expected in zip(loaded(ncyx), model(ncyx), strict=True):
            torch.testing.assert_close(found, expected)


def test_another_shape_is_refused_with_both_shapes() -> None:
    model = VAE(VAEConfig(1, 16, 16))
    with pytest.raises(ValueError, match=r"expected patches \(n, 1, 16, 16\), found \(2, 1, 16, 17\)"):
        model(torch.rand(2, 1, 16, 17))
    with pytest.raises(ValueError, match="expected patches"):
        model(torch.rand(1, 16, 16))


@pytest.mark.parametrize(
    "change",
    [
        {"height_px": 7},
        {"width_px": 0},
        {"latent": 0},
        {"in_channels": 0},
        {"widths": ()},
        {"widths": (8, 0)},
        {"body": "graph"},
        {"joining": "plain"},
        {"conditions": 2},
        {"joining": "refined", "conditions": 2, "alpha": 1.0},
        {"joining": "refined", "conditions": 2, "alpha": 100.0},
        {"clusters": -1},
    ],
)
def test_config_refuses_what_no_network_can_have(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(VAEConfig(1, 16, 16), **change)


@pytest.mark.parametrize(
    "shape", [{"body": "dense", "widths": (20, 10)}, {"joining": "plain"}, {"joining": "refined"}]
)
def test_every_kind_gives_patches_back_in_their_shape(shape: dict[str, object]) -> None:
    conditions = 3 if "joining" in shape else 0
    config = VAEConfig(2, 11, 14, **{"latent": 8, "widths": (4, 8), "conditions": conditions, **shape})  # type: ignore[arg-type]
    model, ncyx = seeded_vae(config, seed=1), torch.rand(3, 2, 11, 14)
    assert model(ncyx)[0].shape == ncyx.shape


def test_the_refined_join_gives_the_condition_its_share() -> None:
    config = VAEConfig(1, 16, 16, latent=8, joining="refined", conditions=2, alpha=4.0)
    model, latents = seeded_vae(config, seed=1), torch.randn(5, 8)
    one, other = (model.joined(latents, torch.full((5,), code)) for code in (0, 1))
    differs = (one != other).any(0)
    assert differs.tolist() == [False] * 6 + [True] * 2
    assert one.min() > 0
    assert one.max() < 1


def test_the_condition_changes_what_is_decoded_but_not_what_is_encoded() -> None:
    model = seeded_vae(VAEConfig(1, 16, 16, joining="plain", conditions=2), seed=1)
    ncyx = torch.rand(4, 1, 16, 16)
    first, second = (model(ncyx, torch.full((4,), code)) for code in (0, 1))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    torch.testing.assert_close(model(ncyx)[0], model(ncyx, torch.full((4,), -1))[0])
