"""The project's own scripts, run unchanged by a Lua runtime (``lupa``) on the simulated server."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lupa import lua51
from redis.exceptions import ResponseError

import feature_repo
import ingest
from feature_repo.stores.scripts import read_script

_LUA = lua51.LuaRuntime(encoding=None)
_PRELUDE = b"""
local py_call, py_struct = ...
redis = {call = py_call, pcall = py_call}
function redis.error_reply(text) return {err = text} end
function redis.status_reply(text) return {ok = text} end
struct = {unpack = py_struct}
cmsgpack = {}

-- Return the items of a packed list of texts, the only thing that our scripts unpack; a text may hold any bytes.
function cmsgpack.unpack(data)
  local byte, sub = string.byte, string.sub
  local sizes = {[0xd9] = 1, [0xda] = 2, [0xdb] = 4, [0xdc] = 2, [0xdd] = 4} -- bytes of the length behind a first byte
  local found, n, at, last = {}, 0, 2 + (sizes[byte(data)] or 0), #data
  while at <= last do
    local first = byte(data, at)
    local size, length = sizes[first], 0
    if size then
      for i = at + 1, at + size do length = length * 256 + byte(data, i) end
      at = at + size + 1
    else
      length, at = first % 32, at + 1
    end
    n = n + 1
    found[n] = sub(data, at, at + length - 1)
    at = at + length
  end
  return found
end
"""
_PACK = _LUA.eval(b"function(...) return {...} end")
MOST = 1000  # values to give to Lua at once, whose stack is small
Call = Callable[[list[bytes]], Any]
_call: Call


def run(
    script: bytes, rewrite: Callable[[str], str], keys: Sequence[bytes], arguments: Sequence[bytes], call: Call
) -> Any:
    """Run a script; ``call`` runs each of its commands. Return its reply, or raise the error that it returns or meets."""
    global _call
    _call = call
    return _reply(_compiled(script, rewrite)(_table(keys), _table(arguments)))


@cache
def _compiled(script: bytes, rewrite: Callable[[str], str]) -> Any:
    return _LUA.eval(b"function(KEYS, ARGV) " + rewrite(script.decode()).encode() + b"\nend")


def _table(items: Sequence[Any]) -> Any:
    return _PACK(*items) if len(items) < MOST else _LUA.table_from(items)


def _reply(value: Any) -> Any:
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    if kind is float:
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


def _from_lua(*words: Any) -> Any:
    given = list(words)
    for i, word in enumerate(words):
        if type(word) is not bytes:
            given[i] = _text(word)
    reply = _call(given)
    return reply if type(reply) is bytes or type(reply) is int else _to_lua(reply)


def _text(word: Any) -> bytes:
    if type(word) is int:
        return b"%d" % word
    if type(word) is float:
        return b"%d" % word if word == int(word) else b"%.17g" % word
    raise ResponseError("Lua redis lib command arguments must be strings or integers")


def _to_lua(reply: Any) -> Any:
    if type(reply) is list:
        return _table([_to_lua(item) for item in reply])
    return False if reply is None else reply


def _struct(form: bytes, data: bytes, at: float) -> int:
    if form != b"<I8":
        raise ResponseError(f"struct.unpack of {form!r} is not simulated")
    (number,) = struct.unpack_from("<Q", data, int(at) - 1)
    return int(number)


_LUA.execute(_PRELUDE, _from_lua, _struct)
_texts = _LUA.eval(b"function(data) return unpack(cmsgpack.unpack(data)) end")
_PROJECTS = {
    path.stem: read_script(path, path.name)
    for package in (ingest, feature_repo)
    for path in Path(next(iter(package.__path__))).rglob("*.lua")
}
_BYTES = {text: text.encode() for text in _PROJECTS.values()}
_NAMES = {_BYTES[text]: name for name, text in _PROJECTS.items()}


def script_name(script: bytes) -> str:
    """Return the name of one of the project's scripts."""
    return _NAMES.get(script, "script")


def script_bytes(text: str) -> bytes:
    """Return a script as it travels: for one of the project's always the same object, whose hash is computed once."""
    return _BYTES.get(text) or text.encode()


def texts(packed: bytes) -> list[bytes]:
    """Return the items of a packed list of texts."""
    return list(_texts(packed))
