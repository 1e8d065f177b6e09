"""Rows of ``context`` of a deployment that was not in peace: what a row says is what its leader and its pair told, up to its own second.

How new that is depends on how fast the processes were, so a row may be of the same second or of one of the two before, or null where
nothing newer was told. Nothing else can be, and above all nothing of a later second. What a leader told before the first message of a
follower was in the log is not known to that follower, so its returns over longer times begin later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import isclose, log

from ingest.settings import Settings
from transforms.catalog import CONTEXT, MICROSTRUCTURE

Bits = dict[tuple[str, str, int], list[list[str | None]]]
"""By view, symbol and event time: the values of each row there."""
Values = tuple[float | None, ...]
Mids = dict[tuple[str, int], float]
S = 1_000_000
RETURNS = {f"return_leader_{k}s": k for k in (1, 10, 60)}
NEWEST, OLDER, NOTHING = "of its second", "of one before", "of none"


def wrong(rows: Bits, conf: Settings) -> tuple[list[str], Counter[str]]:
    """Return what is wrong with rows of ``context``, and how many are of which second of the leader."""
    at = MICROSTRUCTURE.index["mid_price"]
    mids = {
        (name, t_us): float.fromhex(values[0][at])
        for (view, name, t_us), values in rows.items()
        if view == MICROSTRUCTURE.name and values[0][at] is not None
    }
    shortest = CONTEXT.index[next(iter(RETURNS))]
    began: dict[str, int] = {}
    for (view, name, t_us), values in rows.items():
        if view == CONTEXT.name and values[0][shortest] is not None:
            began[name] = min(began.get(name, t_us), t_us)
    found: list[str] = []
    ages: Counter[str] = Counter()
    for (view, name, t_us), values in rows.items():
        if view != CONTEXT.name:
            continue
        about = conf.instrument(name)
        told = dict(zip(CONTEXT.names, (None if x is None else float.fromhex(x) for x in values[0]), strict=True))
        leads = dict(_leads(mids, about.leader, t_us, began.get(name, t_us)))
        returns = [told[column] for column in RETURNS]
        age = next((age for age, some in leads.items() if all(map(_is_one, returns, some))), None)
        ages[{None: "of no such second", 0: NEWEST, -1: NOTHING}.get(age, OLDER)] += 1
        if len(values) != 1 or age is None:
            found.append(f"context of {name} at {t_us}: {values}, and {about.leader} told {leads}")
        own = mids.get((name, t_us))
        if not _is_one(told["pair_basis_bps"], list(_bases(mids, own, about.pair, t_us))):
            found.append(f"context of {name} at {t_us}: a basis of {told['pair_basis_bps']} to {about.pair}")
    if not ages:
        found.append("no row of context")
    return found, ages


def _leads(mids: Mids, leader: str, t_us: int, began_us: int) -> Iterator[tuple[int, list[Values]]]:
    """Yield what each return of a row may be, with the age of the leader's row in seconds; -1 is that of none."""
    yield -1, [(None,)] * len(RETURNS)
    for age in range(3):
        u = t_us - age * S
        now = mids.get((leader, u))
        some: list[Values] = []
        for k in RETURNS.values():
            then = mids.get((leader, u - k * S))
            value = None if now is None or then is None else log(now) - log(then)
            some.append((value, None) if u - k * S < began_us else (value,))
        yield age, some


def _bases(mids: Mids, own: float | None, pair: str, t_us: int) -> Iterator[float | None]:
    for age in range(3):
        other = mids.get((pair, t_us - age * S))
        yield None if own is None or other is None else (own - other) / other * 1e4
    yield None


def _is_one(value: float | None, some: Sequence[float | None]) -> bool:
    if value is None:
        return None in some
    return any(one is not None and isclose(value, one, rel_tol=1e-9, abs_tol=1e-12) for one in some)
