"""The common ground of all kernels: a flat state of doubles, and scalar code that runs compiled or as plain Python.

A kernel is three functions over a flat vector of doubles: ``init`` makes the vector, ``step_*`` folds an event in, ``emit`` writes a
row. The functions are scalar code, because CPython and numba then give the same bits. numba is used where it is installed, unless
the environment variable ``TFS_NUMBA`` is ``0``. This is the one module of its layer that reads the environment.

Plain Python reads a list far faster than an array, so a state is a list there, and an array of doubles under numba. Every number in
a state is a double: times are whole microseconds (exact to the year 2255), counts and lots are whole numbers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vector = Any
"""A list of floats in plain Python, a C-contiguous array of float64 under numba."""

NAN = float("nan")
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

F = TypeVar("F", bound=Callable[..., Any])


def _cache_dir() -> str:
    """Return a writable folder for compiled kernels; its name changes with every change of the source of this package.

    numba looks for changes only in the file of the function itself, and not in the files that it imports constants from. With one
    folder for all versions, machine code compiled for an older catalogue would write to the old slots.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = Path("trading-feature-store", f"kernels-{digest.hexdigest()[:16]}")
    folder = base / name
    try:
        if (ahead := os.environ.get("TFS_KERNELS")) and not folder.exists():
            _copy(Path(ahead) / name, folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        return tempfile.mkdtemp(prefix="tfs-kernels-")


def _copy(ahead: Path, folder: Path) -> None:
    """Copy kernels that were compiled ahead (the image's build does), whole or not at all: several processes may start at once."""
    if ahead.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copytree(ahead, part, dirs_exist_ok=True)
        try:
            part.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(part, ignore_errors=True)


COMPILED = os.environ.get("TFS_NUMBA", "1") != "0"
if COMPILED:
    try:
        import numba
    except ImportError:
        COMPILED = False
    else:
        numba.config.CACHE_DIR = _cache_dir()
        numba.config.DISABLE_INTEL_SVML = 1  # vectorised log and exp differ from the C library's in the last bit


def jit(function: F) -> F:
    """Compile ``function`` where numba is in use: cached, without fast-math, with Python's error model."""
    return numba.njit(cache=True)(function) if COMPILED else function


def zeros(size: int) -> Vector:
    """Return a vector of ``size`` zeros."""
    return np.zeros(size) if COMPILED else [0.0] * size


def vector(values: Sequence[float] | npt.NDArray[np.float64]) -> Vector:
    """Return ``values`` as a vector of floats."""
    return np.array(values, dtype=np.float64) if COMPILED else [float(v) for v in values]


def concatenate(a: Vector, b: Vector) -> Vector:
    """Return a vector of two."""
    return np.concatenate((a, b)) if COMPILED else a + b


def to_bytes(state: Vector) -> bytes:
    """Return the bytes of a state, little-endian doubles; states are equal when their bytes are."""
    return state.tobytes() if COMPILED else array("d", state).tobytes()


def from_bytes(data: bytes) -> Vector:
    """Return the state that ``to_bytes`` saved."""
    return np.frombuffer(data).copy() if COMPILED else array("d", data).tolist()
