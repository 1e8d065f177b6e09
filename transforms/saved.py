"""The state of a symbol's kernels as a checkpoint has it: named parts of bytes, of which each says which kernels made it.

A part is a vector, and begins with its head: the layout of the vector, and the versions of its kernels and of all that these are made of.
So a kernel finds its state in a part that another version of the code saved, whatever changed beside it; and where it changed itself, or
something that it is made of, it begins anew, as at the first message of a symbol. A kernel that has no state, and that no state is made
of, is in no head: a feature of that kind comes and goes without changing a byte.

::

    engine        the format, and the grid
    derivatives   only of a symbol that heard a message for it
    posts_days    the ids of posts of earlier days, which belong to ``posts``
    all others    | length of the head | head | doubles (``packing``), for ``posts`` its own bytes |
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np

from transforms import joined, kernels, normalization
from transforms.context import layout as context
from transforms.context.layout import Neighbours, Shape
from transforms.derivatives import kernel as derivatives
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US, Vector, vector
from transforms.kernels import Versions
from transforms.layouts import DERIVATIVES, Layout, layouts, places
from transforms.microstructure import kernel as microstructure
from transforms.order_flow import kernel as order_flow
from transforms.packing import pack, unpack
from transforms.sentiment import kernel as posts
from transforms.sentiment.state import State
from transforms.technical import kernel as technical
from transforms.technical import relative_volume

FORMAT = "kernels 1"
_LENGTH = struct.Struct("<H")


class VersionError(ValueError):
    """A saved state belongs to another grid, or has another format; rebuild it from history."""


class States(NamedTuple):
    """The states of all kernels of a symbol: vectors by the name of their part, and the posts."""

    vectors: dict[str, Vector]
    posts: State


def fresh(instrument: Instrument, bucket_us: int, neighbours: Neighbours | None = None) -> States:
    """Return the states of a new symbol; only one with neighbours has a part for what it knows of them."""
    about = instrument, bucket_us
    relative = relative_volume.init(*about)
    vectors = {
        **({} if neighbours is None else {"context": context.init(neighbours)}),
        "microstructure": microstructure.init(*about),
        "order_flow": order_flow.init(*about),
        "technical": technical.init(*about),
        "relative_now": relative[: relative_volume.HEAD],
        "relative_days": relative[relative_volume.HEAD :],
        "normalization": normalization.init(),
    }
    return States(vectors, posts.init(*about))


class Head(NamedTuple):
    """Versions of kernels, and the layout of a vector."""

    versions: Versions
    layout: Layout


@cache
def _heads(versions: Versions, bucket_us: int, shape: Shape | None) -> dict[str, bytes]:
    """Return the packed head of each part."""
    of = dict(versions)
    found = {}
    for part, layout in _layouts(bucket_us, shape).items():
        names = sorted(set().union(*(kernels.made_of(name) for name, _ in layout)))
        found[part] = _pack_head(Head(tuple((name, of[name]) for name in names), layout))
    return found


def _layouts(bucket_us: int, shape: Shape | None) -> dict[str, Layout]:
    return {**layouts(bucket_us, shape), "posts": (("posts", 0),)}


def _pack_head(head: Head) -> bytes:
    names = [name for name, _ in head.versions]
    packed = [head.versions, [(names.index(name), size) for name, size in head.layout]]
    data = zlib.compress(msgspec.msgpack.encode(packed))
    return _LENGTH.pack(len(data)) + data


@cache
def _read_head(data: bytes) -> Head:
    versions, layout = msgspec.msgpack.decode(zlib.decompress(data[_LENGTH.size :]))
    names = [name for name, _ in versions]
    return Head(tuple(map(tuple, versions)), tuple((names[i], size) for i, size in layout))


def _split(part: bytes) -> tuple[Head, bytes]:
    """Return the head of a part, and what stands behind it."""
    end = _LENGTH.size + _LENGTH.unpack_from(part)[0]
    return _read_head(part[:end]), part[end:]


def save(states: States, emit_us: int, neighbours: Neighbours | None = None) -> dict[str, bytes]:
    """Return the parts; states are equal when their bytes are."""
    heads = _heads(kernels.VERSIONS, min(emit_us, SECOND_US), neighbours.shape if neighbours else None)
    now, days = posts.to_bytes(states.posts)
    return {
        "engine": f"{FORMAT} {emit_us}".encode(),
        **{part: heads[part] + pack(state) for part, state in states.vectors.items()},
        "posts": heads["posts"] + now,
        "posts_days": days,
    }


def restore(
    parts: Mapping[str, bytes], instrument: Instrument, emit_us: int, neighbours: Neighbours | None = None
) -> tuple[States, frozenset[str]]:
    """Return the saved states, and the kernels that begin anew: their state is that of a new symbol.

    Raise ``VersionError`` if the states are of another grid or format.
    """
    bucket_us = min(emit_us, SECOND_US)
    shape = neighbours.shape if neighbours else None
    here = _layouts(bucket_us, shape)
    split = _split_all(parts, emit_us, shape)
    heads = {part: head for part, (head, _) in split.items()}
    anew = _anew(tuple(heads.items()), kernels.VERSIONS, bucket_us, shape)
    saved = {
        part: unpack(data, sum(size for _, size in heads[part].layout))
        for part, (_, data) in split.items()
        if part != "posts"
    }
    if not anew and all(heads[part].layout == here[part] for part in heads):
        vectors = {part: vector(state) for part, state in saved.items()}
        return States(vectors, posts.from_bytes(split["posts"][1], parts["posts_days"])), anew
    states = fresh(instrument, bucket_us, neighbours)
    if DERIVATIVES in saved:
        states.vectors[DERIVATIVES] = derivatives.init(instrument, bucket_us)
    for part, before in saved.items():
        state = np.array(states.vectors[part], np.float64)
        for name in dict(here[part]).keys() - anew:
            state[places(here[part], name)] = before[places(heads[part].layout, name)]
        states.vectors[part] = vector(state)
    if "posts" not in anew:
        states = states._replace(posts=posts.from_bytes(split["posts"][1], parts["posts_days"]))
    return states, anew


def stateful(bucket_us: int, *, has_followers: bool) -> set[str]:
    """Return the kernels that have a state; those of ``context`` have one where symbols follow others."""
    shape = Shape(1, True) if has_followers else None
    return {name for layout in _layouts(bucket_us, shape).values() for name, _ in layout}


def begin_anew(parts: Mapping[str, bytes], emit_us: int, neighbours: Neighbours | None = None) -> frozenset[str]:
    """Return the kernels of a symbol that would begin anew with these parts; raise as ``restore``."""
    shape = neighbours.shape if neighbours else None
    heads = tuple((part, head) for part, (head, _) in _split_all(parts, emit_us, shape).items())
    return _anew(heads, kernels.VERSIONS, min(emit_us, SECOND_US), shape)


def _split_all(parts: Mapping[str, bytes], emit_us: int, shape: Shape | None) -> dict[str, tuple[Head, bytes]]:
    """Return each part as its head and what stands behind it."""
    bucket_us = min(emit_us, SECOND_US)
    text = parts["engine"].decode()
    if text == f"{FORMAT} {emit_us}":
        return {part: _split(parts[part]) for part in _layouts(bucket_us, shape) if part in parts}
    if text == f"{joined.VERSION} {emit_us}":
        of_before = joined.split(parts, bucket_us)
        return {part: (Head(joined.VERSIONS, layout), data) for part, (layout, data) in of_before.items()}
    raise VersionError(f"the state is {text:.60}, this engine has {FORMAT} {emit_us}")


@cache
def _anew(
    heads: tuple[tuple[str, Head], ...], versions: Versions, bucket_us: int, shape: Shape | None
) -> frozenset[str]:
    """Return the kernels that find no state in parts with these heads."""
    changed: set[str] = set()
    for part, layout in _layouts(bucket_us, shape).items():
        if part == DERIVATIVES and part not in dict(heads):
            continue
        head = dict(heads).get(part, Head((), ()))
        saved = dict(head.versions)
        for name in dict(layout):
            fits = all(saved.get(one) == version for one, version in versions if one in kernels.made_of(name))
            if not fits or _size(head.layout, name) != _size(layout, name):
                changed.add(name)
    return frozenset(kernels.with_users(changed))


def _size(layout: Layout, name: str) -> int:
    return sum(size for one, size in layout if one == name)
