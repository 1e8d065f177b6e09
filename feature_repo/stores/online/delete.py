"""The rows of a project that is torn down, and of a view that is no longer defined, leave Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from feature_repo.stores.online.format import feature_field, key_head, project_of_key, time_field

_KEYS_PER_SEND: Final = 1_000
_TIME: Final = time_field("")
_SPECIAL: Final = b"\\*?[]"  # in patterns of SCAN


def keys_of(client: Any, project: str, join_keys: Sequence[str]) -> Iterator[bytes]:
    """Return the keys of a project's entities with these join keys.

    A pattern alone does not tell two projects apart: ``*trading`` also matches the keys of ``papertrading``. So the project
    is read from each key.
    """
    head, wanted = key_head(join_keys), project.encode()
    pattern = b"".join(b"\\" + bytes((c,)) if c in _SPECIAL else bytes((c,)) for c in head) + b"*" + wanted
    found = set()  # SCAN may return a key twice
    for key in client.scan_iter(pattern, count=_KEYS_PER_SEND):
        if key not in found and project_of_key(key) == wanted:
            found.add(key)
            yield key


def delete_keys(client: Any, keys: Sequence[bytes]) -> None:
    """Delete entities with the rows of all their views."""
    for some in _parts(keys):
        with client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.delete(key)
            pipe.execute()


def delete_rows(client: Any, keys: Sequence[bytes], view: str, features: Sequence[str]) -> int:
    """Delete the row of a view from each of some entities and return how many had one.

    An entity that has rows of no other view is deleted whole, with fields of features that the view had earlier.
    """
    time, n_rows = time_field(view), 0
    fields = [*(feature_field(view, feature) for feature in features), time]
    for some in _parts(keys):
        with client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.hkeys(key)
            times = [{name for name in names if name.startswith(_TIME)} for names in pipe.execute()]
        with client.pipeline(transaction=False) as pipe:
            for key, there in zip(some, times, strict=True):
                if there == {time}:
                    pipe.delete(key)
                elif time in there:
                    pipe.hdel(key, *fields)
            n_rows += len(pipe.execute())
    return n_rows


def _parts(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    left = iter(keys)
    while some := list(islice(left, _KEYS_PER_SEND)):
        yield some
