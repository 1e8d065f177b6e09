"""The venue's answers to questions for missing trades: checked whole, because a wrong answer is no answer."""

from __future__ import annotations

from ingest.messages.check import check_header, check_trade
from ingest.messages.decode import decode
from ingest.messages.kinds import Trade, time_fields, time_us
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.lines import Line
from ingest.recordings.trade_ids import TradeIds

LISTS: dict[str, type] = {"trade": list[wire.HistoricalTrade], "aggTrade": list[wire.OldAggTrade]}


def read_answer(answer: wire.Answer, ids: TradeIds, line: Line, max_future_ms: int) -> list[Trade]:
    """Return the trades of an answer, each received with ``line``.

    The first one must be the trade ``answer.first``, which is known: an answer names no symbol, and that trade shows that it is of the
    right one. Ids and times must grow.
    """
    if answer.form not in LISTS:
        raise Refused(Reason.WRONG_TYPE, f"trades of the form {answer.form!r:.40}")
    found: list[Trade] = []
    id_before, us_before = answer.first - 1, 0
    for told in _decoded(answer):
        check_header(answer.symbol, told.time_us, line.received_ms, max_future_ms)
        wire.check_ids(told.id)
        if told.id <= id_before or told.time_us < us_before:
            raise Refused(Reason.OUT_OF_RANGE, f"trade {told.id} after trade {id_before}")
        id_before, us_before = told.id, told.time_us
        side = "sell" if told.maker_bought else "buy"
        ms, us = time_fields(told.time_us)
        trade = Trade(
            ms, answer.symbol, told.price, told.size, side, told.id, line.received_ms, None, us, recovered=True
        )
        check_trade(trade)
        found.append(trade)
    if not found or found[0].trade_id != answer.first:
        raise Refused(
            Reason.MISSING_FIELD, f"an answer without the trade {answer.first}, from which on it was asked for"
        )
    for known in (*(hole.before for hole in ids.holes), ids.newest):
        if known is not None and known.trade_id == answer.first and not is_same(known, found[0]):
            raise Refused(
                Reason.OUT_OF_RANGE,
                f"the trade {answer.first} is another one than was heard: an answer for another symbol",
            )
    return found


def _decoded(answer: wire.Answer) -> list[wire.OldTrade]:
    return decode(LISTS[answer.form], bytes(answer.trades))


def is_same(heard: Trade, told: Trade) -> bool:
    """Return whether a trade that was heard and one that an answer tells, of the same id, are one."""
    # REST may give milliseconds where the stream gives microseconds
    return (heard.price, heard.size, time_us(heard) // 1000) == (told.price, told.size, time_us(told) // 1000)
