"""A Dask cluster of the site, by the name of its class: dask-jobqueue's, dask-kubernetes' or Gateway's."""

from importlib import import_module
from typing import Any

from storage.errors import ChipcyteError, InputError
from tasks.settings import Resources


def names_a_class(resources: Resources) -> bool:
    """Whether `resources.compute` is a class's name; an address has a colon, the other words have no dot."""
    return "." in resources.compute and ":" not in resources.compute


def site_cluster(resources: Resources) -> Any:
    """Start a cluster, and ask it for workers, which come when the site grants them.

    Raises
    ------
    InputError
        There is no such class, or it does not take the arguments.
    ChipcyteError
        The site did not start it.
    """
    module, _, name = resources.compute.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            "expected the name of a class in resources.compute, such as dask_jobqueue.SLURMCluster, found "
            f"{resources.compute!r}: {error}; install its package where the run is started"
        ) from error
    if not (isinstance(kind, type) and hasattr(kind, "scale")):
        raise InputError(f"expected a Dask cluster's class in resources.compute, found {resources.compute!r}")
    try:
        cluster = kind(**resources.cluster)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{resources.compute} does not take what resources.cluster says: {error}; see its documentation"
        ) from error
    except (RuntimeError, OSError) as error:
        raise ChipcyteError(f"{resources.compute} could not be started: {error}") from error
    cluster.scale(resources.workers)
    return cluster
