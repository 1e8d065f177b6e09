"""Memory of a process that makes one large table after another, and nothing else."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_OPTIONS: Final = {-1: 2**31 - 1, -4: 0, -8: 1}
"""M_TRIM_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX: nothing is given back, large arrays come from the heap, and there is one heap."""


def keep() -> bool:
    """Let the process use freed memory again in place of giving it back to the system; return whether the C library can do so.

    The system clears each page that it gives, for each slice of a frame anew. The process stays as large as it was at its largest.
    Source: mallopt(3) of the GNU C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and all(set_option(option, value) == 1 for option, value in _OPTIONS.items())
