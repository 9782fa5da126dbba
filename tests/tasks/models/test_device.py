import pytest
import torch

from tasks.models.device import choose_device, reproducible_kernels


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_present_is_chosen(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == expected


def test_cudnn_is_deterministic_inside_and_as_before_outside() -> None:
    before = torch.backends.cudnn.deterministic
    with reproducible_kernels(torch.device("cuda")):
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.deterministic == before
    with reproducible_kernels(torch.device("cpu")):
        assert torch.backends.cudnn.deterministic == before


def test_on_a_cpu_what_is_too_small_counts_as_0_inside() -> None:
    tiny = torch.full((64,), 1e-40)
    with reproducible_kernels(torch.device("cpu")):
        assert not (tiny * 0.5).any()
    assert (tiny * 0.5).all()
