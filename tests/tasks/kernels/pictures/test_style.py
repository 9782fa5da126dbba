import itertools

import numpy as np
import pytest
from skimage.color import rgb2lab

from tasks.kernels.pictures import style
from tests.tasks.kernels.pictures.png import pixels

# What protanopia and deuteranopia make of linear red, green, blue (Machado, Oliveira, Fernandes 2009)
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen_as_lab(colours, sight):
    srgb = np.array([style.rgb(colour) for colour in colours]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHTS[sight]).T, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("colours", [style.CATEGORIES, style.CONDITIONS], ids=["categories", "conditions"])
def test_any_two_colours_are_told_apart(sight, colours):
    lab = seen_as_lab(colours, sight)
    nearest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(lab, 2))
    assert nearest >= 16.9


def test_the_check_of_colours_can_fail():
    lab = seen_as_lab(("#D55E00", "#A6761D"), "protanopia")
    assert np.linalg.norm(lab[0] - lab[1]) < 10


def test_colours_come_round_and_unknown_is_grey():
    assert style.colour(0) == style.colour(len(style.CATEGORIES)) == "#0072B2"
    assert style.colour(-1) == style.UNKNOWN
    assert style.rgb("#0072B2") == (0, 0x72, 0xB2)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("wild type", "wild type"),
        ("two\nlines\tand\x00nothing", "two lines and nothing"),
        ("stray \udcff surrogate", "stray surrogate"),
        ("right\u202eto left", "right to left"),
        ("x" * 200, "x" * 59 + "…"),
    ],
)
def test_names_are_made_safe_to_draw(name, drawn):
    assert style.plain(name) == drawn


def test_a_dollar_sign_starts_no_formula():
    figure = style.new_figure(width_in=3, height_in=1)
    style.tidy(figure.subplots(), title=r"a_$\frac{1$_b", x="$$", y=r"\$")
    assert pixels(style.figure_png(figure)).shape == (style.DPI, 3 * style.DPI, 3)


def test_a_grey_picture_keeps_its_pixels_in_one_channel():
    yx = np.arange(12, dtype=np.uint8).reshape(3, 4)
    grey = style.image_png(np.stack([yx] * 3, axis=-1))
    assert grey[25] == 0, "colour type 0 in the header of a PNG is grey"
    np.testing.assert_array_equal(pixels(grey)[..., 1], yx)


def test_greys_and_few_colours_take_a_palette_and_keep_their_look():
    yxc = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    yxc[:2, :10] = style.rgb("#0072B2")
    png = style.image_png(yxc)
    assert png[25] == 3, "colour type 3 in the header of a PNG is a palette"
    seen = pixels(png).astype(int)
    assert np.abs(seen - yxc).max() <= 1
    assert (seen[3, 0, 0], seen[3, -1, 0], tuple(seen[0, 0])) == (0, 255, style.rgb("#0072B2"))


def test_many_colours_are_kept_as_they_are():
    yxc = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    png = style.image_png(yxc)
    assert png[25] == 2
    np.testing.assert_array_equal(pixels(png), yxc)


def test_one_legend_holds_the_names_of_all_axes_once():
    figure = style.new_figure(width_in=4, height_in=3)
    first, second = figure.subplots(2, 1)
    first.plot([1, 2], label="train")
    second.plot([1, 2], label="train")
    second.plot([2, 1], label="validation")
    style.legend_below(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "validation"]
