"""Which device learns, in which numbers, and how it stays reproducible."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from tasks.models.plan import Precision


def choose_device() -> torch.device:
    """Best device of this machine: a CUDA GPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpu_count() -> int:
    """How many GPUs this process may use; does not wake them."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return int(torch.backends.mps.is_available())


def fitting(device: torch.device, each_bytes: int, most: int) -> int:
    """How many images a device computes at once: what half its free memory holds; a CPU takes one."""
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
    elif device.type == "mps":
        free_bytes = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    else:
        return 1
    return max(1, min(most, free_bytes // 2 // each_bytes))


def fast_precision(device: torch.device) -> Precision:
    """Numbers in which a device multiplies fastest: bfloat16 where it has units for them, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_tiles = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bfloat16" if has_tiles else "float32"


def multiplying_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Context in which layers multiply in these numbers; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def reproducible_kernels(device: torch.device) -> Iterator[None]:
    """Context in which a training gives the same weights each time.

    On CUDA, cuDNN takes only deterministic algorithms. On a CPU numbers too small for full precision count as
    0, whatever other libraries of the process have set. The number of threads is the caller's: it must be the
    same each time.
    """
    if device.type == "cuda":
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context that computes in half precision where that is faster: on CUDA, and on CPUs with AMX.

    Both take bfloat16, which has the range of float32, so that losses need no scaling.
    """
    return multiplying_in(fast_precision(device), device)
