"""Which device learns, and how it stays reproducible."""

from contextlib import AbstractContextManager, nullcontext

import torch


def choose_device() -> torch.device:
    """Best device of this machine: a CUDA GPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def reproducible_kernels(device: torch.device) -> AbstractContextManager[None]:
    """Context in which cuDNN takes only deterministic algorithms; on other devices it changes nothing."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def mixed_precision(device: torch.device) -> AbstractContextManager[None]:
    """Context that computes in half precision where that is faster: on CUDA, and on CPUs with AMX.

    Both take bfloat16, which has the range of float32, so that losses need no scaling.
    """
    if device.type == "cuda" or (device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
