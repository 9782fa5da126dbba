"""Tables with a row for each cell, as AnnData on zarr: what scanpy, squidpy and napari users open."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from storage import arrays
from storage.arrays import Digests
from storage.errors import MissingInputError
from storage.objects import Objects

_one_at_a_time = threading.Lock()  # AnnData's settings are the whole process's
Columns = Mapping[str, NDArray[Any] | Sequence[Any]]


def write_table(
    objects: Objects,
    path: str,
    *,
    names: Sequence[str],
    columns: Columns,
    written: Digests,
    values: NDArray[Any] | None = None,
    value_names: Sequence[str] = (),
    matrices: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a table, replacing what an unfinished run left at `path`.

    Parameters
    ----------
    names
        The row names: cell_id, unique.
    columns
        One sequence a column, as long as `names`.
    values
        The matrix X, rows x `value_names`.
    matrices
        Further matrices by name (AnnData's obsm), rows x anything.
    """
    frame = pd.DataFrame({key: plain(value) for key, value in columns.items()}, index=list(names))
    table = anndata.AnnData(
        X=None if values is None else np.asarray(values, dtype=np.float32),
        obs=frame,
        var=pd.DataFrame(index=list(value_names)) if values is not None else None,
        obsm=dict(matrices or {}),
    )
    with settings_of_anndata(), arrays.lent_group(objects, path, written, mode="w") as group:
        write_elem(group, "/", table)


@contextmanager
def settings_of_anndata() -> Iterator[None]:
    """Let AnnData write each column as an array of its own chunks; one thread at a time."""
    with _one_at_a_time, anndata.settings.override(auto_shard_zarr_v3=False):
        yield


def read_table(objects: Objects, path: str) -> anndata.AnnData:
    """Read a table whole; MissingInputError if there is none at `path`."""
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected a table at {objects.uri(path)}, found none")
    with arrays.lent_group(objects, path, {}, mode="r") as group:
        table: anndata.AnnData = read_elem(group)
    return table


def plain(column: Any) -> Any:
    """Texts become categories: small on disk, and what plots and groupings expect."""
    if isinstance(getattr(column, "dtype", None), pd.CategoricalDtype):
        return column
    series = pd.Series(np.asarray(column))
    if series.dtype.kind in "OUT":
        return pd.Categorical(series.astype(str))
    return series.to_numpy()
