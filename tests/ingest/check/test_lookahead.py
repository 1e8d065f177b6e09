"""Truncation: what is not known yet changes nothing, and a value that peeked is found."""

import json

import msgspec

from ingest.check import lookahead, result
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Trade
from ingest.worker.symbol import Symbol
from transforms.catalog import MICROSTRUCTURE, VIEWS

from .conftest import CONF, MIDNIGHT


class Peeking(Symbol):
    """Its mid price is that of the book that comes after the boundary, where one waits."""

    def _emit_rows(self, t_us):
        for view, values in self.engine.emit(t_us):
            waiting = [envelope.message for *_, envelope in sorted(self.timeline.held, key=lambda h: h[:4])]
            books = [m for m in waiting if isinstance(m, OrderBook)]
            if view is MICROSTRUCTURE and books:
                values[MICROSTRUCTURE.index["mid_price"]] = (books[0].bids[0][0] + books[0].asks[0][0]) / 2
            self._emit(self, view, t_us, values)


def by_name(found: list[result.Result]) -> dict[str, result.Result]:
    return {r.feature: r for r in found}


def test_no_feature_looks_ahead(messages):
    found = lookahead.lookahead(messages, CONF, samples=40)
    assert [r for r in found if r.differing] == []
    assert [r.feature for r in found] == [name for view in VIEWS for name in view.names]
    compared = by_name(found)
    assert compared["mid_price"].values == compared["microprice"].values == 80
    assert compared["sentiment_compound_1h"].values == 80
    assert not result.failed(found)


def test_a_mid_price_that_peeks_at_the_next_book_is_found_and_nothing_else_is_blamed(messages):
    found = lookahead.lookahead(messages, CONF, samples=40, make=Peeking)
    assert [r.feature for r in found if r.differing] == ["mid_price"]
    assert by_name(found)["mid_price"].differing > 40
    assert result.failed(found)
    assert "SIM-BTC" in by_name(found)["mid_price"].example or "ODD" in by_name(found)["mid_price"].example


def test_both_captures_pass(recordings, capsys):
    folder = recordings / "ws_binance_hftbacktest"
    paths = sorted(str(p) for p in folder.glob("*.jsonl.gz"))
    assert main(["check", "lookahead", *paths, "--samples", "20", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] and {f["compared"] for f in report["features"] if f["view"] == "technical"} == {40}


def test_nothing_to_compare_is_no_success(tmp_path, capsys):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    assert main(["check", "lookahead", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_lines_that_are_no_messages_are_told_with_the_reason(tmp_path, capsys):
    path = tmp_path / "another_venue.txt"
    path.write_text('1629477133.1: [0, {"a": []}, "book-25"]\n1629477133.2: {"channel": 1}\nconnected\n')
    assert main(["check", "lookahead", str(path)]) == 1
    out = capsys.readouterr().out
    assert (
        "lines refused: 1 missing_field, 1 undecodable, 1 wrong_type" in out and "there was nothing to compare" in out
    )
    assert main(["check", "warmup", str(path), "--json", "--symbols", "BTC-USD"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["refused"] == {"missing_field": 1, "undecodable": 1, "wrong_type": 1}
    assert told.err.startswith("BTC-USD: no message\n")


def test_trades_in_columns_need_only_the_symbol_that_they_do_not_name(tmp_path, capsys):
    path = tmp_path / "trades.csv"
    rows = [f"{MIDNIGHT + i * 700},{10 + i % 3},1" for i in range(120)]
    path.write_text("\n".join(["moment,price,qty", *rows]))
    assert main(["check", "lookahead", str(path), "--time-column", "moment"]) == 2
    assert "--symbol" in capsys.readouterr().err
    assert main(["check", "lookahead", str(path), "--time-column", "moment", "--symbol", "X:A-B", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["check"] == "check lookahead: X:A-B"
    assert {f["feature"]: f["values"] for f in report["features"]}["vwap_1m"] > 10


def test_a_file_that_is_not_there_is_an_error_and_no_finding(tmp_path, capsys):
    assert main(["check", "lookahead", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_the_table_names_the_symbols_and_the_counts_and_who_is_followed_and_not_there(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.jsonl"
    trades = [Trade(MIDNIGHT + i * 500, "A", 10.0, 1.0, "buy", i) for i in range(8)]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, trades)))
    (tmp_path / "instruments.toml").write_text('[A]\nleader = "B"\n[C]\nleader = "D"\n')
    monkeypatch.setenv("TFS_INSTRUMENTS", str(tmp_path / "instruments.toml"))
    assert main(["check", "lookahead", str(path)]) == 0
    told = capsys.readouterr()
    assert "check lookahead: A" in told.out and "0 differ" in told.out
    assert told.err == "B: not heard, and A of the instruments file follows it\n"
