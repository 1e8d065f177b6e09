"""What the kernels must know of a symbol before its first message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

from transforms.kernel import jit
from transforms.sessions import SessionClock

_COIN_M = re.compile(r"(?:BINANCE[A-Z-]*:)?([A-Z0-9]+)(?:USD_(PERP|\d{6})|-USD-(PERP|\d\d[A-Z]\d\d))\Z")
_USD_M_PERPETUAL = re.compile(r"BINANCE-FUTURES:\w+?(?<!_\d{6})\Z")
FUNDING_HOURS = 8
"""Hours between two settlements of most perpetuals."""


@jit
def base_size(size: float, price: float, contract_size: float, inverse: bool) -> float:
    """Return the base units of ``size`` contracts at ``price``."""
    return size * contract_size / price if inverse else size * contract_size


@jit
def quote_value(size: float, price: float, contract_size: float, inverse: bool) -> float:
    """Return the quote units that ``size`` contracts are worth at ``price``."""
    return size * contract_size if inverse else price * (size * contract_size)


@dataclass(frozen=True, slots=True)
class Instrument:
    """Settings of one symbol; the defaults suit a symbol that nothing is known of.

    Attributes
    ----------
    size_digits : int
        Decimal digits of a size. Sizes are summed as whole lots of ``10**-size_digits``, so that a sum does not depend on the order.
        Sums above 2**53 lots (9e7 units at 8 digits) are rounded in the 16th digit: set fewer digits for a coin that trades by the
        million. A lot of 1e-8 is the finest that a venue we know of quotes.
    vpin_bucket : float or None
        Volume V of a VPIN bucket, base units. None: the average daily volume of the previous days over 50.
    profile_row : float or None
        Height of a row of the volume profile, quote units. None: the largest of 1, 2, 5 times a power of ten that is at most 1 bp of
        the session's first price.
    session_timezone, session_open : str
        Time zone (IANA name) and local time at which a session begins, such as ``America/New_York`` and ``09:30``; UTC days by default.
    contract_size : float
        What one unit of a message's size is worth: base units or, if ``inverse``, quote units. Sizes are made base units where a message
        enters the engine.
    inverse : bool
        Whether the contract is worth a number of quote units: n contracts at the price P are n*contract_size/P base units.
    funding_hours : int
        Hours between two settlements of funding, which begin at 00:00 UTC; 0 for an instrument without funding. A time that the venue
        sends comes before it.
    leader, pair : str
        Symbols whose rows the view ``context`` of this one uses: the one that it is held against, and the same asset in the other form,
        such as the spot market of a perpetual. Empty for none.
    asset : str
        Instruments of one asset are its venues: each sees the others in its view ``context``. Empty for none.

    Raises
    ------
    ValueError
        The time zone is not known, the opening is no time, ``contract_size`` is not a finite positive number, or ``funding_hours`` does not
        divide a day, or ``leader``, ``pair`` or ``asset`` is no text.

    Notes
    -----
    The digits that the decimal strings of messages show are not learnt, for two reasons. Learning would gain nothing: a sum of lots
    over lots per unit is the double nearest to the true sum, for lots of 1e-8 and for any coarser lot that every size is a multiple
    of. And learning would do harm: a ratio of products of sizes (``kyle_lambda_5m``, the spreads, the averages of price by volume) may
    differ in its last bit with the lot, so these values would depend on when the process began to learn.
    """

    size_digits: int = 8
    vpin_bucket: float | None = None
    profile_row: float | None = None
    session_timezone: str = "UTC"
    session_open: str = "00:00"
    contract_size: float = 1.0
    inverse: bool = False
    funding_hours: int = 0
    leader: str = ""
    pair: str = ""
    asset: str = ""

    def __post_init__(self) -> None:
        self.session_clock()
        if not 0.0 < self.contract_size < inf:
            raise ValueError(f"contract_size {self.contract_size} must be a finite positive number")
        object.__setattr__(self, "contract_size", float(self.contract_size))  # compiled code has one form, for doubles
        if not isinstance(self.inverse, bool):
            raise ValueError(f"inverse {self.inverse!r:.20} must be true or false")
        if self.funding_hours not in (0, 1, 2, 3, 4, 6, 8, 12, 24):
            raise ValueError(
                f"funding_hours {self.funding_hours} must divide a day, or be 0 for an instrument without funding"
            )

        if not all(isinstance(name, str) for name in (self.leader, self.pair, self.asset)):
            raise ValueError(
                f"leader {self.leader!r:.80}, pair {self.pair!r:.80} and asset {self.asset!r:.80} must be texts"
            )

    @property
    def in_contracts(self) -> bool:
        """Whether sizes come as contracts that are not one base unit each."""
        return self.inverse or self.contract_size != 1.0

    def base(self, size: float, price: float) -> float:
        """Return a message's size in base units.

        >>> Instrument().base(3.0, 60_000.0), Instrument(contract_size=0.01).base(3.0, 60_000.0)
        (3.0, 0.03)
        >>> Instrument(contract_size=100.0, inverse=True).base(3.0, 60_000.0)
        0.005
        """
        return base_size(size, price, self.contract_size, self.inverse)

    def holds(self, size: float, price: float = 1.0) -> bool:
        """Return whether ``size`` is at least one lot when rounded to lots; a smaller trade is refused before the kernels.

        >>> Instrument().holds(1e-8), Instrument().holds(1e-9), Instrument(size_digits=2).holds(0.001)
        (True, False, False)
        """
        if self.in_contracts:
            size = self.base(size, price)
        return size * 10.0**self.size_digits >= 0.5

    def session_clock(self) -> SessionClock | None:
        """Return the sessions of this instrument, None where they are UTC days.

        >>> Instrument().session_clock() is None, Instrument(session_open="17:00").session_clock() is None
        (True, False)
        """
        if (self.session_timezone, self.session_open) == ("UTC", "00:00"):
            return None
        return SessionClock(self.session_timezone, self.session_open)


def known(symbol: str) -> Instrument:
    """Return what the name of a symbol tells for certain.

    Binance's coin-margined contracts (``BTCUSD_PERP``, ``ETHUSD_240628``) are worth 100 USD for BTC and 10 USD for every other coin; its
    perpetuals, those of ``BINANCE-FUTURES:`` too, settle funding. Source: ``contractSize`` in the venue's ``/dapi/v1/exchangeInfo``.

    >>> known("BTCUSD_PERP").contract_size, known("ETHUSD_240628").contract_size, known("ETHUSD_240628").funding_hours
    (100.0, 10.0, 0)
    >>> known("BINANCE-FUTURES:BTCUSDT").funding_hours, known("BTCUSDT").funding_hours
    (8, 0)
    """
    if contract := _COIN_M.match(symbol):
        coin, kind, other = contract.groups()
        perpetual = "PERP" in (kind, other)
        return Instrument(
            contract_size=100.0 if coin == "BTC" else 10.0,
            inverse=True,
            funding_hours=FUNDING_HOURS if perpetual else 0,
        )
    return Instrument(funding_hours=FUNDING_HOURS if _USD_M_PERPETUAL.match(symbol) else 0)
