import pytest

from storage.errors import ChipcyteError, InputError
from tasks import chunked
from tasks.settings import Resources
from tasks.site_cluster import names_a_class, site_cluster

LOCAL = {
    "n_workers": 0,
    "threads_per_worker": 1,
    "processes": False,
    "dashboard_address": "127.0.0.1:0",
}


class Picky:
    def __init__(self, *, queue: str) -> None:
        self.workers = 0
        if queue == "closed":
            raise RuntimeError("the queue is closed")

    def scale(self, workers: int) -> None:
        self.workers = workers


def at(compute: str, **arguments) -> Resources:
    return Resources(compute=compute, cluster=arguments, workers=2)


@pytest.mark.parametrize(
    ("compute", "is_one"),
    [
        ("local", False),
        ("serial", False),
        ("tcp://10.0.0.1:8786", False),
        ("scheduler.lab.example:8786", False),
        ("dask_jobqueue.SLURMCluster", True),
    ],
)
def test_a_class_is_told_from_an_address(compute, is_one):
    assert names_a_class(at(compute)) is is_one


def test_a_cluster_of_a_named_class_has_the_workers_that_were_asked_for():
    client = chunked._connect(at("distributed.LocalCluster", **LOCAL))
    try:
        client.wait_for_workers(2, timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    finally:
        client.close()
        client.cluster.close()


@pytest.mark.parametrize(
    ("compute", "arguments", "said"),
    [
        ("no_such_package.Cluster", {}, "install its package"),
        ("distributed.NoSuchCluster", {}, "install its package"),
        ("distributed.Client", {}, "a Dask cluster's class"),
        ("os.getcwd", {}, "a Dask cluster's class"),
        (f"{__name__}.Picky", {}, "queue"),
    ],
)
def test_what_is_no_cluster_is_said_with_what_to_do(compute, arguments, said):
    with pytest.raises(InputError, match=said):
        site_cluster(at(compute, **arguments))


def test_a_site_that_starts_nothing_is_no_wrong_input():
    with pytest.raises(ChipcyteError, match="the queue is closed") as failure:
        site_cluster(at(f"{__name__}.Picky", queue="closed"))
    assert not isinstance(failure.value, InputError)
    assert site_cluster(at(f"{__name__}.Picky", queue="gpu")).workers == 2
