import io
import pickle

import pytest
import torch

from tasks.models.checkpoints import load_model, load_state, save_model, save_state
from tasks.models.vae import VAEConfig, seeded_vae

CONFIG = VAEConfig(2, 16, 19, latent=3, widths=(4, 8))
DATA = save_model(seeded_vae(CONFIG, seed=1))


def test_a_model_comes_back_exactly() -> None:
    model, loaded = seeded_vae(CONFIG, seed=1), load_model(DATA)
    assert loaded.config == CONFIG
    ncyx = torch.rand(3, 2, 16, 19)
    assert all(torch.equal(a, b) for a, b in zip(model(ncyx), loaded(ncyx), strict=True))


def test_equal_models_give_equal_bytes() -> None:
    assert save_model(seeded_vae(CONFIG, seed=1)) == DATA == save_model(load_model(DATA))
    assert save_model(seeded_vae(CONFIG, seed=2)) != DATA


def test_another_config_is_refused_with_both() -> None:
    other = VAEConfig(2, 16, 19, latent=4, widths=(4, 8))
    assert load_model(DATA, CONFIG).config == CONFIG
    with pytest.raises(ValueError, match=r"(?s)expected a model of .*latent=4.*found .*latent=3"):
        load_model(DATA, other)


@pytest.mark.parametrize("keep", [0, 1, 3, 100, len(DATA) // 2, len(DATA) - 30])
def test_a_torn_file_is_a_clear_error(keep: int) -> None:
    with pytest.raises(ValueError, match="expected the bytes of"):
        load_model(DATA[:keep])


class Trap:
    """Unpickled, it would call print."""

    called = False

    @staticmethod
    def spring() -> None:
        Trap.called = True

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return Trap.spring, ()


def test_nothing_hidden_in_a_file_runs() -> None:
    zipped = io.BytesIO()
    torch.save({"kind": "chipcyte vae, format 2", "config": Trap(), "weights": {}}, zipped)
    for data in (zipped.getvalue(), pickle.dumps(Trap())):
        with pytest.raises(ValueError, match="expected the bytes of"):
            load_model(data)
    assert not Trap.called


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_other_content_is_refused_by_name() -> None:
    state = save_state({"epoch": 1})
    assert load_state(state) == {"epoch": 1}
    with pytest.raises(ValueError, match="training state"):
        load_model(state)
    with pytest.raises(ValueError, match="found 'chipcyte vae, format 2'"):
        load_state(DATA)
    with pytest.raises(ValueError, match="found 'list'"):
        load_model(saved([1]))


def test_weights_or_fields_that_do_not_fit_are_refused() -> None:
    content = torch.load(io.BytesIO(DATA), weights_only=True)
    with pytest.raises(ValueError, match="expected the weights of"):
        load_model(saved({**content, "config": {**content["config"], "latent": 5}}))
    with pytest.raises(ValueError, match="fields of VAEConfig"):
        load_model(saved({**content, "config": {"depth": 3}}))
