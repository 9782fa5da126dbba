"""Which channel of an image the settings mean."""

from storage.errors import InputError
from storage.ome import ImageMetadata


def choose_channel(metadata: ImageMetadata, channels: int, wanted: int | str) -> int:
    """Return the index of a channel given by index or name; InputError naming those there are."""
    names = list(metadata.channel_names)
    if isinstance(wanted, int) and 0 <= wanted < channels:
        return wanted
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    raise InputError(
        f"{metadata.name}: expected preprocess.channel to be one of 0 to {channels - 1} or {names}, "
        f"found {wanted!r}"
    )
