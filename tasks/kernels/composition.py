"""How each condition's cells spread over the clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class CompositionTable:
    """Clusters in rows, conditions in columns, both ascending."""

    clusters: tuple[int, ...]
    conditions: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    """(clusters, conditions): cells."""
    percent: npt.NDArray[np.float64]
    """(clusters, conditions): percentage of the condition's cells in the cluster; columns sum to 100."""

    def rows(self) -> list[dict[str, int | float | str]]:
        """One record for each cluster and condition: cluster, condition, cells, percent; for a CSV."""
        return [
            {
                "cluster": cluster,
                "condition": condition,
                "cells": int(self.counts[i, j]),
                "percent": float(self.percent[i, j]),
            }
            for i, cluster in enumerate(self.clusters)
            for j, condition in enumerate(self.conditions)
        ]


def composition(
    clusters: Sequence[int] | npt.NDArray[np.integer], conditions: Sequence[str] | npt.NDArray[Any]
) -> CompositionTable:
    """Count the cells of each condition in each cluster.

    Percentages are of a condition, not of a cluster: conditions with different numbers of cells can be
    compared.

    Parameters
    ----------
    clusters
        (n,): cluster of each cell.
    conditions
        (n,): condition of each cell, for example "wild type" or "BRAF".

    Returns
    -------
    CompositionTable
        Only clusters and conditions that occur; empty for no cells.

    Raises
    ------
    ValueError
        Lengths differ.
    """
    if len(clusters) != len(conditions):
        raise ValueError(
            f"expected a condition for each of {len(clusters)} cells, found {len(conditions)}: "
            "take both from the same table"
        )
    clusters_found, row = np.unique(np.asarray(clusters, dtype=np.int64), return_inverse=True)
    conditions_found, column = np.unique(np.asarray(conditions, dtype=str), return_inverse=True)
    counts = np.zeros((len(clusters_found), len(conditions_found)), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    return CompositionTable(
        clusters=tuple(clusters_found.tolist()),
        conditions=tuple(conditions_found.tolist()),
        counts=counts,
        percent=100.0 * counts / counts.sum(axis=0),
    )
