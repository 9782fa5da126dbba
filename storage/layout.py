"""Where things lie in a store: the only place that spells paths."""

IMAGE = "image.ome.zarr"
RECORDS = "records"
QUARANTINE = "quarantine"
INBOXES = "inboxes"
PROGRESS = "progress"
DELIVERIES = "deliveries"
AREAS = ("acquisitions", "artifacts", RECORDS, PROGRESS, QUARANTINE, INBOXES, DELIVERIES)


def artifact_folder(kind: str, key: str) -> str:
    """Return the folder of an artifact; an acquisition's raw image has a place of its own."""
    if kind == "raw":
        return f"acquisitions/{key}"
    return f"artifacts/{kind}/{key}"


def image_path(kind: str, key: str) -> str:
    """Return the path of the OME-Zarr image of a raw or clean artifact."""
    return f"{artifact_folder(kind, key)}/{IMAGE}"


def flat_path(key: str) -> str:
    """Return the path of the flat-field of an illumination artifact, an array of its own."""
    return f"{artifact_folder('illumination', key)}/flat.zarr"


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
    return f"{PROGRESS}/{kind}/{key}"


def cell_name(labels_key: str, name: str) -> str:
    """Return the name of a cell in tables of several recordings: its own, after its labels' key."""
    return f"{labels_key[:12]}-{name}"


def owner(path: str) -> tuple[str, str] | None:
    """Return kind and key of the artifact that an object belongs to; None for what is no artifact's.

    The list of an image's labels belongs to no label image, so it counts as the clean image's.
    """
    parts = path.split("/")
    if parts[0] == "acquisitions" and len(parts) > 2:
        return "raw", parts[1]
    if parts[0] not in ("artifacts", PROGRESS) or len(parts) < 4:
        return None
    if parts[:2] == ["artifacts", "clean"] and parts[3:5] == [IMAGE, "labels"] and len(parts) > 6:
        return "labels", parts[5]
    return parts[1], parts[2]


def quarantine_path(key: str) -> str:
    """Return the path of the note about an input that was refused."""
    return f"{QUARANTINE}/{key}.json"


def known_folder(inbox: str) -> str:
    """Return the folder of what is known about the files of an inbox, named by the digest of its URL."""
    return f"{INBOXES}/{inbox}/known"


def delivery_folder(run_id: str) -> str:
    """Return the folder of what an MLflow that was lost has yet to hear of a run."""
    return f"{DELIVERIES}/{run_id}"
