"""The stages on every kind of store: the same artifacts, byte for byte, and nothing computed twice."""

from pathlib import Path

import pytest

from storage import records
from storage.objects import Objects, open_store
from tests.storage.faulty import faulty_server
from tests.support import Carried, carry, contents, differing, found_in


@pytest.fixture(scope="session")
def reference(carried: tuple[Objects, list[Carried]]) -> dict[str, bytes]:
    """Every object of the tiny experiment's store, made in a folder without any trouble."""
    return contents(carried[0])


@pytest.mark.slow
def test_s3_holds_what_a_folder_holds(bucket: str, experiment: Path, reference: dict[str, bytes]) -> None:
    objects = open_store(f"s3://{bucket}/lab/store", create=True)
    made = [carry(objects, found) for found in found_in(experiment)]
    assert differing(contents(objects), reference) == []
    assert not objects.sizes("progress")
    again = carry(objects, found_in(experiment)[0])
    assert all(handle.reused for handle in again.made)
    assert [one.key for one in again.made] == [one.key for one in made[0].made]
    assert {
        record.kind for record in records.lineage(objects, records.resolve(objects, made[0].patches.key))
    } == {"raw", "sample", "truth", "clean", "labels", "patches"}


@pytest.mark.slow
def test_an_s3_server_that_stumbles_changes_nothing(
    bucket: str,
    s3_server: str,
    s3_environment: pytest.MonkeyPatch,
    experiment: Path,
    carried: tuple[Objects, list[Carried]],
) -> None:
    """Every 31st request fails in one of several ways, all the way from ingest to extract."""
    from storage import backends

    with faulty_server(s3_server) as server:
        s3_environment.setenv("AWS_ENDPOINT_URL", server.address)
        backends.backend.cache_clear()
        objects = open_store(f"s3://{bucket}/store", create=True)
        server.every = 31
        made = carry(objects, found_in(experiment)[0])
        server.every = 0
        assert server.failed > 10
        assert [one.key for one in made.made] == [one.key for one in carried[1][0].made]
        for handle in made.made:
            ours, theirs = (records.read(where, handle.kind, handle.key) for where in (objects, carried[0]))
            assert ours.digest == theirs.digest
            for name, entry in records.read_manifest(objects, ours).items():
                assert len(objects.get(name)) == entry[0]
