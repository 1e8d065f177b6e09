"""What a label is, as data: it can stand in JSON, and the JSON gives the same label again.

>>> label = Barriers(timedelta(minutes=5), profit=2.0, loss=1.0, price="long")
>>> label.column
'barrier_long_300s_2_1'
>>> label_of(label.described()) == label
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, ClassVar, Final, Literal, get_args

from feature_repo.stores.errors import UserError
from transforms import catalog

Price = Literal["mid", "trade", "long", "short"]
PRICES: Final[tuple[str, ...]] = get_args(Price)
"""``mid`` is the mid price and ``trade`` the last traded price. ``long`` buys at the ask and sells at the bid; ``short`` sells at the bid
and buys back at the ask: these two pay the spread, as one who trades at once does."""
AtTime = Literal["sign", "zero"]
AT_TIME: Final[tuple[str, ...]] = get_args(AtTime)
"""The label where no barrier was passed in the time: the sign of the return, or 0."""

MISSING: Final = ("no_price", "no_volatility", "hole", "end")
"""Why a label is null: no price known at its time, or none came within it; a volatility that is null or 0; its prices contain a hole; it
ends after the newest price."""


class LabelError(UserError, ValueError):
    """A label has impossible values; the message says which."""


@dataclass(frozen=True, slots=True)
class _Label:
    """What all labels have.

    Attributes
    ----------
    horizon : timedelta
        How far the label looks ahead at most, a millisecond or more.
    price : Price
        Of what price the returns are.
    hole : timedelta, optional
        Successive prices that are further apart have a hole between them. By default the ttl of the view: 10 s for prices of the book,
        60 s for trades.
    """

    kind: ClassVar[str]
    horizon: timedelta
    price: Price = "mid"
    hole: timedelta | None = None

    def __post_init__(self) -> None:
        if self.price not in PRICES:
            raise LabelError(f"{self.price!s:.40} is no price; choose {', '.join(PRICES)}")
        if self.horizon < timedelta(milliseconds=1):
            raise LabelError("a horizon is a millisecond or more")
        if self.hole is not None and self.hole <= timedelta(0):
            raise LabelError("a hole is longer than 0")

    @property
    def longest_pause(self) -> timedelta:
        """The longest time between successive prices that is no hole."""
        view = catalog.ORDER_FLOW if self.price == "trade" else catalog.MICROSTRUCTURE
        return self.hole or timedelta(seconds=view.ttl_s)

    @property
    def _of(self) -> str:
        return "" if self.price == "mid" else f"{self.price}_"

    def described(self) -> dict[str, Any]:
        """Return the definition as JSON has it, durations in microseconds; `label_of` makes the label of it again."""
        hole_us = None if self.hole is None else self.hole // _US
        return {"kind": self.kind, "horizon_us": self.horizon // _US, "price": self.price, "hole_us": hole_us}


@dataclass(frozen=True, slots=True)
class ForwardReturn(_Label):
    """The log return from the price known at t to the newest price of (t, t + horizon].

    >>> ForwardReturn(timedelta(seconds=60)).column, ForwardReturn(timedelta(milliseconds=500), "short").column
    ('forward_log_return_60s', 'forward_log_return_short_0.5s')
    """

    kind: ClassVar[str] = "forward_return"

    @property
    def column(self) -> str:
        """Name of the column."""
        return f"forward_log_return_{self._of}{self.horizon.total_seconds():g}s"


@dataclass(frozen=True, slots=True)
class Barriers(_Label):
    """Which of three barriers is passed first: a profit, a loss, or the horizon.

    Source: Lopez de Prado 2018, sections 3.4 and 3.5, snippets 3.2 to 3.5. Returns are log returns here, because the volatilities are.

    Attributes
    ----------
    profit, loss : float
        Widths of the barriers, in volatilities; 0 is no barrier, as in the book.
    volatility : str
        The feature of the frame that is the unit of the widths, as it was known at t.
    at_time : AtTime
        The label where the horizon came first: the sign of the return, as in the book, or 0.
    """

    kind: ClassVar[str] = "barriers"
    profit: float = 1.0
    loss: float = 1.0
    volatility: str = "volatility_5m"
    at_time: AtTime = "sign"

    def __post_init__(self) -> None:
        _Label.__post_init__(self)
        if not all(0.0 <= width < inf for width in (self.profit, self.loss)):
            raise LabelError("profit and loss are 0, which is no barrier, or more")
        if self.at_time not in AT_TIME:
            raise LabelError(f"{self.at_time!s:.40} is no label at the horizon; choose {' or '.join(AT_TIME)}")

    @property
    def column(self) -> str:
        """Name of the column of -1, 0 and 1; those beside it begin with it."""
        return f"barrier_{self._of}{self.horizon.total_seconds():g}s_{self.profit:g}_{self.loss:g}"

    def described(self) -> dict[str, Any]:
        """Return the definition as JSON has it, durations in microseconds; `label_of` makes the label of it again."""
        names = ("profit", "loss", "volatility", "at_time")
        return {**_Label.described(self), **{name: getattr(self, name) for name in names}}


Label = ForwardReturn | Barriers
KINDS: Final[Mapping[str, type[ForwardReturn] | type[Barriers]]] = {
    "forward_return": ForwardReturn,
    "barriers": Barriers,
}
_US: Final = timedelta(microseconds=1)


def label_of(described: Mapping[str, Any]) -> Label:
    """Return the label of a definition that `described` gave; raise `LabelError` for any other."""
    given = dict(described)
    made = KINDS.get(str(given.pop("kind", None)))
    if made is None:
        raise LabelError(f"a label has a kind: {', '.join(KINDS)}")
    try:
        for name in ("horizon", "hole"):
            us = given.pop(f"{name}_us", None)
            given[name] = None if us is None else us * _US
        return made(**given)
    except (TypeError, OverflowError) as error:
        raise LabelError(f"this is no definition of {made.kind}: {error!s:.200}") from error
