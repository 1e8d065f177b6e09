"""The window features a second time, slowly: from the list of all events, without state, in exact fractions.

Written from the catalogue's formulas alone; nothing is shared with the kernel but the events of the tape.
"""

from __future__ import annotations

from fractions import Fraction
from math import exp, log, sqrt
from statistics import mean
from typing import Any

SECOND, MINUTE, DAY = 1_000_000, 60_000_000, 86_400_000_000


def mid_at(quotes: list[Any], t: int, *, strictly: bool = False) -> tuple[float | None, int]:
    """The mid of the last book at or before ``t`` (``strictly``: before), None where it was not valid, and its time."""
    known = [q for q in quotes if q.t_us < t or (q.t_us == t and not strictly)]
    if not known:
        return None, 0
    last = known[-1]
    return (None if last.bid is None else (last.bid + last.ask) / 2), last.t_us


class Oracle:
    """Rows of one tape."""

    def __init__(self, quotes: list[Any], trades: list[Any]) -> None:
        self.quotes, self.trades = quotes, trades
        self.lots = [int(x.size * 1e8 + 0.5) for x in trades]
        self.before, self.side, self.inferred = [], [], []
        direction = 0
        for i, x in enumerate(trades):
            m, at = mid_at(quotes, x.t_us, strictly=True)
            m = m if x.t_us - at < SECOND else None
            if i and x.price != trades[i - 1].price:
                direction = 1 if x.price > trades[i - 1].price else -1
            side = x.side
            if side == 0:
                side = direction if m is None or x.price == m else (1 if x.price > m else -1)
            self.before.append(m)
            self.side.append(side)
            self.inferred.append(x.side == 0 and side != 0)

    def row(self, t: int) -> dict[str, float | None]:
        """Every feature but the two of VPIN at ``t``."""
        trades = self.trades
        out: dict[str, float | None] = {}
        first = trades[0].t_us

        def span(begin: int, end: int = t) -> list[int]:
            return [i for i, x in enumerate(trades) if begin < x.t_us <= end]

        def volume(of: list[int]) -> Fraction:
            return Fraction(sum(self.lots[i] for i in of), 10**8)

        def delta(of: list[int]) -> Fraction:
            return Fraction(sum(self.lots[i] * self.side[i] for i in of), 10**8)

        def vwap(of: list[int]) -> float:
            return float(sum(self.lots[i] * Fraction(trades[i].price) for i in of) / sum(self.lots[i] for i in of))

        for name, w in (("1s", SECOND), ("1m", MINUTE), ("5m", 5 * MINUTE)):
            of, covered = span(t - w), first <= t - w
            out[f"delta_volume_{name}"] = float(delta(of)) if covered else None
            if name != "1s":
                some = covered and volume(of) > 0
                out[f"trade_flow_imbalance_{name}"] = float(delta(of) / volume(of)) if some else None
                out[f"vwap_{name}"] = vwap(of) if some else None
        of, covered = span(t - MINUTE), first <= t - MINUTE
        out["buy_volume_1m"] = float(volume([i for i in of if self.side[i] == 1])) if covered else None
        out["sell_volume_1m"] = float(volume([i for i in of if self.side[i] == -1])) if covered else None
        out["trade_count_1m"] = len(of) if covered else None
        out["avg_trade_size_1m"] = float(volume(of) / len(of)) if covered and of else None
        out["side_inferred_share_1m"] = sum(self.inferred[i] for i in of) / len(of) if covered and of else None

        day = span(t // DAY * DAY - 1)
        midnight = t // DAY * DAY
        heard = bool(span(midnight - DAY - 1, midnight - 1) or span(midnight - 1, min(t, midnight + 5 * MINUTE)))
        out["cvd"] = float(delta(day)) if heard else None
        out["vwap_session"] = vwap(day) if heard and volume(day) > 0 else None
        last = trades[span(0)[-1]].price
        session = out["vwap_session"]
        out["vwap_dev_bps"] = 1e4 * (last / session - 1) if session else None
        out["trade_rate_10s"] = sum(0.1 * exp((trades[i].t_us - t) / 1e7) for i in span(0))

        out["kyle_lambda_5m"] = self.kyle(t, span, delta)
        out["amihud_60m"] = self.amihud(t, span)
        out["roll_spread_5m"] = self.roll(span(t - 5 * MINUTE))
        sided = [i for i in of if self.before[i] is not None and self.side[i]]
        out["effective_spread_bps_1m"] = self.cost([(i, trades[i].price - self.before[i]) for i in sided])
        later = []
        for i in span(t - MINUTE - 5 * SECOND, t - 5 * SECOND):
            m, _ = mid_at(self.quotes, trades[i].t_us + 5 * SECOND)
            if m is not None and self.before[i] is not None and self.side[i]:
                later.append((i, trades[i].price - m))
        out["realized_spread_bps_5s"] = self.cost(later)
        return out

    def cost(self, of: list[tuple[int, float]]) -> float | None:
        """The mean of 2 s (p - m)/m_before in bps, weighted by volume."""
        lots = sum(self.lots[i] for i, _ in of)
        return sum(self.lots[i] * 2e4 * self.side[i] * d / self.before[i] for i, d in of) / lots if lots else None

    def kyle(self, t: int, span: Any, delta: Any) -> float | None:
        """Moves of the mid on signed volume, second by second."""
        pairs = []
        for k in range(t // SECOND - 299, t // SECOND + 1):
            of = span((k - 1) * SECOND, k * SECOND)
            if of:
                (a, a_us), (b, b_us) = mid_at(self.quotes, (k - 1) * SECOND), mid_at(self.quotes, k * SECOND)
                fresh = (k - 1) * SECOND - a_us <= 10 * SECOND and k * SECOND - b_us <= 10 * SECOND
                if a is not None and b is not None and fresh:
                    pairs.append((b - a, float(delta(of))))
        squares = sum(x * x for _, x in pairs)
        return sum(dm * x for dm, x in pairs) / squares if len(pairs) >= 30 and squares else None

    def amihud(self, t: int, span: Any) -> float | None:
        """Mean of |r| over turnover of the last 60 whole minutes."""
        end = t // MINUTE
        if self.trades[0].t_us > (end - 60) * MINUTE:
            return None
        ratios = []
        for k in range(end - 59, end + 1):
            of = span((k - 1) * MINUTE, k * MINUTE)
            turnover = sum(self.trades[i].price * self.lots[i] for i in of) / 1e8
            before = span((k - 2) * MINUTE, (k - 1) * MINUTE)
            if turnover and before:
                ratios.append(abs(log(self.trades[of[-1]].price / self.trades[before[-1]].price)) / turnover)
        return 1e6 * mean(ratios) if ratios else None

    def roll(self, of: list[int]) -> float | None:
        """2 sqrt(-cov) of successive price changes, in fractions of the doubles' own values."""
        p = [Fraction(x.price) for x in self.trades]
        gaps = [self.trades[k].t_us - self.trades[k - 1].t_us for i in of for k in (i, i - 1) if k >= 1]
        if any(gap > MINUTE for gap in gaps):
            return None
        pairs = [(p[i] - p[i - 1], p[i - 1] - p[i - 2]) for i in of if i >= 2]
        if not pairs:
            return None
        a, b = zip(*pairs, strict=True)
        covariance = mean(x * y for x, y in pairs) - mean(a) * mean(b)
        return 2 * sqrt(-covariance) if covariance < 0 else None
