import pytest
import torch

from tasks.models.device import choose_device, fitting, gpu_count, reproducible_kernels


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_present_is_chosen(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == expected


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(3, False, 3), (0, True, 1), (0, False, 0)])
def test_gpus_are_counted(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert gpu_count() == expected


@pytest.mark.parametrize(("free_bytes", "expected"), [(2**30, 8), (900, 4), (150, 1), (0, 1)])
def test_a_batch_takes_half_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, free_bytes: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, 2**34))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: free_bytes + 50)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 50)
    for name in ("cuda", "mps"):
        assert fitting(torch.device(name), 100, 8) == expected
    assert fitting(torch.device("cpu"), 100, 8) == 1


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
