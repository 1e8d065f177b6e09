"""Hold messages back until they are due, at a multiple of real time."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Clock of a replay at ``speed`` times real time; 0 holds nothing back.

    ``clock`` and ``sleep`` are in seconds. ``flush`` is called before each wait, so that earlier messages do not wait with it.
    """

    def __init__(
        self, speed: float, clock: Callable[[], float], sleep: Callable[[float], None], flush: Callable[[], None]
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._flush = flush
        self._start: tuple[float, int] | None = None

    def wait(self, received_ms: int) -> None:
        """Return when a message that was received at ``received_ms`` is due."""
        if not self._speed:
            return
        if self._start is None:
            self._start = (self._clock(), received_ms)
        began, first_ms = self._start
        ahead = began + (received_ms - first_ms) / 1000 / self._speed - self._clock()
        if ahead > 0:
            self._flush()
            self._sleep(ahead)
