import numpy as np
import pytest

from tasks.kernels.appearance import held_out_probability, learn_judge

SHARES = {"wt": (0.8, 0.2), "mutant": (0.3, 0.7)}  # of two kinds of cells


def drawn(conditions: list[str], cells: int, seed: int, chip_effect: float = 0.0):
    """Latents, condition and chip of cells: a chip for each entry, cells of two kinds."""
    rng = np.random.default_rng(seed)
    latent, names, chips = [], [], []
    for chip, condition in enumerate(conditions):
        kinds = rng.choice(2, cells, p=SHARES[condition])
        lit = chip_effect * rng.normal(size=3)
        latent.append(rng.normal(size=(cells, 3)) + 5 * kinds[:, None] * [1, 0, 0] + lit * [0, 0, 1])
        names += [condition] * cells
        chips += [f"chip {chip}"] * cells
    return np.concatenate(latent), np.array(names), np.array(chips)


def test_a_cell_is_as_probable_as_its_kind_is_frequent():
    latent, conditions, chips = drawn(["wt", "wt", "mutant", "mutant"], 1000, seed=0)
    found = held_out_probability(latent, conditions, chips)
    second = latent[:, 0] > 2.5
    for condition, kind, expected in (
        ("wt", False, 0.8 / 1.1), ("wt", True, 0.2 / 0.9), ("mutant", True, 0.7 / 0.9)
    ):  # fmt: skip
        assert found[(conditions == condition) & (second == kind)].mean() == pytest.approx(expected, abs=0.08)


def test_what_only_the_chip_shows_does_not_make_a_cell_probable():
    """One number lights up each chip in its own way, and the kinds do not differ between conditions."""
    rng = np.random.default_rng(1)
    _, conditions, chips = drawn(["wt", "wt", "mutant", "mutant"], 300, seed=1)
    of_chip = {f"chip {chip}": rng.normal(size=8) * 9 for chip in range(4)}
    latent = rng.normal(size=(1200, 8)) + np.array([of_chip[chip] for chip in chips])
    assert held_out_probability(latent, conditions, chips).mean() < 0.75
    same_chip = held_out_probability(latent, conditions, np.array([f"{i % 4}" for i in range(1200)]))
    assert same_chip.mean() > 0.98  # chips split over folds would have believed it


def test_shares_of_a_mixed_chip_are_found():
    latent, conditions, chips = drawn(["wt", "mutant"] * 3, 2000, seed=2)
    judge = learn_judge(latent, conditions, chips)
    assert judge.conditions == ("mutant", "wt")
    for share in (0.0, 0.3, 1.0):
        wild, mutant = (drawn([name], 4000, seed=7)[0] for name in ("wt", "mutant"))
        mixed = np.concatenate([wild[: round(4000 * share)], mutant[: round(4000 * (1 - share))]])
        assert judge.shares(mixed)["wt"] == pytest.approx(share, abs=0.04)
        assert sum(judge.shares(mixed).values()) == pytest.approx(1)


def test_where_no_other_chip_can_teach_nothing_is_said():
    latent, conditions, chips = drawn(["wt", "mutant", "mutant"], 50, seed=3)
    found = held_out_probability(latent, conditions, chips)
    assert np.isnan(found[conditions == "wt"]).all()  # its only chip
    assert np.isfinite(found[conditions == "mutant"]).all()
    with pytest.raises(ValueError, match="each on two chips or more, found mutant, wt"):
        learn_judge(latent, conditions, chips)
    assert np.isnan(held_out_probability(latent, np.full(150, "wt"), chips)).all()
