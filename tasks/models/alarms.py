"""What can go wrong in a training without an error: latents that say nothing, a divergence that runs away."""

from collections.abc import Sequence

EpochMetrics = dict[str, float]
"""epoch (from 1), beta; with train_ and validation_ before: total, reconstruction and divergence (nats, means
over patches), their parts by dimension, and active_latents."""

ACTIVE_NATS = 0.01
"""A latent dimension counts as active when its mean divergence exceeds this; none active means collapse."""
RUNAWAY = 5.0
"""A divergence so many times what it was at the best loss, with a worse loss now, has run away."""
FAR_NATS = 50.0
"""Above this a latent dimension means values ten standard deviations of the prior away."""


def alarms(history: Sequence[EpochMetrics], latent: int) -> list[str]:
    """Return what is wrong after the last epoch, a sentence each; none while all is well.

    - collapse: with beta at work no latent dimension says anything of the patches (Bowman et al., 2016);
    - a diverging KL: the divergence is 5 times what it was at the best loss under this beta, or more than
      50 nats a latent. It costs latents their common scale, and later the training its finite numbers.

    Parameters
    ----------
    history
        An epoch each, as `train_vae` records them.
    latent
        Dimensions of the latent space.
    """
    last = history[-1]
    part = "validation" if "validation_divergence" in last else "train"
    found = []
    if last["beta"] > 0 and last[f"{part}_active_latents"] == 0:
        found.append(
            f"epoch {last['epoch']:.0f}: posterior collapse, none of {latent} latent dimensions says "
            f"anything of the patches; lower beta (now {last['beta']:g}), warm it up, or give free nats"
        )
    best = min(_same_beta(history), key=lambda one: one[f"{part}_total"])
    now, before = last[f"{part}_divergence"], best[f"{part}_divergence"]
    ran_away = best is not last and now > RUNAWAY * before
    if ran_away or now > FAR_NATS * latent:
        found.append(
            f"epoch {last['epoch']:.0f}: the KL diverges, {now:.1f} nats where the best epoch has "
            f"{before:.1f}; lower the learning rate or raise beta (now {last['beta']:g})"
        )
    return found


def _same_beta(history: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    """The last epochs in which beta was what it is now."""
    since = len(history)
    while since and history[since - 1]["beta"] == history[-1]["beta"]:
        since -= 1
    return list(history[since:])
