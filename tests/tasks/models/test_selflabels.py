import numpy as np
import torch

from tasks.models.batches import PatchSet
from tasks.models.selflabels import SelfLabelPlan, cluster_logits, learn_clusters, most_probable
from tests.tasks.models.blobs import ellipses_ncyx

CPU = torch.device("cpu")
PLAN = SelfLabelPlan(2, widths=(8, 8), epochs=6, batch_size=16)


def test_strays_are_outvoted_and_doubtful_ones_are_named() -> None:
    ncyx, kinds = ellipses_ncyx(160), np.arange(160) % 2
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(160) < 0.15, 1 - kinds, kinds)
    codes[::7] = -1
    net = learn_clusters(PatchSet(ncyx, codes=codes), PLAN, CPU)
    logits = cluster_logits(net, PatchSet(ncyx))
    assert logits.shape == (160, 2)
    assert (most_probable(logits) == kinds).mean() > 0.97
    assert (codes == kinds).mean() < 0.85


def test_the_same_plan_gives_the_same_network_and_doubtful_patches_none() -> None:
    ncyx, codes = ellipses_ncyx(40), np.arange(40) % 2
    rows = np.arange(0, 40, 3)
    few = np.where(np.isin(np.arange(40), rows), codes, -1)
    by_rows = learn_clusters(PatchSet(ncyx, rows, codes), PLAN, CPU)
    by_codes = learn_clusters(PatchSet(ncyx, codes=few), PLAN, CPU)
    for one, other in zip(by_rows.parameters(), by_codes.parameters(), strict=True):
        assert torch.equal(one, other)
