"""A fit to the tape is the fit to the rows that a backfill of the tape writes."""

from __future__ import annotations

import json

import psycopg
import pytest

from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import Leave
from ingest.microprice.tables import span_of
from ingest.microprice.taped import TapedRows
from ingest.settings import Settings
from ingest.simulate import history
from ingest.tape.table import open_tape
from tests.ingest.backfill.days.tapes import put, put_entries
from transforms.times import datetime_of_ms

MIDNIGHT = 1_700_006_400_000
SYMBOLS = ("SIM-BTC", "ODD")
FIT = ["fit-microprice", "--no-publish", "--before", "2023-11-15", "--min-rows", "300", "--min-count", "2", "--json"]


@pytest.fixture
def conf(tmp_path, monkeypatch, postgres_url) -> Settings:
    for name, value in (("POSTGRES_URL", postgres_url), ("PARTITIONS", "1"), ("TAPE", str(tmp_path / "tape"))):
        monkeypatch.setenv(f"TFS_{name}", value)
    return Settings(partitions=1, tape=str(tmp_path / "tape"))


def market(begin_s: int, end_s: int, seed: int = 3):
    """Return books and trades of the seconds after midnight."""
    span = MIDNIGHT + 1000 * begin_s, MIDNIGHT + 1000 * end_s
    return list(history(*span, symbols=SYMBOLS, kinds=("book", "trade"), seed=seed))


def log(told, late_ms: int = 40):
    """Return messages as entries that arrived so long after their times."""
    return [
        (b"%d-%d" % (message.timestamp + late_ms, n), {b"kind": kind.encode(), b"data": encode(message)})
        for n, (kind, message) in enumerate(told)
    ]


@pytest.mark.parametrize("since", ([], ["--since", "2023-11-14T23:53:20"]), ids=("all", "since"))
def test_it_is_the_fit_to_the_rows_of_a_backfill(conf, postgres_url, capsys, since) -> None:
    put(conf, market(-900, -300))
    put_entries(conf, log(market(-300, 30)), 0)  # the rows of --before and later are no part of it
    assert main(["backfill", "--from-tape", "--json"]) == 0
    assert main([*FIT, *since]) == 0
    assert main([*FIT, *since, "--from-tape"]) == 0
    _, of_rows, of_tape = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one.pop("version") for one in of_rows["fitted"] + of_tape["fitted"]] == [1, 1, 2, 2]
    assert of_rows == of_tape and of_rows["fitted"][0]["cells"] > 10
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT symbol, books, tick, g FROM microprice_tables ORDER BY symbol, version")
        odd, odd_taped, btc, btc_taped = tables.fetchall()
    assert odd == odd_taped and btc == btc_taped


def test_no_backfill_is_needed_and_what_the_tape_lacks_is_told(conf, capsys) -> None:
    assert main([*FIT, "--from-tape"]) == 2
    assert "there is no tape" in capsys.readouterr().err
    put(conf, market(-400, 0))
    assert main([*FIT, "--from-tape", "--symbols", "ODD,NONE"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["symbol"] for one in told["fitted"]] == ["ODD"]
    assert told["failed"] == {
        "NONE": "NONE: no row with a spread before 2023-11-15 00:00; the tape has no book of it there"
    }
    assert main([*FIT, "--from-tape", "--before", "2023-11-14"]) == 1
    assert "the tape has no book of that time" in json.loads(capsys.readouterr().out)["failed"]["*"]


def test_of_rows_that_were_made_twice_after_a_symbol_was_forgotten_the_last_ones_count(conf, monkeypatch) -> None:
    monkeypatch.setattr("ingest.microprice.taped._ROWS", 50)
    first, again = market(0, 20), market(5, 15, seed=8)
    leaves = [
        (b"%d-%d" % (MIDNIGHT + 30_000, n), {b"kind": b"leave", b"data": encode(Leave(MIDNIGHT, name, forget=True))})
        for n, name in enumerate(SYMBOLS)
    ]
    put_entries(conf, [*log(first), *leaves, *log(again, 60_000)], 0)
    span = span_of(None, datetime_of_ms(MIDNIGHT + 60_000), None, datetime_of_ms(MIDNIGHT + 60_000))
    with TapedRows() as rows:
        rows.read(open_tape(conf), conf, [], span)
        assert rows.symbols == sorted(SYMBOLS)
        for symbol in SYMBOLS:
            ((times_us, mid, _, spread),) = rows.pieces(symbol)
            assert times_us.tolist() == [(MIDNIGHT + 1000 * second) * 1000 for second in range(1, 20)]
            assert rows.smallest_spread[symbol] <= spread.min()
            for second, told in ((3, first), (10, again)):
                books = [m for kind, m in told if kind == "book" and m.symbol == symbol]
                book = max((m for m in books if m.timestamp <= MIDNIGHT + 1000 * second), key=lambda m: m.timestamp)
                assert mid[second - 1] == (book.bids[0][0] + book.asks[0][0]) / 2
