"""The errors chipcyte raises on purpose: each says what was expected, what was found and what to do."""


class ChipcyteError(Exception):
    """Base of every error raised on purpose. The command line prints its text and exits with `exit_code`."""

    exit_code = 1


class InputError(ChipcyteError, ValueError):
    """The input, the settings or the usage is wrong; nothing was computed or changed."""

    exit_code = 2


class MissingInputError(InputError, FileNotFoundError):
    """A file, folder, record or artifact that was named does not exist."""


class FormatError(InputError):
    """A file was found but cannot be read as what its name or content promises."""


class BusyError(ChipcyteError):
    """Another process is doing the same work right now."""


class MisalignedRegionError(ChipcyteError, ValueError):
    """A write would touch part of a shard: two writers could meet."""


class MemoryBudgetError(InputError, MemoryError):
    """A stage would need more memory than `resources.memory_bytes` allows; raised before it starts."""


class StoreError(ChipcyteError, OSError):
    """The store cannot be reached, read or written."""


class DamagedStoreError(StoreError):
    """The store holds something that contradicts its own records."""
