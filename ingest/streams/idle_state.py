"""The state of a symbol that left the memory of its worker, as the hash ``idle:{p}`` has it: whole, or where it is at the tape."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import msgspec


class IdleState(msgspec.Struct, array_like=True, frozen=True):
    """A value of the hash.

    Attributes
    ----------
    heard_ms : int
        When the symbol was heard last.
    parts : bytes or None
        The packed state; None where it is at the tape.
    watermark_us : int or None
        The watermark of the symbol; None where an earlier release wrote the value, and no ``size`` either.
    size : int
        Of the packed state in bytes.
    digest : bytes
        Of the packed state, where it is at the tape: the object is named by it, so no object is written over by another state.
    """

    heard_ms: int
    parts: bytes | None
    watermark_us: int | None = None
    size: int = 0
    digest: bytes = b""

    def name(self, symbol: str) -> str:
        """Return the name of the object at the tape. The name of the symbol, which may be hostile, is hashed."""
        return f"{hashlib.blake2b(symbol.encode(), digest_size=16).hexdigest()}-{self.digest.hex()}"


_encode = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(IdleState).decode
"""Return the state of a value."""


def pack(heard_ms: int, watermark_us: int, parts: Mapping[str, bytes]) -> bytes:
    """Return the value of a symbol whose state is in it."""
    packed = pack_parts(parts)
    return _encode(IdleState(heard_ms, packed, watermark_us, len(packed)))


def pack_parts(parts: Mapping[str, bytes]) -> bytes:
    """Return the packed state of a symbol."""
    return zlib.compress(msgspec.msgpack.encode(parts), 1)


def parts_of(packed: bytes) -> dict[str, bytes]:
    """Return the parts of a packed state."""
    return msgspec.msgpack.decode(zlib.decompress(packed), type=dict[str, bytes])


def reference(state: IdleState) -> IdleState:
    """Return the state without its parts, as it says where these are."""
    digest = hashlib.blake2b(state.parts or b"", digest_size=16).digest()
    return msgspec.structs.replace(state, parts=None, digest=digest)


def encode(state: IdleState) -> bytes:
    """Return the value of a state."""
    return _encode(state)
