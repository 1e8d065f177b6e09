"""Two markets under one name, and the names of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.recordings.columns import GivenColumns, PrefixError
from ingest.recordings.markets import TwoMarketsError

from .captures import T0, aggregate, diff, raw, read, snapshot, trade, written

SPOT = snapshot(0, 9, "98", "101") + diff(1, "BTCUSDT", 10, 12) + trade(2, 7, M=True)
PERP = snapshot(0, 900, "98", "101") + diff(1, "BTCUSDT", 890, 912, pu=880) + trade(2, 5, X="MARKET")
HEADER = raw(-1, {"e": "recording", "venue": "binance-futures", "prefix": "BINANCE-FUTURES:"})
PREFIX = GivenColumns(prefixes=(("perp.jsonl", "BINANCE-FUTURES:"),))


def symbols(messages: list) -> set[str]:  # type: ignore[type-arg]
    return {message.symbol for message in messages}


def test_a_recording_that_says_its_venue_comes_back_under_its_live_name(tmp_path: Path) -> None:
    header = HEADER.replace(": ", ":").replace(", ", ",")  # as the recorder writes it
    messages, refused, _ = read(written(tmp_path, spot=SPOT, perp=header + PERP))
    assert symbols(messages) == {"BTCUSDT", "BINANCE-FUTURES:BTCUSDT"}
    assert len(messages) == 4 and refused == []


def test_a_prefix_for_a_file_names_its_symbols_and_goes_before_that_of_its_header(tmp_path: Path) -> None:
    assert symbols(read(written(tmp_path, spot=SPOT, perp=PERP), PREFIX)[0]) == {"BTCUSDT", "BINANCE-FUTURES:BTCUSDT"}
    other = GivenColumns(prefixes=(("*perp*", "X:"),))
    assert symbols(read(written(tmp_path, perp=HEADER + PERP), other)[0]) == {"X:BTCUSDT"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (diff(1, "BTCUSDT", 10, 12), diff(1, "BTCUSDT", 890, 912, pu=880)),
        (trade(2, 7, M=True), trade(2, 5, X="MARKET")),
        (aggregate(2, 7, 1, 2, M=True), aggregate(2, 5, 1, 2, nq="1")),
        (trade(0, 1000) + trade(60_000, 2000), trade(10_000, 5_000_000) + trade(90_000, 5_000_100)),
        (trade(0, 1000), trade(60_000, 7)),
        (trade(0, 1000), trade(60_000, 1000)),
    ],
    ids=["diffs", "trades", "aggregates", "ids of the same hour", "ids that fall", "one id at two times"],
)
def test_two_markets_under_one_name_are_refused_with_the_option_to_give(tmp_path: Path, one: str, two: str) -> None:
    paths = written(tmp_path, spot=one, perp=two)
    is_told = any(sign in two for sign in ('"pu"', '"X"', '"nq"'))  # then the option is for the file of futures
    for order in (paths, paths[::-1]):
        of = "perp.jsonl" if is_told else order[1].name
        with pytest.raises(TwoMarketsError, match=f"--prefix {of}="):
            read(order)
    assert symbols(read(paths, PREFIX)[0]) <= {"BTCUSDT", "BINANCE-FUTURES:BTCUSDT"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (SPOT, SPOT),
        (trade(0, 10) + trade(60_000, 20), trade(100, 12) + trade(60_100, 22)),
        (trade(0, 10) + trade(60_000, 20), trade(86_400_000, 21)),
        (trade(0, 10), aggregate(60_000, 5, 11, 12)),
    ],
    ids=["the same file", "two recorders", "two days", "trades and aggregates"],
)
def test_two_recordings_of_one_market_are_read_together(tmp_path: Path, one: str, two: str) -> None:
    read(written(tmp_path, a=one, b=two))


def test_within_one_file_the_lines_of_a_second_market_are_refused(tmp_path: Path) -> None:
    messages, refused, _ = read(
        written(tmp_path, both=SPOT + diff(3, "BTCUSDT", 890, 912, pu=880) + trade(4, 9, X="MARKET"))
    )
    assert len(messages) == 2
    assert refused == ["other_market", "other_market"]


def test_a_prefix_for_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PrefixError, match="none of the files"):
        read(written(tmp_path, spot=SPOT), PREFIX)


def table(folder: Path, name: str, *rows: str, head: str = "time,symbol,id,price,size") -> Path:
    (folder / name).write_text("\n".join([head, *rows]))
    return folder / name


def test_tables_of_two_markets_under_one_name_are_refused(tmp_path: Path) -> None:
    spot = table(tmp_path, "spot.csv", *(f"{T0 + 1000 * n},BTCUSDT,{9_000_000 + n},1,1" for n in range(5)))
    perp = table(tmp_path, "perp.csv", *(f"{T0 + 1000 * n},BTCUSDT,{100 + n},1,1" for n in range(5)))
    for order in ([spot, perp], [perp, spot]):
        with pytest.raises(TwoMarketsError, match=f"--prefix {order[1].name}="):
            read(order)
    prefix = GivenColumns(prefixes=(("perp.csv", "BINANCE-FUTURES:"),))
    assert symbols(read([spot, perp], prefix)[0]) == {"BTCUSDT", "BINANCE-FUTURES:BTCUSDT"}


def test_a_table_of_two_venues_is_refused_and_tables_of_random_ids_are_not(tmp_path: Path) -> None:
    head = "exchange,symbol,timestamp,price,amount"
    both = table(tmp_path, "t.csv", f"binance,BTCUSDT,{T0},1,1", f"binance-futures,BTCUSDT,{T0},1,1", head=head)
    with pytest.raises(TwoMarketsError, match=r"t\.csv has BTCUSDT of binance and binance-futures"):
        read([both])
    ids = [77, 12, 95, 3, 41]
    files = [
        table(tmp_path, f"{k}.csv", *(f"{T0 + 2000 * (n + k)},A,{ids[n] + k},1,1" for n in range(5))) for k in range(2)
    ]
    assert len(read(files)[0]) == 10
