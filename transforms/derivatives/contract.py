"""What the engine holds of a symbol's contract: nothing until the first message about it, so that other symbols cost nothing.

>>> from transforms.instrument import Instrument
>>> contract = Contract((Instrument(), 1_000_000))
>>> contract.state is None, contract.newest_us
(True, 0)
>>> contract.tell(5_000_000, mark=100.0)
>>> contract.newest_us
5000000
"""

from __future__ import annotations

from transforms.derivatives import kernel, liquidations, told
from transforms.instrument import Instrument
from transforms.kernel import NAN, Vector


class Contract:
    """The state of the kernel of ``derivatives``, or None; ``about`` is the instrument and the width of a window's bucket, µs."""

    __slots__ = ("_about", "state")

    def __init__(self, about: tuple[Instrument, int], state: Vector | None = None) -> None:
        self._about = about
        self.state = state

    def _made(self) -> Vector:
        if self.state is None:
            self.state = kernel.init(*self._about)
        return self.state

    @property
    def newest_us(self) -> int:
        """Time of the newest message, 0 before the first."""
        return 0 if self.state is None else int(self.state[told.NEWEST_US])

    def tell(
        self,
        t_us: int,
        mark: float | None = None,
        index: float | None = None,
        funding_rate: float | None = None,
        settled_us: int | None = None,
        open_interest: float | None = None,
    ) -> None:
        """Fold in what a venue tells, each value None where it does not; ``settled_us`` is when funding is settled next.

        A message may come behind rows that are written: what it tells counts for later rows, as of its own time ``t_us``.
        """
        mark, index, rate, contracts = (NAN if x is None else x for x in (mark, index, funding_rate, open_interest))
        kernel.step(self._made(), t_us, mark, index, rate, settled_us or 0, contracts)

    def liquidate(self, t_us: int, price: float, size: float, side: int) -> bool:
        """Fold in a position that was closed by force; ``side`` is that of the forced order, 1 bought and -1 sold.

        Return False where it repeats one of the last.
        """
        return kernel.step_liquidation(self._made(), self._about[1], t_us, price, size, side)

    def lose(self, until_us: int, *, if_heard: bool = False) -> None:
        """Note that liquidations until ``until_us`` may be missing, and that those after it are heard.

        With ``if_heard`` this says nothing to a symbol whose liquidations are not heard anyway.
        """
        if not if_heard or (self.state is not None and self.state[told.HEARD_US] > 0.0):
            liquidations.lose(self._made(), until_us)

    def emit(self, t_us: int, last: float, minutes: float, out: Vector) -> None:
        """Write the row of ``t_us``, as ``kernel.emit``."""
        kernel.emit(self.state, self._about[1], t_us, last, minutes, out)
