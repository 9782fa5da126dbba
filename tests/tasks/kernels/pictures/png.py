"""Read back a picture that was drawn."""

import io

import numpy as np
from PIL import Image


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(png))
    assert image.info.keys() <= {"transparency"}, "a PNG holds pixels alone: no date, no software"
    return np.asarray(image.convert("RGB"))


def holds_colour(png: bytes, colour: tuple[int, int, int], *, at_least: int = 20, within: int = 3) -> bool:
    off = np.abs(pixels(png).astype(int) - np.array(colour)).max(axis=-1)
    return int((off <= within).sum()) >= at_least
