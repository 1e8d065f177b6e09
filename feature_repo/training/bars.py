"""Bars of trades as sampling grids: a moment each time a number of trades, a volume, a value or an imbalance has come together.

Source: Lopez de Prado 2018, sections 2.3.1 and 2.3.2. A bar ends with the trade that completes it, at that trade's time; the next one
begins with the next trade. A bar that contains a hole is none: counting begins anew behind the hole.

- ``tick``, ``volume``, ``dollar``: a bar ends when the sum of v is at least ``size``, where v is 1, the size, or price times size.
- ``tick_imbalance``, ``volume_imbalance``, ``dollar_imbalance``: a bar ends when ``abs(sum of b v) >= E[T]*abs(E[b v])``. There b is 1 for
  a buyer's trade and -1 for a seller's, E[T] the expected trades of a bar, and E[b v] the expected signed value of a trade. The first bar
  has ``size`` trades, and gives E[T] = ``size`` and E[b v] = its mean. Each later bar moves both towards its own T and mean by
  alpha = 2/(memory + 1). E[T] stays between a tenth and ten times ``size``: without bounds such bars become ever longer or shorter.
  Where a venue gives no side, b is the sign of the change of the price, or that of the trade before where the price did not change;
  the book takes it so for all trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.errors import UserError
from feature_repo.training.prices import Bools, Floats, Ints

Kind = Literal["tick", "volume", "dollar", "tick_imbalance", "volume_imbalance", "dollar_imbalance"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
BOUNDS: Final = (0.1, 10.0)
"""The least and the most trades that a bar of imbalance is expected to have, in those of the first."""
SHORTEST: Final = 64  # values that are summed at a time, at least


class BarsError(UserError, ValueError):
    """Bars have impossible values; the message says which."""


@dataclass(frozen=True, slots=True)
class Bars:
    """What ends a bar, as data.

    >>> bars_of(Bars("dollar", 1e6).described())
    Bars(kind='dollar', size=1000000.0, memory=20)
    """

    kind: Kind
    size: float
    memory: int = 20

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BarsError(f"{self.kind!s:.40} is no kind of bar; choose {', '.join(KINDS)}")
        if not 0.0 < self.size < inf or self.memory < 1:
            raise BarsError("the size of a bar is above 0, and its memory a bar or more")
        if self.is_imbalance and (self.size != int(self.size) or self.size < 2):
            raise BarsError("the size of a bar of imbalance is a whole number of trades, 2 or more")

    @property
    def is_imbalance(self) -> bool:
        """Whether signed values are summed."""
        return self.kind.endswith("imbalance")

    def described(self) -> dict[str, Any]:
        """Return the definition as JSON has it; `bars_of` makes the bars of it again."""
        return {"kind": self.kind, "size": self.size, "memory": self.memory}


def bars_of(described: Mapping[str, Any]) -> Bars:
    """Return the bars of a definition that `Bars.described` gave; raise `BarsError` for any other."""
    try:
        return Bars(**described)
    except TypeError as error:
        raise BarsError(f"this is no definition of bars: {error!s:.200}") from error


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of one symbol in order.

    Attributes
    ----------
    t_us, price, size : numpy.ndarray
        (n,) each.
    side : numpy.ndarray
        (n,) 1 a buyer's, -1 a seller's, 0 unknown.
    part : numpy.ndarray
        (n,) the number of holes before (`prices.parts`).
    """

    t_us: Ints
    price: Floats
    size: Floats
    side: NDArray[np.int8]
    part: Ints


def moments(definition: Bars, pieces: Iterable[Trades]) -> Iterator[Ints]:
    """Yield, of each piece of the trades, the times at which bars end; a time at which several end comes once."""
    state = _State(definition)
    last_us = -1
    for piece in pieces:
        ends = np.unique(piece.t_us[state.ends(piece)])
        ends = ends[ends > last_us]
        if len(ends):
            last_us = int(ends[-1])
        yield ends


class _State:
    """The open bar, and what is expected of one, from piece to piece."""

    def __init__(self, definition: Bars) -> None:
        self.definition = definition
        self.part = -1
        self.sum, self.n = 0.0, 0
        self.price, self.side = np.nan, 0.0
        self.expected_n, self.expected = float(definition.size), np.nan

    def ends(self, trades: Trades) -> Ints:
        """Return the positions of the trades that end a bar."""
        found: list[int] = []
        edges = [0, *(np.flatnonzero(np.diff(trades.part)) + 1).tolist(), len(trades.part)]
        for first, behind in pairwise(edges):
            if first == behind:
                continue
            if trades.part[first] != self.part:
                self.part = int(trades.part[first])
                self.sum, self.n = 0.0, 0
                self.price, self.side = np.nan, 0.0
            found += [first + at for at in self._ends(self._values(trades, slice(first, behind)))]
        return np.array(found, np.int64)

    def _values(self, trades: Trades, of: slice) -> Floats:
        """Return what each trade adds to the sum."""
        values = np.ones(of.stop - of.start)
        if "tick" not in self.definition.kind:
            values = trades.size[of].astype(np.float64)
        if "dollar" in self.definition.kind:
            values = values * trades.price[of]
        if not self.definition.is_imbalance:
            return values
        price = trades.price[of]
        moved = np.nan_to_num(np.sign(np.diff(price, prepend=self.price)))
        side = np.where(trades.side[of] != 0, trades.side[of], moved)
        newest = np.maximum.accumulate(np.where(side != 0, np.arange(len(side)), -1))
        side = np.where(newest >= 0, side[newest], self.side)
        self.price, self.side = float(price[-1]), float(side[-1])
        return values * side

    def _ends(self, values: Floats) -> list[int]:
        """Return the positions of the values that end a bar; no hole is between them."""
        found: list[int] = []
        at, length = 0, SHORTEST
        while at < len(values):
            # numpy's cumsum adds from left to right, as a loop does: the same bits, however the trades are cut
            sums = np.cumsum(np.concatenate([[self.sum], values[at : at + length]]))[1:]
            reached = self._reached(sums)
            hit = int(reached.argmax())
            ended = bool(reached[hit])
            taken = hit + 1 if ended else len(sums)
            self.sum, self.n = float(sums[taken - 1]), self.n + taken
            at += taken
            length *= 2
            if ended:
                found.append(at - 1)
                length = max(SHORTEST, 2 * self.n)
                self._end_bar()
        return found

    def _reached(self, sums: Floats) -> Bools:
        """Return which sums end the bar."""
        if not self.definition.is_imbalance:
            return np.asarray(sums >= self.definition.size)
        if np.isnan(self.expected):  # the first bar
            return np.asarray(self.n + np.arange(1, len(sums) + 1) >= self.definition.size)
        return np.asarray(np.abs(sums) >= self.expected_n * abs(self.expected))

    def _end_bar(self) -> None:
        """Begin the next bar, and expect of it what the bars so far had."""
        mean = self.sum / self.n
        if np.isnan(self.expected):
            self.expected = mean
        else:
            alpha = 2.0 / (self.definition.memory + 1)
            least, most = BOUNDS[0] * self.definition.size, BOUNDS[1] * self.definition.size
            self.expected_n = min(max(self.expected_n + alpha * (self.n - self.expected_n), least), most)
            self.expected += alpha * (mean - self.expected)
        self.sum, self.n = 0.0, 0
