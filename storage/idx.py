"""IDX files: labelled pictures as MNIST and FashionMNIST are handed round."""

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError, MissingInputError

UINT8 = 8
NAMES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")} | {
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
}


@dataclass(frozen=True)
class LabelledImages:
    """Pictures and the class of each."""

    nyx: NDArray[np.uint8]
    """(n, y, x)."""
    labels: NDArray[np.uint8]
    """(n,)."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes, gzipped or not.

    Raises
    ------
    MissingInputError
        There is no such file.
    InputError
        It is no IDX file of bytes, or not as long as it says.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError as error:
        raise MissingInputError(f"expected an IDX file at {path}, found nothing there") from error
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: expected a gzipped IDX file, found a damaged one: {error}") from error
    if content[:2] != b"\0\0" or len(content) < 4 or content[2] != UINT8:
        raise InputError(f"{path}: expected an IDX file of bytes, found {content[:4]!r} at its beginning")
    begin = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, begin, 4))
    if math.prod(shape) != len(content) - begin:
        raise InputError(f"{path}: expected {shape} bytes after its head, found {len(content) - begin}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def read_split(folder: Path, split: str) -> LabelledImages:
    """Return the "train" or the "test" part of a folder with the four files of MNIST's names.

    Raises
    ------
    InputError
        A file is missing or damaged, or pictures and labels do not go together.
    """
    images, labels = (read_idx(_found(folder, name)) for name in NAMES[split])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise InputError(
            f"{folder}: expected a label for each picture (n, y, x), found {labels.shape} for {images.shape}"
        )
    return LabelledImages(images, labels)


def _found(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.exists() else folder / f"{name}.gz"
