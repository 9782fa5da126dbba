"""Models and training states as bytes; nothing is unpickled but tensors, numbers, text and containers."""

import copy
import io
import pickle
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from tasks.models.plan import TrainingPlan
from tasks.models.vae import VAE, VAEConfig

MODEL_KIND = "chipcyte vae, format 2"
STATE_KIND = "chipcyte vae training state, format 2"
REFINING_KIND = "chipcyte refining state, format 1"
_ZIP_MAGIC = b"PK\x03\x04"
_UNREADABLE = (
    RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError
)  # fmt: skip  # all that torch.load was seen to raise on damaged bytes

TrainingState = dict[str, Any]
"""Plain containers and tensors: config, plan, epoch (last finished), model, optimizer, history."""


def save_model(model: VAE) -> bytes:
    """Config and weights of a network as one file's bytes; equal networks on one machine give equal bytes."""
    return _pack({"kind": MODEL_KIND, "config": asdict(model.config), "weights": _on_cpu(model.state_dict())})


def load_model(data: bytes, expected: VAEConfig | None = None) -> VAE:
    """Network from the bytes of `save_model`, on the CPU.

    Parameters
    ----------
    data
        Bytes of `save_model`; bytes from elsewhere are refused without running anything in them.
    expected
        The config the caller needs, or None for whatever the bytes hold.

    Raises
    ------
    ValueError
        The bytes are damaged, are no chipcyte model, or hold a model of another config than `expected`.
    """
    content = _unpack(data, MODEL_KIND)
    config = config_from(content)
    if expected is not None and config != expected:
        raise ValueError(
            f"expected a model of {expected}, found {config}: load the model made for these patches"
        )
    with torch.device("meta"):
        model = VAE(config)
    model.to_empty(device="cpu")
    try:
        model.load_state_dict(content["weights"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected the weights of {config}, found others: train again ({error})") from error
    return model


def save_state(state: TrainingState) -> bytes:
    """Bytes of a state that `train_vae` handed to `on_checkpoint`."""
    return _pack({"kind": STATE_KIND, **state})


def load_state(data: bytes) -> TrainingState:
    """State from the bytes of `save_state`, on the CPU, for `train_vae(resume=...)`.

    Raises
    ------
    ValueError
        The bytes are damaged or hold no training state.
    """
    state = _unpack(data, STATE_KIND)
    del state["kind"]
    return state


def state_of(
    model: VAE, plan: TrainingPlan, optimizer: torch.optim.Optimizer, history: Sequence[dict[str, float]]
) -> TrainingState:
    """Snapshot of a training after its last epoch; further steps do not change it."""
    state = {
        "config": asdict(model.config),
        "plan": asdict(plan),
        "epoch": len(history),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": list(history),
    }
    return copy.deepcopy(state)  # state_dict gives views that the next step would change


def check_resumable(config: VAEConfig, plan: TrainingPlan, state: TrainingState) -> None:
    """ValueError unless a state is of the same model and plan; a constant step may have other epochs."""
    free = {"epochs": None} if plan.schedule == "constant" else {}
    wanted = {"model": asdict(config), **asdict(plan), **free}
    stored = {"model": asdict(config_from(state)), **state["plan"], **free}
    differing = [name for name in wanted if wanted[name] != stored.get(name)]
    if differing:
        raise ValueError(
            "expected a training state of the same model and plan, found other values of "
            f"{', '.join(differing)}: start without it, or use the settings it was made with ({stored})"
        )
    if state["epoch"] > plan.epochs:
        raise ValueError(
            f"expected a state of epoch {plan.epochs} or earlier, found epoch {state['epoch']}: raise epochs"
        )


def save_refining(state: TrainingState) -> bytes:
    """Bytes of a state that `refining.refine` handed to `on_checkpoint`, and of what else is to be kept."""
    return _pack({"kind": REFINING_KIND, **state})


def load_refining(data: bytes) -> TrainingState:
    """State from the bytes of `save_refining`; ValueError if they are damaged or hold no such state."""
    state = _unpack(data, REFINING_KIND)
    del state["kind"]
    return state


def config_from(content: dict[str, Any]) -> VAEConfig:
    """Config that a loaded model or training state says it has; ValueError when it has none."""
    try:
        return VAEConfig(**content["config"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected the fields of VAEConfig, found others: train again ({error})") from error


def _pack(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _unpack(data: bytes, kind: str) -> dict[str, Any]:
    if not data.startswith(_ZIP_MAGIC):  # torch would try its old format, which is a bare pickle
        raise ValueError(f"expected the bytes of a {kind!r}, found {data[:8]!r}: give a chipcyte file")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(
            f"expected the bytes of a {kind!r}, found a damaged or unsafe file: train again ({error})"
        ) from error
    found = content.get("kind") if isinstance(content, dict) else type(content).__name__
    if found != kind:
        raise ValueError(f"expected the bytes of a {kind!r}, found {found!r}: give the right file")
    return dict(content)


def _on_cpu(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.detach().cpu() for name, weight in weights.items()}
