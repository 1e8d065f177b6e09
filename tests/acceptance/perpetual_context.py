"""What the features of ``context`` must be, by numpy over the seconds that a symbol's log knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tests.acceptance.perpetual_figures import LATENESS_US, S, Symbol
from transforms.instrument import Instrument

AGE, WINDOW, READY, TTL = 2, 3600, 300, 10
NEVER = -(10**9)


@dataclass(frozen=True)
class Seconds:
    """A symbol second by second: when each was finished (a position; NaN where there is no row of its book), its mid and best sizes."""

    first: int
    finished: np.ndarray
    mid: np.ndarray
    bid: np.ndarray
    ask: np.ndarray

    @classmethod
    def of(cls, symbol: Symbol, rows: pd.Series, quotes: pd.DataFrame, instrument: Instrument, span: range) -> Seconds:
        """Take the times of a symbol's rows and the quotes at them."""
        bid, ask = quotes.bid.to_numpy(), quotes.ask.to_numpy()
        c = instrument.contract_size
        base = [
            quotes[f"{side}_size"].to_numpy() * (c / quotes[side].to_numpy() if instrument.inverse else c)
            for side in ("bid", "ask")
        ]
        mid = (bid + ask) / 2
        at = (rows.to_numpy() // S) - span.start
        full = [np.full(len(span), np.nan) for _ in range(4)]
        for of_span, values in zip(full, (symbol.finished(rows) + 0.5, mid, *base), strict=True):
            of_span[at] = values
        return cls(span.start, *full)

    def heard_from(self, position: int) -> Seconds:
        """The same without the rows that were finished before a position: nobody who came later heard them."""
        before = self.finished < position
        finished, mid = (np.where(before, np.nan, values) for values in (self.finished, self.mid))
        return replace(self, finished=finished, mid=mid)


def context(
    name: str,
    instruments: Mapping[str, Instrument],
    symbols: Mapping[str, Symbol],
    seconds: Mapping[str, Seconds],
    own: pd.Series,
) -> pd.DataFrame:
    """The rows of ``context`` of a symbol; ``own`` are the times at which it gives other rows."""
    about = instruments[name]
    venues = [
        n for n, i in instruments.items() if n in seconds and n != name and about.asset and i.asset == about.asset
    ]
    near = [n for n in dict.fromkeys([about.leader, about.pair, *venues]) if n]
    me = seconds[name]
    seconds = {n: one.heard_from(symbols[name].opened) if n != name else one for n, one in seconds.items()}
    at = own.to_numpy() // S - me.first
    told = {n: _told(seconds[n], len(me.mid)) if n in seconds else None for n in near}
    ready = np.maximum.reduce([np.full(len(at), np.inf) if one is None else one[at] for one in told.values()])
    mine = symbols[name].finished(own)
    decided = np.maximum(mine, np.minimum(ready, symbols[name].finished(own, LATENESS_US)))
    decided = np.maximum.accumulate(np.where(np.isinf(decided), np.inf, decided))
    heard = {n: _newest(seconds[n].finished, decided) if n in seconds else np.full(len(at), NEVER) for n in near}
    is_row = at - np.maximum.reduce(list(heard.values())) <= TTL
    out: list[dict[str, float]] = []
    logs = {n: np.log(one.mid) for n, one in seconds.items()}
    used = {n: _used(seconds[n], at, heard[n]) if n in seconds else np.full(len(at), NEVER) for n in near}
    for i, t in enumerate(at):
        row: dict[str, float] = {}
        if about.leader and used[about.leader][i] != NEVER:
            row |= _lead(logs[about.leader], logs[name], t, used[about.leader][i], heard[about.leader][i])
        if about.pair and (u := used[about.pair][i]) != NEVER:
            row["pair_basis_bps"] = (me.mid[t] - seconds[about.pair].mid[u]) / seconds[about.pair].mid[u] * 1e4
        heard_of = [
            (seconds[n], used[n][i]) for n in venues if used[n][i] != NEVER and not np.isnan(seconds[n].mid[used[n][i]])
        ]
        if heard_of and not np.isnan(me.mid[t]):
            mean = np.mean([one.mid[u] for one, u in heard_of])
            bid, ask = (sum(getattr(one, side)[u] for one, u in [(me, t), *heard_of]) for side in ("bid", "ask"))
            row |= {
                "cross_venue_mid_dev_bps": (me.mid[t] - mean) / mean * 1e4,
                "consolidated_imbalance": (bid - ask) / (bid + ask),
            }
        out.append(row)
    return pd.DataFrame(out, index=own.to_numpy(), columns=_NAMES, dtype=float)[is_row]


_NAMES = [
    "return_leader_1s", "return_leader_10s", "return_leader_60s", "beta_60m", "correlation_60m", "relative_strength_60m",
    "pair_basis_bps", "cross_venue_mid_dev_bps", "consolidated_imbalance",
]  # fmt: skip


def _told(one: Seconds, n: int) -> np.ndarray:
    """When the first row of each second, or of a later one, was finished."""
    known = np.where(np.isnan(one.finished), np.inf, one.finished)
    return np.minimum.accumulate(known[::-1])[::-1][:n]


def _newest(finished: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """The newest second whose row was finished when each row was decided."""
    seconds = np.flatnonzero(~np.isnan(finished))
    at = np.searchsorted(finished[seconds], decided, side="right") - 1
    return np.where(at >= 0, seconds[np.maximum(at, 0)], NEVER) if len(seconds) else np.full(len(decided), NEVER)


def _used(one: Seconds, at: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """The newest second up to each row's and at most `AGE` older that was heard."""
    found = np.full(len(at), NEVER)
    for age in range(AGE, -1, -1):
        u = at - age
        is_known = (u >= 0) & (u <= heard) & ~np.isnan(one.finished[np.maximum(u, 0)])
        found = np.where(is_known, u, found)
    return found


def _lead(leader: np.ndarray, own: np.ndarray, t: int, u: int, heard: int) -> dict[str, float]:
    def of(logs: np.ndarray, second: int) -> float:
        return float(logs[second]) if second >= 0 else np.nan

    if np.isnan(leader[u]):
        return {}
    found = {f"return_leader_{k}s": leader[u] - of(leader, u - k) for k in (1, 10, 60)}
    found["relative_strength_60m"] = (own[u] - of(own, u - WINDOW)) - (leader[u] - of(leader, u - WINDOW))
    some = slice(max(t - WINDOW, 0), min(t, heard) + 1)
    x, y = np.diff(leader[some]), np.diff(own[some])
    both = ~np.isnan(x + y)
    x, y = x[both], y[both]
    if len(x) >= READY and np.var(x) > 0:
        covariance = np.cov(x, y)
        found["beta_60m"] = covariance[0, 1] / covariance[0, 0]
        if covariance[1, 1] > 0:
            found["correlation_60m"] = np.corrcoef(x, y)[0, 1]
    return found
