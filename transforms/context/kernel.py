"""The view ``context``: rows that neighbours finished come in, and a row comes out for each second in which the symbol gave others.

The row of second t waits until each neighbour has told t, or a later second, and no longer than the caller says. It uses of each neighbour
the newest second that it told, up to t and at most ``AGE`` older; where there is none, what needs it is null. What a neighbour tells later
changes no row that was given, but belongs to the window of later ones.
"""

from __future__ import annotations

from math import log

from transforms.catalog import CONTEXT
from transforms.context.layout import (
    AGE,
    ASK,
    BID,
    CHANNELS,
    COUNT,
    DECIDED,
    FIRST,
    HEAD,
    HEARD,
    IS_VENUE,
    KEPT,
    LEADER,
    LOGS,
    MID,
    NEIGHBOUR,
    NEWEST,
    OWN,
    PAIR,
    SECOND,
    TOLD,
)
from transforms.context.lead import emit_lead, put_log
from transforms.context.venues import emit_pair, emit_venues
from transforms.kernel import NAN, Vector, jit

FEATURES = len(CONTEXT.features)


@jit
def _put(state: Vector, ring: int, second: int, mid: float, bid: float, ask: float) -> None:
    at = ring + (second % KEPT) * CHANNELS
    state[at + SECOND] = float(second)
    state[at + MID] = mid
    state[at + BID] = bid
    state[at + ASK] = ask


@jit
def _log(mid: float) -> float:
    return log(mid) if mid > 0.0 else NAN


@jit
def step_neighbour(state: Vector, number: int, second: int, mid: float, bid: float, ask: float) -> bool:
    """Fold in what a neighbour was at a second, NaN where unknown; return False, and change nothing, if it told that or a later one."""
    at = FIRST + number * NEIGHBOUR
    if second <= state[at + HEARD]:
        return False
    state[at + HEARD] = float(second)
    _put(state, at + TOLD, second, mid, bid, ask)
    if number == int(state[LEADER]):
        put_log(state, FIRST + int(state[COUNT]) * NEIGHBOUR + LOGS, second, _log(mid))
    return True


@jit
def step_own(state: Vector, second: int, mid: float, bid: float, ask: float) -> None:
    """Fold in what the symbol itself was at a second, for which it gives other rows."""
    if state[DECIDED] == 0.0:
        state[DECIDED] = float(second - 1)
    state[NEWEST] = float(second)
    state[HEAD + second % KEPT] = float(second)
    _put(state, OWN, second, mid, bid, ask)
    if state[LEADER] >= 0.0:
        put_log(state, FIRST + int(state[COUNT]) * NEIGHBOUR, second, _log(mid))


@jit
def next_row(state: Vector, before: int, ttl: int) -> int:
    """Return the next second whose row is due, 0 where none is: all neighbours told it, or it is before ``before``.

    There is no row for a second at which no neighbour had told anything for ``ttl`` seconds.
    """
    newest = int(state[NEWEST])
    second = int(state[DECIDED]) + 1
    if newest - second >= KEPT:
        second = newest - KEPT + 1
    while second <= newest:
        if state[HEAD + second % KEPT] == second:
            last = 0
            first = newest + KEPT
            for i in range(int(state[COUNT])):
                heard = int(state[FIRST + i * NEIGHBOUR + HEARD])
                last = max(last, heard)
                first = min(first, heard)
            if first < second and second >= before:
                break
            if last > 0 and second - last <= ttl:
                state[DECIDED] = float(second)
                return second
        state[DECIDED] = float(second)
        second += 1
    return 0


@jit
def usable(state: Vector, number: int, second: int) -> int:
    """Return the newest second that a neighbour told, up to a second and at most ``AGE`` older; 0 where there is none."""
    ring = FIRST + number * NEIGHBOUR + TOLD
    for s in range(second, second - AGE - 1, -1):
        if s > 0 and state[ring + (s % KEPT) * CHANNELS + SECOND] == s:
            return s
    return 0


@jit
def emit(state: Vector, second: int, out: Vector) -> None:
    """Write the row of a second, NaN where null."""
    for i in range(FEATURES):
        out[i] = NAN
    own = OWN + (second % KEPT) * CHANNELS
    mid = state[own + MID] if state[own + SECOND] == second else NAN  # a ring that began anew may lack the second
    leader, pair, count = int(state[LEADER]), int(state[PAIR]), int(state[COUNT])
    if leader >= 0:
        emit_lead(state, FIRST + count * NEIGHBOUR, second, usable(state, leader, second), out)
    if pair >= 0:
        told = usable(state, pair, second)
        if told > 0 and mid > 0.0:
            emit_pair(state, own, FIRST + pair * NEIGHBOUR + TOLD + (told % KEPT) * CHANNELS, out)
    mids = bids = asks = 0.0
    venues = 0
    for i in range(count):
        at = FIRST + i * NEIGHBOUR
        told = usable(state, i, second) if state[at + IS_VENUE] == 1.0 else 0
        heard = at + TOLD + (told % KEPT) * CHANNELS
        if told > 0 and state[heard + MID] > 0.0:
            venues += 1
            mids += state[heard + MID]
            bids += state[heard + BID]
            asks += state[heard + ASK]
    if venues > 0 and mid > 0.0:
        emit_venues(state, own, mids / venues, bids, asks, out)
