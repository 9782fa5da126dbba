"""How a loop is compiled: to machine code of this processor, once a machine where a folder can be written."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile a loop at its first call; threads may run it side by side.

    Parameters
    ----------
    loop
        A function of arrays and numbers that numba understands. Division by zero gives infinity or NaN, as in
        numpy: a loop that has to raise there is never vectorised.

    Returns
    -------
    The function, compiled. The machine code is kept beside the source file, or in the user's cache folder
    where the package is read-only. Where neither can be written, every process compiles for itself.
    """
    function: Any = numba.njit(loop, nogil=True, error_model="numpy")
    with contextlib.suppress(RuntimeError):  # numba's for "no folder to cache in": never refuse the import
        function.enable_caching()
    typed: Loop = function
    return typed
