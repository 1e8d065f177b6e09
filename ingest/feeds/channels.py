"""Which channels of a feed are silent: each channel of each symbol has a last word, and a history that says how long it may be quiet.

A channel is silent if its connection is open, others of the same symbol speak, and it has been quiet for longer than each of

- `QUIET_S`, or `NEW_S` while fewer than `KNOWN` intervals are known,
- `USUAL` times its usual interval: the mean of the last ones, where words that are less than `MOMENT_S` apart count as one,
- `LONGEST` times its longest interval of the last half an hour to an hour.

Seconds in which the whole feed is quiet do not count: the market is quiet, or the feed itself waits, for Redis for example. A market that
is quiet as a whole is not an alarm: only books and trades count as others that speak, and they must go on speaking. A mark
price comes at its own pace, whatever the market does. Where the ids of the first message after a silence show that nothing was missed, the
silence counts as an interval like any other (``was_quiet``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

QUIET_S = 10.0
NEW_S = 25.0
USUAL = 14.0
LONGEST = 2.0
MOMENT_S = 0.25
KNOWN = 20  # intervals
MEAN_OVER = 64  # intervals
SLOT_S = 1800.0  # the longest interval is kept for this slot and the one before
STALL_S = 3.0  # a feed that heard nothing for so long is quiet as a whole
SPEAKS_S = 5.0  # another channel that was heard within so many seconds speaks
AGAIN = 1.2  # an alarm makes the next one of its channel so much later, until the slots are over
TELL_AGAIN_S = 600.0
NAMES_SHOWN = 10
MARKET = ("book", "trade")
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Channel:
    """One channel of one symbol. Times are seconds of the clock."""

    symbol: str
    kind: str  # ``book``, ``trade``, or the venue's name of another
    stream: str
    is_open: bool = False  # whether a connection carries it
    is_new: bool = True  # not heard since its connection was opened
    opened: float = 0.0  # when its connection was opened
    # when it spoke last, or its connection was opened; later by the time in which the whole feed was quiet
    moment: float = 0.0
    mean: float = 0.0
    intervals: int = 0  # at most MEAN_OVER
    longest: float = 0.0  # of this slot
    longest_before: float = 0.0  # of the slot before
    slot_end: float = 0.0
    silent_since: float | None = None
    silent_for: float = 0.0  # how long its last silence was
    told_at: float = -TELL_AGAIN_S

    @property
    def allowed_s(self) -> float:
        """How long it may be quiet."""
        least = QUIET_S if self.intervals >= KNOWN else NEW_S
        return max(least, USUAL * self.mean, LONGEST * max(self.longest, self.longest_before))

    def note(self, now: float) -> None:
        """Note that it speaks, at least `MOMENT_S` after its moment before."""
        interval = now - self.moment
        if self.silent_since is not None:
            self.silent_since, self.silent_for = None, interval
            interval = min(interval, AGAIN * self.allowed_s / LONGEST)
        self._rotate(now)
        self.longest = max(self.longest, interval)
        self.intervals = min(self.intervals + 1, MEAN_OVER)
        self.mean += (interval - self.mean) / self.intervals
        self.moment, self.is_new = now, False

    def _rotate(self, now: float) -> None:
        if now >= self.slot_end:
            self.longest_before = self.longest if now < self.slot_end + SLOT_S else 0.0
            self.longest, self.slot_end = 0.0, now + SLOT_S


class Channels:
    """The channels of a feed.

    Parameters
    ----------
    streams : mapping of str to (str, str)
        The symbol and the kind of each stream, by its name on the wire.
    clock : callable
        Seconds that only grow.

    Examples
    --------
    >>> now = [0.0]
    >>> channels = Channels({"btc@depth": ("BTC", "book"), "btc@trade": ("BTC", "trade")}, lambda: now[0])
    >>> channels.opened(["btc@depth", "btc@trade"])
    >>> for second in range(60):
    ...     now[0] = float(second)
    ...     channels.hear(b"btc@depth")
    ...     if second < 40:
    ...         channels.hear(b"btc@trade")
    ...     if silent := channels.look():
    ...         break
    >>> second, [(c.symbol, c.kind, c.silent_since) for c in silent]
    (53, [('BTC', 'trade', 39.0)])
    """

    def __init__(self, streams: Mapping[str, tuple[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = self._looked = clock()
        self._by_name = {name.encode(): Channel(*what, name) for name, what in streams.items()}
        self._of_symbol: dict[str, list[Channel]] = {}
        for channel in self._by_name.values():
            self._of_symbol.setdefault(channel.symbol, []).append(channel)

    def opened(self, names: Iterable[str]) -> None:
        """Note that the first connection of these streams is open: they count as heard then."""
        for name in names:
            channel = self._by_name[name.encode()]
            channel.is_open = channel.is_new = True
            channel.moment = channel.opened = self._clock()

    def closed(self, names: Iterable[str]) -> None:
        """Note that no connection carries these streams: nobody expects a word of them."""
        for name in names:
            channel = self._by_name[name.encode()]
            channel.is_open, channel.silent_since = False, None

    def hear(self, name: bytes) -> None:
        """Note a word of a stream; one that nobody asked for is not counted."""
        channel = self._by_name.get(name)
        if channel is not None:
            now = self._heard = self._clock()
            if now - channel.moment >= MOMENT_S or channel.is_new:
                channel.note(now)

    def was_quiet(self, symbol: str, kind: str) -> None:
        """Note that nothing was missed in the last silence of a channel, so it may be quiet for as long again."""
        for channel in self._of_symbol.get(symbol, ()):
            if channel.kind == kind:
                channel.longest = max(channel.longest, channel.silent_for)

    def look(self) -> list[Channel]:
        """Return the channels that are silent now, and log what is new; to be called every second."""
        now = self._clock()
        open_ = [channel for channel in self._by_name.values() if channel.is_open]
        if now - self._heard > STALL_S:
            for channel in open_:
                channel.moment = min(now, channel.moment + now - self._looked)
        self._looked = now
        for channel in open_:
            quiet_s = now - channel.moment
            if channel.silent_since is None and quiet_s > channel.allowed_s and (by := self._speaking(channel, now)):
                channel.silent_since = channel.moment
                _LOG.warning(
                    "%s is silent for %.0f s while %s speaks: what is computed of it is unknown until it speaks again",
                    channel.stream, quiet_s, by,
                )  # fmt: skip
        self._tell_unheard(open_, now)
        return [channel for channel in open_ if channel.silent_since is not None]

    def _speaking(self, channel: Channel, now: float) -> str | None:
        """Return the name of a channel of the same symbol that spoke in the second half of the quiet time, and speaks."""
        middle = (channel.moment + now) / 2
        for other in self._of_symbol[channel.symbol]:
            speaks = not other.is_new and other.moment >= max(middle, now - SPEAKS_S)
            if speaks and other is not channel and other.kind in MARKET:
                return other.stream
        return None

    def _tell_unheard(self, channels: Sequence[Channel], now: float) -> None:
        """Log the channels that were never heard since their connection was opened, each at most every `TELL_AGAIN_S`."""
        unheard = [
            channel
            for channel in channels
            if channel.is_new and now - channel.opened >= QUIET_S and now - channel.told_at >= TELL_AGAIN_S
        ]
        for channel in unheard:
            channel.told_at = now
        if unheard:
            names = [channel.stream for channel in unheard[:NAMES_SHOWN]]
            more = f" and {len(unheard) - NAMES_SHOWN} more" if len(unheard) > NAMES_SHOWN else ""
            _LOG.warning(
                "nothing has come for %.0f s of %s%s: the market may be quiet, or the venue does not send it",
                QUIET_S, ", ".join(names), more,
            )  # fmt: skip
