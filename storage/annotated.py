"""Tables of cells as scanpy expects them: measurements in X, embeddings by name, links to patches."""

from typing import Any

import anndata
import numpy as np
import pandas as pd

from storage import layout, records
from storage.objects import Objects
from storage.records import Record

NUMBERS = ("label", "t", "z", "part", "tile", "cluster")
FOUND_LATER = ("turned_deg", "cluster_probability", "condition_probability")
NOT_MEASURED = NUMBERS + FOUND_LATER


def for_scanpy(objects: Objects, record: Record, table: anndata.AnnData) -> anndata.AnnData:
    """Return a table that scanpy plots and groups as it is.

    Parameters
    ----------
    table
        Of `record`, a row for each cell.

    Returns
    -------
    anndata.AnnData
        X: the numeric measurements of obs, float32, a column each, where the table has no X. obsm: each
        matrix by its name, and by scanpy's (`X_umap`). obs: all other columns, `cluster` as a category, and
        for each cell `patches`, the address of an array, and `patches_row`, its row there. uns: what the
        table is.
    """
    obs = table.obs.copy()
    var, x = table.var, table.X
    if x is None:
        measured = [
            name
            for name in obs.columns
            if obs[name].dtype.kind in "iuf" and name not in NOT_MEASURED and np.isfinite(obs[name]).all()
        ]
        var, x = pd.DataFrame(index=measured), obs[measured].to_numpy(np.float32)
    obs = obs.drop(columns=obs.columns.intersection(var.index))  # scanpy refuses a name that stands in both
    if "cluster" in obs:
        obs["cluster"] = pd.Categorical(obs["cluster"].astype(str))
    for name, values in _links(objects, record, obs).items():
        obs[name] = values
    made = anndata.AnnData(
        X=x,
        obs=obs,
        var=var,
        obsm=dict(table.obsm) | {f"X_{name}": values for name, values in table.obsm.items()},
    )
    made.uns["chipcyte"] = {"kind": record.kind, "key": record.key}
    return made


def _links(objects: Objects, record: Record, obs: pd.DataFrame) -> dict[str, Any]:
    """Return the array of patches and the row in it of each cell; nothing for cells without patches."""
    if record.kind == "patches":
        keys, parts = [record.key], np.zeros(len(obs), np.int64)
    elif "part" in obs:
        keys, parts = _patches_of(objects, record), obs["part"].to_numpy(np.int64)
    else:
        return {}
    addresses = [objects.uri(f"{layout.artifact_folder('patches', key)}/patches.zarr") for key in keys]
    first = np.searchsorted(parts, np.arange(len(keys)))  # rows follow each other part by part
    return {
        "patches": pd.Categorical([addresses[part] for part in parts]),
        "patches_row": np.arange(len(parts)) - first[parts],
    }


def _patches_of(objects: Objects, record: Record) -> list[str]:
    """Return the keys of the patches that an embedding, or what was made of one, stands on, in order."""
    found = [parent.key for parent in record.parents if parent.kind == "patches"]
    for parent in record.parents:
        if not found and parent.kind == "embedding":
            found = _patches_of(objects, records.read(objects, parent.kind, parent.key))
    return found
