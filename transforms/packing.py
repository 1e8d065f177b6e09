"""The bytes of a saved vector: most of a symbol's state is zeros, or the NaN of rings that nothing was put into yet, and is left out.

::

    | which blocks of 64 hold any other | which of their doubles are not 0 | n, which of these are NaN | the rest, 8 bytes each |

A bit says whether; ``n`` is 1, or 0 where none is NaN and the bits behind it are left out. A double is told from another by its bits, so
-0.0 is kept, and equal vectors have equal bytes.

Example: Of a thousand doubles three are not 0, all in the first block, and one of them is NaN:

>>> from transforms.kernel import NAN, zeros
>>> state = zeros(1000)
>>> state[3], state[5], state[6] = 1.5, -0.0, NAN
>>> data = pack(state)
>>> len(data)
28
>>> bool((unpack(data, 1000).view(np.uint64) == np.array(state).view(np.uint64)).all())
True
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.kernel import Vector

BLOCK = 64
_NAN = np.float64("nan").view(np.uint64)


def pack(state: Vector) -> bytes:
    """Return the bytes of a vector."""
    words = np.asarray(state, np.float64).view(np.uint64)
    of_block = np.zeros((-(-len(words) // BLOCK), BLOCK // 8), np.uint8)
    is_there = words != 0
    bits = np.packbits(is_there)
    of_block.reshape(-1)[: len(bits)] = bits
    is_used = of_block.view(np.uint64)[:, 0] != 0
    kept = words[is_there]
    is_nan = kept == _NAN
    parts = [np.packbits(is_used).tobytes(), of_block[is_used].tobytes()]
    if is_nan.any():
        parts += [b"\1", np.packbits(is_nan).tobytes(), kept[~is_nan].tobytes()]
    else:
        parts += [b"\0", kept.tobytes()]
    return b"".join(parts)


def unpack(data: bytes, size: int) -> npt.NDArray[np.float64]:
    """Return the vector of ``size`` doubles that ``pack`` packed; raise ``ValueError`` if the bytes are not those of such a vector."""
    blocks = -(-size // BLOCK)
    found = np.frombuffer(data, np.uint8)
    is_used = np.unpackbits(found[: -(-blocks // 8)], count=blocks).astype(bool)
    at = -(-blocks // 8)
    of_block = np.zeros((blocks, BLOCK // 8), np.uint8)
    end = at + BLOCK // 8 * int(np.count_nonzero(is_used))
    of_block[is_used] = found[at:end].reshape(-1, BLOCK // 8)
    is_there = np.unpackbits(of_block, count=size).astype(bool)
    n = int(np.count_nonzero(is_there))
    at = end + 1
    words = np.zeros(size, np.uint64)
    if found[end]:
        is_nan = np.unpackbits(found[at : at + -(-n // 8)], count=n).astype(bool)
        kept = np.full(n, _NAN, np.uint64)
        kept[~is_nan] = np.frombuffer(data, np.uint64, offset=at + -(-n // 8))
        words[is_there] = kept
    else:
        words[is_there] = np.frombuffer(data, np.uint64, offset=at)
    return words.view(np.float64)
