"""What captures of Binance's futures say of contracts, in the forms of the venue's documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Gap
from ingest.recordings.markets import TwoMarketsError

from .captures import T0, aggregate, diff, raw, read, written

FUNDING = T0 + 3_600_000


def mark(at: int, symbol: str = "BTCUSDT", **more: Any) -> str:
    told = {
        "e": "markPriceUpdate",
        "E": T0 + at,
        "s": symbol,
        "p": "11794.15",
        "i": "11784.62659091",
        "P": "11784.25641265",
    }
    told |= {"r": "0.00038167", "T": FUNDING, **more}
    return raw(
        at, {"stream": f"{symbol.lower()}@markPrice@1s", "data": {k: v for k, v in told.items() if v is not None}}
    )


def forced(at: int, symbol: str = "BTCUSDT", **more: Any) -> str:
    order = {
        "s": symbol,
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.014",
        "p": "9910",
        "ap": "9911.5",
        "X": "FILLED",
        "l": "0.01",
    }
    order |= {"z": "0.012", "T": T0 + at - 300, **more}
    return raw(at, {"stream": f"{symbol.lower()}@forceOrder", "data": {"e": "forceOrder", "E": T0 + at, "o": order}})


def interest(at: int, symbol: str = "BTCUSDT", **more: Any) -> str:
    return raw(at, {"openInterest": "10659.509", "symbol": symbol, "time": T0 + at - 2000, **more})


def found(folder: Path, *lines: str) -> tuple[list[Any], list[str], dict[str, int]]:
    messages, refused, recording = read(written(folder, capture="".join(lines)))
    return messages, refused, dict(recording.passed_over)


def test_a_mark_price_tells_mark_index_rate_and_settlement(tmp_path: Path) -> None:
    messages, refused, _ = found(tmp_path, mark(0), mark(1000, "BTCUSD_PERP", i=None))
    assert refused == []
    assert messages == [
        Derivatives(T0, "BTCUSDT", 11794.15, 11784.62659091, 0.00038167, FUNDING, received=T0),
        Derivatives(T0 + 1000, "BTCUSD_PERP", 11794.15, None, 0.00038167, FUNDING, received=T0 + 1000),
    ]


def test_a_contract_that_expires_has_no_rate_and_no_settlement(tmp_path: Path) -> None:
    messages, refused, _ = found(tmp_path, mark(0, "BTCUSD_201225", r="", T=0))
    assert (refused, messages) == ([], [Derivatives(T0, "BTCUSD_201225", 11794.15, 11784.62659091, received=T0)])


def test_a_forced_order_counts_as_it_was_filled_at_its_own_time(tmp_path: Path) -> None:
    messages, refused, _ = found(tmp_path, forced(1000), forced(3000, S="BUY", ap="0", z="0"))
    assert refused == []
    assert messages == [
        Liquidation(T0 + 700, "BTCUSDT", "sell", 9911.5, 0.012, T0 + 1000),
        Liquidation(T0 + 2700, "BTCUSDT", "buy", 9910.0, 0.014, T0 + 3000),
    ]


def test_an_answer_of_rest_tells_open_interest_of_its_own_time(tmp_path: Path) -> None:
    messages, refused, _ = found(
        tmp_path, interest(5000), interest(6000, "BTCUSD_PERP", pair="BTCUSD", contractType="PERPETUAL")
    )
    assert refused == []
    assert [(one.timestamp - T0, one.symbol, one.open_interest) for one in messages] == [
        (3000, "BTCUSDT", 10659.509),
        (4000, "BTCUSD_PERP", 10659.509),
    ]


def test_an_open_interest_that_has_not_changed_counts_at_the_time_of_the_newest_mark_price(tmp_path: Path) -> None:
    same = {"time": T0 - 600_000}
    messages, refused, passed = found(
        tmp_path, mark(1000), interest(1500, **same), mark(2000), interest(2500, **same), interest(2600, **same)
    )
    assert refused == []
    assert [one.timestamp - T0 for one in messages if one.open_interest] == [1000, 2000]
    assert passed["open interest"] == 1


def test_what_two_files_say_counts_once(tmp_path: Path) -> None:
    lines = mark(0) + forced(500) + mark(1000) + interest(2500)
    files = written(tmp_path, a=lines, b=lines)
    messages, refused, recording = read(files)
    assert refused == []
    assert sorted(type(one).__name__ for one in messages) == ["Derivatives"] * 3 + ["Liquidation"]
    assert dict(recording.passed_over) == {"mark price": 2, "liquidation": 1, "open interest": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (mark(0, p="0"), "not_positive"),
        (mark(0, p="NaN"), "not_finite"),
        (mark(0, E=None), "missing_field"),
        (mark(0, r="much"), "wrong_type"),
        (mark(0, r="5"), "out_of_range"),
        (forced(1000, S="HOLD"), "wrong_type"),
        (forced(1000, q="-1", z="0"), "not_positive"),
        (forced(1000, T="soon"), "wrong_type"),
        (interest(3000, openInterest="-2"), "out_of_range"),
        (interest(3000, time=T0 + 60_000), "future_time"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    messages, refused, _ = found(tmp_path, line, mark(9000, "ETHUSDT"))
    assert (len(messages), refused) == (1, [reason])


def note(at: int, n: int, *channels: str) -> str:
    told = {"e": "connections" if n else "disconnect", "s": ["BTCUSDT"]}
    return raw(at, {**told, "channels": list(channels)} | ({"n": n} if n else {}))


def test_liquidations_are_heard_from_the_first_mark_price_of_a_connection_on(tmp_path: Path) -> None:
    carried = "trade", "markPrice", "liquidation"
    lines = [
        diff(0, "BTCUSDT", 1, 2, pu=0),
        note(10, 1, *carried),
        mark(500),
        note(600, 2, *carried),
        mark(1500),
        note(1600, 0, *carried),
    ]
    lines += [note(5000, 1, *carried), mark(5500), mark(6500), aggregate(6600, 1, 1, 1, nq="1")]
    messages, _, _ = found(tmp_path, *lines)
    gaps = [one for one in messages if isinstance(one, Gap) and one.channel == "liquidation"]
    assert [(gap.since, gap.timestamp) for gap in gaps] == [(None, T0 + 500), (T0 + 1500, T0 + 5500)]


def test_a_recording_without_liquidations_does_not_say_that_they_are_heard(tmp_path: Path) -> None:
    lines = [diff(0, "BTCUSDT", 1, 2, pu=0), note(10, 1, "trade", "markPrice"), mark(500), mark(1500)]
    messages, _, _ = found(tmp_path, *lines)
    assert [type(one).__name__ for one in messages] == ["Derivatives", "Derivatives"]


def test_streams_of_all_symbols_tell_of_each_and_what_is_wrong_is_refused_alone(tmp_path: Path) -> None:
    def event(line: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(line.partition(" ")[2])["data"]
        return found

    marks = [event(mark(0)), event(mark(0, "ETHUSDT", p="0")), event(mark(0, "SOLUSDT"))]
    messages, refused, _ = found(
        tmp_path,
        raw(0, {"stream": "!markPrice@arr@1s", "data": marks}),
        raw(1000, {"stream": "!forceOrder@arr", "data": event(forced(1000, "XRPUSDT"))}),
        f"{(T0 + 2000) * 1_000_000} {json.dumps([event(mark(2000))])}\n",
        raw(2500, {"stream": "!bookTicker", "data": {"e": "bookTicker", "s": "BTCUSDT"}}),
    )
    assert [(type(one).__name__, one.symbol) for one in messages] == [
        ("Derivatives", "BTCUSDT"),
        ("Derivatives", "SOLUSDT"),
        ("Liquidation", "XRPUSDT"),
        ("Derivatives", "BTCUSDT"),
    ]
    assert refused == ["not_positive"]


def test_a_file_of_mark_prices_and_a_spot_file_of_the_same_symbol_are_two_markets(tmp_path: Path) -> None:
    files = written(tmp_path, a=mark(0), b=diff(0, "BTCUSDT", 1, 2))
    with pytest.raises(TwoMarketsError, match="futures"):
        read(files)
