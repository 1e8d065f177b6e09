"""The view ``context`` of one symbol, as the engine holds it.

Example: The pair told its mid of second 11. The row of that second is due at once, that of second 12 only when it waits no longer:

>>> from transforms.context.layout import neighbours
>>> context = Context(neighbours("", "SPOT", []), Counter())
>>> context.hear("SPOT", 11_000_000, 100.0, 1.0, 1.0)
True
>>> for second in (11, 12):
...     context.keep_own(second * 1_000_000, 101.0, 1.0, 1.0)
>>> t_us, row = context.next_row(before_us=0)
>>> t_us, float(row[CONTEXT.index["pair_basis_bps"]])
(11000000, 100.0)
>>> context.next_row(before_us=12_000_000), context.next_row(before_us=12_000_001)[0]
(None, 12000000)
"""

from __future__ import annotations

from collections import Counter

from transforms.catalog import CONTEXT
from transforms.context import kernel
from transforms.context.layout import (
    COUNT,
    DECIDED,
    FIRST,
    HEARD,
    IDENTITY,
    NEIGHBOUR,
    NEWEST,
    Neighbours,
    identity,
    init,
)
from transforms.kernel import SECOND_US, Vector, zeros
from transforms.validation import check_ranges, ranges

_RANGES = ranges(CONTEXT)


class Context:
    """What a symbol knows of its neighbours.

    Parameters
    ----------
    neighbours : Neighbours
    out_of_range : Counter of str
        How often each feature fell outside the catalogue's range is added to it.

    Attributes
    ----------
    state : Vector
    """

    __slots__ = ("_counts", "_out", "_out_of_range", "neighbours", "state")

    def __init__(self, neighbours: Neighbours, out_of_range: Counter[str]) -> None:
        self.neighbours = neighbours
        self.state = init(neighbours)
        self._out = zeros(len(CONTEXT.features))
        self._counts = zeros(len(CONTEXT.features))
        self._out_of_range = out_of_range

    def take(self, state: Vector) -> None:
        """Go on with a state that was saved; one of other neighbours is left."""
        self.state = state if state[IDENTITY] == identity(self.neighbours) else init(self.neighbours)

    def hear(self, name: str, t_us: int, mid: float, bid_size: float, ask_size: float) -> bool:
        """Fold in a row that a neighbour finished, NaN for what was unknown then; return whether it told anything new."""
        if name not in self.neighbours.names:
            return False
        number = self.neighbours.names.index(name)
        return bool(kernel.step_neighbour(self.state, number, t_us // SECOND_US, mid, bid_size, ask_size))

    def keep_own(self, t_us: int, mid: float, bid_size: float, ask_size: float) -> None:
        """Fold in what the symbol was at the whole second ``t_us``, at which it gives other rows."""
        kernel.step_own(self.state, t_us // SECOND_US, mid, bid_size, ask_size)

    def next_row(self, before_us: int) -> tuple[int, Vector] | None:
        """Return time and values of the next row, which the next call overwrites; None where none is due.

        A row is due once all neighbours told its time, or when it is before ``before_us``.
        """
        second = kernel.next_row(self.state, -(-before_us // SECOND_US), CONTEXT.ttl_s)
        if not second:
            return None
        kernel.emit(self.state, second, self._out)
        if check_ranges(self._out, *_RANGES, self._counts):
            for slot, name in enumerate(CONTEXT.names):
                if self._counts[slot]:
                    self._out_of_range[name] += int(self._counts[slot])
                    self._counts[slot] = 0.0
        return second * SECOND_US, self._out

    def waiting_us(self) -> int:
        """Return the time of the first row that may still wait for neighbours, 0 where none does."""
        return self.undecided_us() if self.state[DECIDED] < self.state[NEWEST] else 0

    def undecided_us(self) -> int:
        """Return the time of the first row that is neither given nor passed over."""
        return (int(self.state[DECIDED]) + 1) * SECOND_US

    def silence_us(self, t_us: int) -> int:
        """Return for how long no neighbour had told anything at ``t_us``."""
        heard = (self.state[FIRST + i * NEIGHBOUR + HEARD] for i in range(int(self.state[COUNT])))
        return max(t_us - int(max(heard)) * SECOND_US, 0)
