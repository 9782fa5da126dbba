"""Reads arrays, numbers, texts and plain containers out of a pickle without running anything in it.

A pickle is a program for a stack machine, and Python's own reader calls whatever the program names. This one
calls nothing: what the program would call stays a note (`Made`), and only NumPy arrays are made of such
notes, from their bytes. The instructions are those that `pickletools` documents.
"""

import io
import math
import pickletools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import FormatError

MOST_STEPS = 5_000_000  # a step may ask for 64 bytes of memory
PLAIN_DTYPE = re.compile(r"[biuf][1248]")

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_NAMES = {("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): "dtype"}
_NAMES |= {(module, "_reconstruct"): "array" for module in _MULTIARRAY}
_NAMES |= {(module, "scalar"): "scalar" for module in _MULTIARRAY}
_NAMES |= {(module, "_frombuffer"): "buffer" for module in _NUMERIC}
_NAMES |= {("pathlib", name): "path" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path")}


@dataclass(frozen=True)
class Name:
    """What a pickle calls by name; one of those that NumPy's own pickles hold."""

    text: str


@dataclass
class Made:
    """What a pickle would make: a call that was not made, and the state that was to be set on its result."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(content: bytes, what: str) -> Any:
    """Return what a pickle holds, its NumPy arrays, numbers and paths as `Made`.

    Parameters
    ----------
    content
        The pickle.
    what
        What an error calls it, such as its path.

    Raises
    ------
    FormatError
        It is truncated or no pickle, or holds more than arrays, numbers, texts and plain containers.
    """
    machine = _Machine(what)
    try:
        for step, (code, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if step >= MOST_STEPS:
                raise FormatError(f"{what}: expected at most {MOST_STEPS:,} parts in a pickle, found more")
            machine.take(code.name, argument)
        (value,) = machine.stack
    except FormatError:
        raise
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise FormatError(
            f"{what}: expected a whole pickle as NumPy writes, found a truncated or damaged one ({error})"
        ) from error
    return value


def array_of(value: Any, what: str) -> NDArray[Any]:
    """Return the array of numbers that a `Made` describes; FormatError if it is none, or is not whole."""
    try:
        shape, dtype, order, raw = _described(value)
        size = math.prod(shape)
        if min(shape, default=0) < 0 or size * dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} and {dtype} with {len(raw)} bytes")
        return np.frombuffer(raw, dtype).reshape(shape, order=order)
    except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{what}: expected an array of numbers, found {_brief(error, value)}") from error


def items_of(value: Any, what: str) -> list[Any]:
    """Return the elements of a `Made` array of Python objects, as `numpy.save` makes of a dictionary."""
    state = value.state if isinstance(value, Made) and value.name == "array" else None
    found = state[-1] if isinstance(state, tuple) and state else None
    if not isinstance(found, list):
        raise FormatError(f"{what}: expected a pickled array of Python objects, found {_brief(None, value)}")
    return found


def text_of(value: Any) -> str | None:
    """Return a text or path; None if it is neither."""
    if isinstance(value, Made) and value.name == "path":
        return "/".join(str(part) for part in value.arguments)
    return value if isinstance(value, str) else None


def _described(value: Any) -> tuple[tuple[int, ...], np.dtype[Any], Any, bytes]:
    """Return shape, dtype, order and bytes of an array."""
    if not isinstance(value, Made):
        raise TypeError("none")
    if value.name == "buffer":
        raw, dtype, shape, order = value.arguments
    elif value.name == "array":
        _, shape, dtype, by_columns, raw = value.state
        order = "F" if by_columns else "C"
    else:
        raise TypeError(f"a {value.name}")
    if not isinstance(raw, bytes | bytearray):
        raise TypeError("one of Python objects")
    return tuple(int(n) for n in shape), _dtype_of(dtype), "F" if order == "F" else "C", bytes(raw)


def _dtype_of(made: Made) -> np.dtype[Any]:
    name = made.arguments[0]
    if made.name != "dtype" or not PLAIN_DTYPE.fullmatch(name):
        raise TypeError(f"values of type {name!r}")
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype.newbyteorder(">" if made.state and made.state[1] == ">" else "<")


def _brief(error: Exception | None, value: Any) -> str:
    return str(error) if isinstance(value, Made) and error else f"a {type(value).__name__}"


class _Machine:
    """The stack, the marks and the memory of a pickle's program."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def take(self, code: str, argument: Any) -> None:
        """Do one instruction."""
        if code in _SKIPPED:
            return
        if code in _VALUES:
            self.stack.append(argument)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code]())
        elif code in _DONE:
            _DONE[code](self, argument)
        else:
            raise FormatError(
                f"{self.what}: expected arrays, numbers, texts and plain containers, found the instruction "
                f"{code}, which only other objects need; nothing in it was run"
            )

    def above_mark(self) -> list[Any]:
        """Take what lies above the last mark."""
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def top(self, count: int) -> tuple[Any, ...]:
        """Take the topmost values."""
        if count > len(self.stack):
            raise IndexError("a value is missing")
        found = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return found

    def name(self, module: Any, name: Any) -> None:
        """Note a name that NumPy's pickles hold; refuse any other."""
        known = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise FormatError(
                f"{self.what}: expected arrays, numbers, texts and plain containers, found {module}.{name}; "
                "nothing in it was run: save it anew in Cellpose, or give the masks as a TIFF"
            )
        self.stack.append(Name(known))

    def call(self) -> None:
        """Note a call instead of making it."""
        function, arguments = self.top(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of something without a name")
        self.stack.append(Made(function.text, arguments))

    def build(self) -> None:
        """Note the state of what a call would have made."""
        (state,) = self.top(1)
        if not isinstance(self.stack[-1], Made):
            raise TypeError("a state for something that has none")
        self.stack[-1].state = state

    def pop(self) -> None:
        """Drop the topmost value, or mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.top(1)

    def extend(self, values: Sequence[Any]) -> None:
        """Add to the list that lies topmost."""
        if not isinstance(self.stack[-1], list):
            raise TypeError("an element for something that is no list")
        self.stack[-1].extend(values)

    def update(self, values: Sequence[Any]) -> None:
        """Add to the dictionary that lies topmost."""
        if not isinstance(self.stack[-1], dict):
            raise TypeError("an entry for something that is no dictionary")
        self.stack[-1].update(_entries(values))

    def keep(self, place: int) -> None:
        """Remember the topmost value."""
        self.memory[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        """Put a remembered value topmost."""
        self.stack.append(self.memory[place])


def _entries(values: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


_SKIPPED = frozenset({"PROTO", "FRAME", "STOP"})
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "  # noqa: SIM905
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_DONE: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.above_mark().clear(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "APPEND": lambda machine, _: machine.extend(machine.top(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.above_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.top(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.top(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.top(3)),
    "DICT": lambda machine, _: machine.stack.append(_entries(machine.above_mark())),
    "SETITEM": lambda machine, _: machine.update(machine.top(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.above_mark()),
    "PUT": _Machine.keep,
    "BINPUT": _Machine.keep,
    "LONG_BINPUT": _Machine.keep,
    "MEMOIZE": lambda machine, _: machine.keep(len(machine.memory)),
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": lambda machine, pair: machine.name(*pair.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.top(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
