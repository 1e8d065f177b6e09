"""From when on each feature is warm in a history that begins late, learnt while its messages come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ingest.check.result import Key
from ingest.check.runs import Accepted
from transforms import sessions
from transforms.catalog import CONTEXT, ORDER_FLOW, VIEW, View, view_of
from transforms.instrument import Instrument
from transforms.kernel import MINUTE_US, SECOND_US
from transforms.warmup import CONFIGURED_VPIN, WarmUp, raw

NEVER = 1 << 62
WarmUps = Mapping[Key, WarmUp]
_EVENTS = 2
"""The largest ``WarmUp.events``."""
_FUNDING = "minutes_to_funding"


class Warm:
    """The times from which features are warm.

    Attributes
    ----------
    times : dict
        For each feature the time in µs, `NEVER` as long as it is not known.
    """

    def __init__(self, warm_ups: WarmUps, instrument: Instrument) -> None:
        self.times: dict[Key, int] = dict.fromkeys(warm_ups, NEVER)
        self._warm_ups = warm_ups
        self._skipped = () if instrument.vpin_bucket is None else CONFIGURED_VPIN
        clock = instrument.session_clock()
        self._session = sessions.utc_day if clock is None else clock.session
        self._firsts: dict[str, list[int]] = defaultdict(list)
        self._bars = {warm_up.bars for warm_up in warm_ups.values()} - {0}
        self._minutes = 0
        self._minute = 0
        self._after_bars: dict[int, int] = {}
        self._price = 0.0
        self._changed_us = NEVER
        self._without_side = False
        self._funding_missed = False
        self._funding_us = NEVER
        self._earliest_us = NEVER

    def earliest_us(self) -> int:
        """Return the time from which any feature is warm."""
        return self._earliest_us

    def miss(self, one: Accepted) -> None:
        """Note a message that comes before the history begins."""
        if _tells_funding(one):
            self._funding_missed = True

    def add(self, one: Accepted) -> None:
        """Note the next message of the history."""
        changed = len(self._firsts[one.kind]) < _EVENTS
        if changed:
            self._firsts[one.kind].append(one.t_us)
        if _tells_funding(one) and self._funding_us == NEVER:
            self._funding_us = one.t_us
            changed = True
        if (one.kind == "trade" and self._add_trade(one)) or changed:
            self.times = {key: self._time(key, warm_up) for key, warm_up in self._warm_ups.items()}
            self._earliest_us = min(self.times.values())

    def _add_trade(self, one: Accepted) -> bool:
        """Note a trade; return whether that can change a time."""
        changed = False
        minute = -(-one.t_us // MINUTE_US)
        if minute != self._minute:
            self._minute = minute
            if self._minutes in self._bars:
                self._after_bars[self._minutes] = minute * MINUTE_US
                changed = True
            self._minutes += 1
        price, self._price = self._price, one.message.price
        if price and price != self._price and self._changed_us == NEVER:
            self._changed_us = one.t_us
            changed = True
        if not one.message.side and not self._without_side:
            self._without_side = True
            changed = True
        return changed

    def _time(self, key: Key, warm_up: WarmUp) -> int:
        name = raw(key[1])
        view = VIEW[key[0]] if key[1] == name else view_of(name)
        events = self._firsts.get("liquidation" if name.startswith("liquidation") else view.feed, ())
        if name in self._skipped or len(events) < warm_up.events:
            return NEVER
        begin = max(events[warm_up.events - 1], *self._needs(key, view))
        if warm_up.bars:
            begin = self._after_bars.get(warm_up.bars, NEVER)
        if begin >= NEVER:
            return NEVER
        if warm_up.session:
            begin = self._session(begin - 1)[1] + 1
        return begin + warm_up.seconds * SECOND_US

    def _needs(self, key: Key, view: View) -> tuple[int, ...]:
        """Return times before which a feature's inputs are not those of a longer history."""
        if view is ORDER_FLOW:
            # the tick rule looks back to the last change of the price; if all trades have a side, it is not asked
            sides_us = self._changed_us if self._without_side else 0
            return (sides_us, *self._firsts.get("book", ())[:1])
        if view is CONTEXT:
            return (0, *self._firsts.get("book", ())[:1])
        if key[1] == _FUNDING and self._funding_missed:
            return (self._funding_us,)
        return (0,)


def _tells_funding(one: Accepted) -> bool:
    """Return whether a message tells when the venue settles funding next."""
    if one.kind == "trade":
        return bool(one.message.next_funding)
    return one.kind == "derivatives" and bool(one.message.next_funding_time)
