"""Quality numbers of a frame before and after preprocessing, and which frames are out of range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.histograms import otsu
from tasks.kernels.quality_sums import FrameSums, SimilaritySums

Reason = Literal["blurred", "empty", "saturated"]

FULL_SCALES: Final = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
IDENTICAL_DB: Final = 100.0
LEAST_FOREGROUND: Final = 5e-5
MOST_SATURATED: Final = 5e-3
FEWEST_FOR_FOCUS: Final = 5
FOCUS_DEVIATIONS: Final = 5.0
LEAST_FOCUS_DROP: Final = 0.15
_DEVIATION_OF_MAD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Quality:
    """Quality numbers of one frame; brightness is measured in the frame's own range, so gain does not count.

    Attributes
    ----------
    snr
        (mean of foreground - mean of background) / standard deviation of background, parted by Otsu's
        threshold. Noise alone gives about 2.6.
    cnr
        The same difference over the root of the mean of both variances.
    gradient_norm
        Mean norm of Sobel's gradient, share of the range a px.
    focus
        Tenengrad of the frame halved by 2 x 2 means, over that halved frame's variance: mean squared Sobel
        gradient / variance, per halved px squared. Neither gain, offset nor the number of cells counts much.
        Compare it only between frames of one recording.
    saturated_share
        Share of pixels at full scale.
    empty_share
        Share of the halved frame's pixels that do not stand out: not brighter than the background's mode by
        6.6 of its standard deviations, which are taken below the mode, where no cell is.
    psnr_db, ssim
        How alike the clean frame and the stretched raw one are: 10 log10(1 / mean squared difference), 100
        where they are identical, and the mean structural similarity. The raw frame is no truth: strong
        equalisation lowers both without being worse. None of a raw frame.
    """

    snr: float
    cnr: float
    gradient_norm: float
    focus: float
    saturated_share: float
    empty_share: float
    psnr_db: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class Flag:
    """Why a frame is out of range, as a word and as a sentence with the numbers."""

    reason: Reason
    sentence: str


def is_full_scale(high: float) -> bool:
    """Say whether a raw frame's maximum is the greatest value of 8, 10, 12, 14 or 16 bits.

    Parameters
    ----------
    high
        The maximum, in counts. Cameras with 12 bits store uint16 and end at 4095.
    """
    return high in FULL_SCALES


def quality_numbers(
    sums: FrameSums, similarity: SimilaritySums | None = None, *, top_is_saturated: bool = True
) -> Quality:
    """Turn the sums over a frame into its quality numbers.

    Parameters
    ----------
    sums
        Of all parts of the frame.
    similarity
        Of all parts of a clean frame; None leaves PSNR and SSIM out.
    top_is_saturated
        Whether the greatest value means saturation; see `is_full_scale`.

    Returns
    -------
    Quality
        A frame of one value has snr, cnr, gradient_norm and focus 0, and empty_share 1.
    """
    snr, cnr = _contrasts(sums.histogram)
    _, variance = _mean_variance(sums.halved_histogram)
    tenengrad = sums.halved_slopes.squared / max(sums.halved_slopes.pixels, 1)
    return Quality(
        snr=snr,
        cnr=cnr,
        gradient_norm=sums.slopes.norm / max(sums.slopes.pixels, 1),
        focus=tenengrad / variance,
        saturated_share=sums.at_top / max(int(sums.histogram.sum()), 1) if top_is_saturated else 0.0,
        empty_share=_empty_share(sums.halved_histogram),
        psnr_db=None if similarity is None else _psnr_db(similarity),
        ssim=similarity.ssim / similarity.windows if similarity and similarity.windows else None,
    )


def _contrasts(histogram: NDArray[np.int64]) -> tuple[float, float]:
    """Return SNR and CNR."""
    if np.count_nonzero(histogram) < 2:
        return 0.0, 0.0
    is_bright = _centres(histogram) > otsu(histogram)
    ground, ground_variance = _mean_variance(np.where(is_bright, 0, histogram))
    cells, cells_variance = _mean_variance(np.where(is_bright, histogram, 0))
    contrast = cells - ground
    return contrast / math.sqrt(ground_variance), contrast / math.sqrt((ground_variance + cells_variance) / 2)


def _empty_share(histogram: NDArray[np.int64]) -> float:
    """Share of pixels that are not brighter than the background's mode by 6.6 standard deviations of it."""
    if np.count_nonzero(histogram) < 2:
        return 1.0
    cumulated, centres = np.cumsum(histogram), _centres(histogram)
    low, high = np.searchsorted(cumulated, (0.05 * cumulated[-1], 0.95 * cumulated[-1]))
    smooth = np.convolve(histogram, np.ones(2 * int((high - low) // 40) + 1), mode="same")
    mode = int(np.where(centres <= otsu(histogram), smooth, 0).argmax())
    below = np.cumsum(histogram[: mode + 1])
    tenth = int(np.searchsorted(below, 0.1 * below[-1]))  # of a normal's lower half: 1.645 deviations
    limit = mode + 4 * max(mode - tenth, 1)
    return float(histogram[: limit + 1].sum() / cumulated[-1])


def _centres(histogram: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((np.arange(histogram.size) + 0.5) / histogram.size)


def _mean_variance(histogram: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and variance of counted values; the variance is at least that within a bin."""
    least = 1 / (12 * histogram.size**2)
    centres = _centres(histogram)
    if not histogram.any():
        return 0.0, least
    mean = float(np.average(centres, weights=histogram))
    variance = float(np.average((centres - mean) ** 2, weights=histogram))
    return mean, max(variance, least)


def _psnr_db(similarity: SimilaritySums) -> float:
    error = similarity.squared_error / max(similarity.pixels, 1)
    return min(-10 * math.log10(error), IDENTICAL_DB) if error > 0 else IDENTICAL_DB


def flag_frames(numbers: Sequence[Quality]) -> list[tuple[Flag, ...]]:
    """Find the frames of an acquisition that are out of range.

    Parameters
    ----------
    numbers
        Of the raw frames of one acquisition, in the order of time.

    Returns
    -------
    list of tuple of Flag
        For each frame its flags, most have none.

    Notes
    -----
    Saturated: more than 0.5 percent of the frame is at full scale. Else empty: less than 0.005 percent of it
    stands out. Else blurred: the focus lies below the median of the frames that are neither, by more than
    five standard deviations (1.4826 times the median absolute deviation) and by more than 15 percent. Needs
    five such frames; a recording that is out of focus from first to last is not found.
    """
    flags = [_absolute(one) for one in numbers]
    good = [one.focus for one, found in zip(numbers, flags, strict=True) if not found]
    if len(good) < FEWEST_FOR_FOCUS:
        return flags
    median = float(np.median(good))
    deviation = _DEVIATION_OF_MAD * float(np.median(np.abs(np.asarray(good) - median)))
    limit = min(median - FOCUS_DEVIATIONS * deviation, (1 - LEAST_FOCUS_DROP) * median)
    return [found or _blurred(one, median, limit) for one, found in zip(numbers, flags, strict=True)]


def _absolute(one: Quality) -> tuple[Flag, ...]:
    if one.saturated_share > MOST_SATURATED:
        share = f"{one.saturated_share:.1%} of the pixels are at full scale, more than {MOST_SATURATED:.1%}."
        return (Flag("saturated", share),)
    if 1 - one.empty_share < LEAST_FOREGROUND:
        share = (
            f"{100 - 100 * one.empty_share:.2g}% of the frame stands out of the background, less than 0.005%."
        )
        return (Flag("empty", share),)
    return ()


def _blurred(one: Quality, median: float, limit: float) -> tuple[Flag, ...]:
    if one.focus >= limit:
        return ()
    sentence = (
        f"The focus score {one.focus:.3g} is below {limit:.3g}; the recording's median is {median:.3g}."
    )
    return (Flag("blurred", sentence),)
