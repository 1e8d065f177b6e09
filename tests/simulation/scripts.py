"""The project's own scripts, run unchanged by a Lua runtime (``lupa``) on the simulated server."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from lupa import lua51
from redis.exceptions import ResponseError

_LUA = lua51.LuaRuntime(encoding=None)
_TYPE = lua51.lua_type
_PRELUDE = b"""
local py_call, py_unpack, py_struct = ...
redis = {}
function redis.call(...) return py_call(...) end
function redis.pcall(...) return py_call(...) end
function redis.error_reply(text) return {err = text} end
function redis.status_reply(text) return {ok = text} end
cmsgpack = {unpack = py_unpack}
struct = {unpack = py_struct}
"""
Call = Callable[..., Any]
_call: list[Call] = []


def run(script: str, keys: Sequence[bytes], arguments: Sequence[bytes], call: Call) -> Any:
    """Run a script; ``call`` runs each of its commands. Return its reply, or raise the error that it returns or meets."""
    _call[:] = [call]
    return _reply(_compiled(script)(_LUA.table_from(keys), _LUA.table_from(arguments)))


@cache
def _compiled(script: str) -> Any:
    return _LUA.eval(b"function(KEYS, ARGV) " + script.encode() + b"\nend")


def _reply(value: Any) -> Any:
    if isinstance(value, bytes | int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value)
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if (error := value[b"err"]) is not None:
        raise ResponseError(error.decode())
    if (status := value[b"ok"]) is not None:
        return status
    found = []
    for i in range(1, len(value) + 1):
        if value[i] is None:
            break
        found.append(_reply(value[i]))
    return found


def _from_lua(command: bytes, *words: Any) -> Any:
    return _to_lua(_call[0]([command, *[w if isinstance(w, bytes) else _text(w) for w in words]]))


def _text(word: Any) -> bytes:
    if isinstance(word, int | float) and not isinstance(word, bool):
        return b"%d" % word if word == int(word) else b"%.17g" % word
    raise ResponseError("Lua redis lib command arguments must be strings or integers")


def _to_lua(reply: Any) -> Any:
    if reply is None:
        return False
    if isinstance(reply, list):
        return _LUA.table_from([_to_lua(item) for item in reply])
    return reply


_SIZES = {
    0xD9: 1,
    0xDA: 2,
    0xDB: 4,
    0xDC: 2,
    0xDD: 4,
}  # bytes of the length behind a first byte: of texts, and of a list


def _unpack(data: bytes) -> Any:
    return _LUA.table_from(texts(data))


def texts(data: bytes) -> list[bytes]:
    """Return a packed list of texts, the only thing that our scripts unpack; a text may hold any bytes."""
    found, at = [], 1 + _SIZES.get(data[0], 0)
    while at < len(data):
        first = data[at]
        size = _SIZES.get(first, 0)
        start = at + 1 + size
        at = start + (int.from_bytes(data[at + 1 : start], "big") if size else first & 0x1F)
        found.append(data[start:at])
    return found


def _struct(form: bytes, data: bytes, at: float) -> int:
    if form != b"<I8":
        raise ResponseError(f"struct.unpack of {form!r} is not simulated")
    (number,) = struct.unpack_from("<Q", data, int(at) - 1)
    return int(number)


_LUA.execute(_PRELUDE, _from_lua, _unpack, _struct)
