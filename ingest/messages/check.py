"""Checks of a decoded message. Each raises ``Refused`` with the reason where a symbol, a time or a number is impossible."""

from __future__ import annotations

import math
import re
from unicodedata import is_normalized

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import (
    BOOK_CHANNEL,
    EARLIEST_MS,
    EARLIEST_US,
    LIQUIDATION_CHANNEL,
    MAX_AHEAD_MS,
    MAX_HOLD_MS,
    MAX_INTEGER,
    MAX_TIME_MS,
    MAX_TIME_US,
    TRADE_CHANNEL,
    UNITS,
    Gap,
    Hold,
    MicropriceTable,
    Neighbour,
    ScoredPost,
    Trade,
    since_us,
    time_us,
)
from ingest.messages.refusal import Reason, Refused
from transforms.kernel import SECOND_US
from transforms.limits import MAX_NUMBER
from transforms.microstructure.layout import G_SIZE, Depth

# \w: letters and digits of any script, and _. A symbol may hold dots and slashes, so it is never a part of a path or of SQL's text.
_SYMBOL = re.compile(r"[\w:./\-]{1,64}\Z").match
RATE_MAX = 1.0  # of funding, as a share of the position: no venue lets it be as large
TEXT_ID_MAX = 128  # characters of a trade id
INTEGER_DIGITS = 18  # a text id of at most so many digits is a whole number below MAX_INTEGER


def is_symbol(text: str) -> bool:
    """Return whether ``text`` is 1 to 64 letters and digits, of any script and in either case, and ``: . _ / -``.

    Letters in another form of Unicode, such as full-width ones, are refused: they look like a symbol that they are not.

    >>> is_symbol("BINANCE:BTC-USDT"), is_symbol("btcusdt"), is_symbol("币安人生USDT"), is_symbol("BTC USDT"), is_symbol("")
    (True, True, True, False, False)
    """
    return _SYMBOL(text) is not None and (text.isascii() or is_normalized("NFKC", text))


def check_header(symbol: str, t_us: int, received_ms: int, max_future_ms: int, max_age_ms: int | None = None) -> None:
    """Check the symbol and the event time of any message: ``bad_symbol``, ``future_time``, ``out_of_range``, ``too_old``.

    ``max_age_ms`` is how far a live message may lie behind its receive time; None is for history, where every time since 2009 is good.
    """
    if not is_symbol(symbol):
        raise Refused(Reason.BAD_SYMBOL, f"{symbol[:64]!r}; a symbol has letters, digits and : . _ / -")
    ahead_ms = t_us // 1000 - received_ms
    if ahead_ms > max_future_ms:
        unit = "" if t_us <= MAX_TIME_US else f"; {UNITS}"
        raise Refused(Reason.FUTURE_TIME, f"{ahead_ms} ms ahead of its receive time, {max_future_ms} allowed{unit}")
    if not 0 < t_us <= MAX_TIME_US:
        raise Refused(Reason.OUT_OF_RANGE, f"the time {t_us!s:.40} us is not between 1970 and 2255; {UNITS}")
    if t_us < EARLIEST_US:
        raise Refused(Reason.TOO_OLD, f"the time {t_us} us is before 2009; {UNITS}")
    if max_age_ms is not None and -ahead_ms > max_age_ms:
        raise Refused(Reason.TOO_OLD, f"{-ahead_ms} ms behind its receive time, {max_age_ms} allowed (TFS_MAX_AGE_MS)")


def check_trade(trade: Trade) -> None:
    """Check price, size, side and funding time: as ``check_number``, or ``wrong_type`` where the side is not buy, sell or null."""
    check_number("price", trade.price)
    check_number("size", trade.size)
    if trade.side not in ("buy", "sell", None):
        raise Refused(Reason.WRONG_TYPE, f"side {trade.side!r:.20} is not buy, sell or null")
    _check_funding_time("next_funding", trade.next_funding)


def check_derivatives(told: Derivatives) -> None:
    """Check that one value is there, and each that is.

    Reasons are ``missing_field`` (none is there), those of ``check_number`` for mark and index, ``not_finite``, and ``out_of_range`` for an
    open interest below zero, a rate of funding of a whole position or more, and an impossible time.
    """
    prices = (("mark", told.mark), ("index", told.index))
    others = (told.funding_rate, told.next_funding_time, told.open_interest)
    if all(value is None for value in (told.mark, told.index, *others)):
        raise Refused(
            Reason.MISSING_FIELD, "none of mark, index, funding_rate, next_funding_time and open_interest is there"
        )
    for name, price in prices:
        if price is not None:
            check_number(name, price)
    for name, value in (("funding_rate", told.funding_rate), ("open_interest", told.open_interest)):
        if value is not None and not math.isfinite(value):
            raise Refused(Reason.NOT_FINITE, f"{name} {value}")
    if told.funding_rate is not None and not abs(told.funding_rate) < RATE_MAX:
        raise Refused(Reason.OUT_OF_RANGE, f"funding_rate {told.funding_rate}; it is a share of the position")
    if told.open_interest is not None and not 0.0 <= told.open_interest <= MAX_NUMBER:
        raise Refused(Reason.OUT_OF_RANGE, f"open_interest {told.open_interest}")
    _check_funding_time("next_funding_time", told.next_funding_time)


def check_liquidation(liquidation: Liquidation) -> None:
    """Check price, size and side: as ``check_number``, or ``wrong_type`` where the side is not buy or sell."""
    check_number("price", liquidation.price)
    check_number("size", liquidation.size)
    if liquidation.side not in ("buy", "sell"):
        raise Refused(Reason.WRONG_TYPE, f"side {liquidation.side!r:.20} is not buy or sell")


def _check_funding_time(name: str, ms: int | None) -> None:
    if ms is not None and not EARLIEST_MS <= ms <= MAX_TIME_MS:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {ms!s:.40}; it is in milliseconds since 1970")


def check_depth(depth: Depth) -> None:
    """Check the depths of a book: ``not_finite``, or ``out_of_range`` where one is negative or less than one nearer to the mid.

    A null says that a depth is not known; it is not compared.
    """
    for side, distances in zip(("bid", "ask"), depth, strict=True):
        if None not in distances and 0.0 <= distances[0] <= distances[1] <= distances[2] < math.inf:  # type: ignore[operator]
            continue  # the usual case, in a third of the time
        nearer = 0.0
        for value in distances:
            if value is None:
                continue
            if not math.isfinite(value):
                raise Refused(Reason.NOT_FINITE, f"{side} depth {value}")
            if value < nearer:
                raise Refused(Reason.OUT_OF_RANGE, f"{side} depth {value} below {nearer}, which is nearer to the mid")
            nearer = value


def check_score(post: ScoredPost) -> None:
    """Check hash and probabilities: ``not_finite``, ``out_of_range``, or ``missing_field`` where one or two probabilities are given.

    An impossible probability would be part of every later mean, and a hash of more than 64 bits cannot be saved.
    """
    if not 0 <= post.simhash < 2**64:
        raise Refused(Reason.OUT_OF_RANGE, f"simhash {post.simhash!s:.40}")
    probabilities = (post.positive, post.negative, post.neutral)
    given = [p for p in probabilities if p is not None]
    if len(given) not in (0, len(probabilities)):
        raise Refused(Reason.MISSING_FIELD, "a score has positive, negative and neutral, or none of them")
    for p in given:
        if not math.isfinite(p):
            raise Refused(Reason.NOT_FINITE, f"probability {p}")
        if not 0.0 <= p <= 1.0:
            raise Refused(Reason.OUT_OF_RANGE, f"probability {p}")


def check_microprice(table: MicropriceTable) -> None:
    """Check that a fit can make this table, and that it is used only after the end of its data.

    Reasons are ``wrong_type`` (another length), ``not_finite``, ``not_positive``, ``out_of_range`` and ``future_time``.
    """
    if len(table.g) != G_SIZE:
        raise Refused(Reason.WRONG_TYPE, f"g has {len(table.g)} numbers, not {G_SIZE}")
    check_number("tick", table.tick)
    for g in table.g:
        if g is not None and not abs(g) <= MAX_NUMBER:
            raise Refused(Reason.OUT_OF_RANGE if math.isfinite(g) else Reason.NOT_FINITE, f"g {g}")
    if not 0 < table.fitted_before <= table.usable_from <= MAX_TIME_MS or not 0 < table.version < MAX_INTEGER:
        times = f"fitted before {table.fitted_before!s:.40}, usable from {table.usable_from!s:.40}"
        raise Refused(Reason.OUT_OF_RANGE, f"version {table.version!s:.40}, {times}")
    if table.usable_from > table.timestamp + MAX_AHEAD_MS:
        raise Refused(Reason.FUTURE_TIME, f"usable {table.usable_from - table.timestamp} ms after it was published")


def check_hold(hold: Hold) -> None:
    """Refuse a hold that is longer than any recovery: ``out_of_range``."""
    held_ms = hold.until - time_us(hold) // 1000
    if held_ms > MAX_HOLD_MS:
        raise Refused(Reason.OUT_OF_RANGE, f"a hold of {held_ms!s:.40} ms, {MAX_HOLD_MS} allowed")


def check_neighbour(row: Neighbour) -> None:
    """Check the time, the name and the numbers of a neighbour's row: ``wrong_type``, ``bad_symbol``, or as ``check_number``."""
    if time_us(row) % SECOND_US:
        raise Refused(Reason.WRONG_TYPE, f"a neighbour's row at {time_us(row)} us, which is no whole second")
    if not is_symbol(row.neighbour):
        raise Refused(Reason.BAD_SYMBOL, f"{row.neighbour[:64]!r}; a symbol has letters, digits and : . _ / -")
    for name, value in (("mid", row.mid), ("bid_size", row.bid_size), ("ask_size", row.ask_size)):
        if value is not None:
            check_number(name, value)


def check_gap(gap: Gap) -> None:
    """Check the channel, the begin and the number of missing messages: ``wrong_type``, ``too_old``, ``out_of_range``."""
    if gap.channel == BOOK_CHANNEL:
        return
    if gap.channel not in (TRADE_CHANNEL, LIQUIDATION_CHANNEL):
        known = ", ".join((BOOK_CHANNEL, TRADE_CHANNEL, LIQUIDATION_CHANNEL))
        raise Refused(Reason.WRONG_TYPE, f"channel {gap.channel!r:.20} is none of {known}")
    if gap.since and gap.since_us is not None:
        raise Refused(Reason.WRONG_TYPE, "both since and since_us: send one of them")
    begin_us = since_us(gap)
    if not begin_us <= time_us(gap):
        raise Refused(Reason.OUT_OF_RANGE, f"since {begin_us!s:.40} us is after the timestamp")
    if begin_us < EARLIEST_US and (gap.since is not None or gap.since_us is not None):
        raise Refused(Reason.TOO_OLD, f"since {begin_us!s:.40} us is before 2009")
    if gap.missing is not None and not 0 <= gap.missing < MAX_INTEGER:
        raise Refused(Reason.OUT_OF_RANGE, f"missing {gap.missing!s:.40}")


def check_number(name: str, value: float) -> None:
    """Check a price or size: ``not_finite``, ``not_positive``, or ``out_of_range`` above ``MAX_NUMBER``."""
    if not math.isfinite(value):
        raise Refused(Reason.NOT_FINITE, f"{name} {value}")
    if value <= 0.0:
        why = "; instruments with negative prices are not supported" if name == "price" and value < 0.0 else ""
        raise Refused(Reason.NOT_POSITIVE, f"{name} {value}{why}")
    if value > MAX_NUMBER:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value}")


def known_trade_id(trade_id: int | str | None) -> int | str | None:
    """Return a trade's id, a whole number where it is one written as text, or None where the producer gives no id.

    Producers write 0 for trades that have no id, so 0 and an empty text are none: two such trades are two.

    >>> [known_trade_id(x) for x in (7, "7", "x7", "0", "")]
    [7, 7, 'x7', None, None]
    """
    if not trade_id:
        return None
    if isinstance(trade_id, int):
        if not -MAX_INTEGER <= trade_id < MAX_INTEGER:
            raise Refused(Reason.OUT_OF_RANGE, f"trade_id {trade_id!s:.40}")
        return trade_id
    if len(trade_id) > TEXT_ID_MAX:
        raise Refused(Reason.OUT_OF_RANGE, f"trade_id longer than {TEXT_ID_MAX} characters")
    if trade_id.isdecimal() and trade_id.isascii() and len(trade_id) <= INTEGER_DIGITS:
        return int(trade_id) or None
    return trade_id
