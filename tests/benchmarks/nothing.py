"""A unit that does nothing, importable by workers."""

from dataclasses import dataclass

from storage.progress import Done


@dataclass(frozen=True)
class Nothing:
    """A unit without pixels."""

    number: int

    @property
    def name(self) -> str:
        """The number."""
        return f"{self.number:06d}"


def do_nothing(unit: Nothing) -> Done:
    """Return the unit's number."""
    return Done(unit.number, {})
