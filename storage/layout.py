"""Where things lie in a store: the only place that spells paths."""

IMAGE = "image.ome.zarr"
RECORDS = "records"


def artifact_folder(kind: str, key: str) -> str:
    """Return the folder of an artifact; an acquisition's raw image has a place of its own."""
    if kind == "raw":
        return f"acquisitions/{key}"
    return f"artifacts/{kind}/{key}"


def image_path(kind: str, key: str) -> str:
    """Return the path of the OME-Zarr image of a raw or clean artifact."""
    return f"{artifact_folder(kind, key)}/{IMAGE}"


def labels_group_path(clean_key: str) -> str:
    """Return the path of the NGFF labels group inside a clean image."""
    return f"{image_path('clean', clean_key)}/labels"


def labels_path(clean_key: str, labels_key: str) -> str:
    """Return the path of one label image inside its clean image, where NGFF wants it."""
    return f"{labels_group_path(clean_key)}/{labels_key}"


def manifest_path(kind: str, key: str, digest: str) -> str:
    """Return the path of the list of an artifact's objects with their sizes and digests.

    Its name holds its own digest, so two processes that finish one artifact at once cannot replace each
    other's list: the record names the one that holds.
    """
    return f"{artifact_folder(kind, key)}/manifest-{digest[:16]}.json"


def record_path(kind: str, key: str) -> str:
    """Return the path of the commit record."""
    return f"{RECORDS}/{kind}/{key}.json"


def progress_folder(kind: str, key: str) -> str:
    """Return the folder of an unfinished artifact's done-markers and scratch arrays."""
    return f"progress/{kind}/{key}"
