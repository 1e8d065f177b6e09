"""The open symbols: which are opened, what is counted, and what is handed on."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from ingest import settings
from ingest.messages.envelope import Envelope, Origin
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.symbols import Symbols
from transforms.saved import VersionError

from .log import ASKS, BIDS, T0, Log, book


class Counted:
    """Symbols whose refusals and rows are kept."""

    def __init__(self, conf: Settings | None = None) -> None:
        self.refused: list[tuple[bytes, Reason]] = []
        self.rows: list[tuple[str, str, int]] = []
        self.symbols = Symbols(conf or Settings(), self._emit, self._hand_on)

    def _emit(self, symbol, view, t_us, values):
        self.rows.append((symbol.name, view.name, t_us))

    def _hand_on(self, origin: Origin, refused: Refused) -> None:
        self.refused.append((origin[0], refused.reason))


def trade(at: int, symbol: str = "A", price: float = 1.0, entry_id: bytes = b"") -> Envelope:
    return Envelope("trade", Trade(T0 + at, symbol, price, 1.0), origin=(entry_id, {}))


def test_a_symbol_passes_itself_with_its_rows() -> None:
    kept = Counted()
    for name in "AB":
        kept.symbols.accept(trade(500, name))
        kept.symbols.accept(Envelope("tick", Tick(T0 + 1000, name)))
    at = (T0 + 1000) * 1000
    assert [row for row in kept.rows if row[1] == "order_flow"] == [("A", "order_flow", at), ("B", "order_flow", at)]
    assert kept.symbols.accepted == {"trade": 2, "tick": 2}


def test_a_refusal_is_counted_with_its_reason_and_handed_on_with_its_origin() -> None:
    kept = Counted()
    assert kept.symbols.accept(trade(0, price=-1.0, entry_id=b"7-1")) is None
    assert kept.symbols.refused == {"not_positive": 1} and not kept.symbols.accepted
    assert kept.refused == [(b"7-1", Reason.NOT_POSITIVE)]


def test_a_message_that_turns_out_bad_at_its_turn_is_no_longer_accepted() -> None:
    kept = Counted()
    kept.symbols.accept(Envelope("book", OrderBook(T0, "A", ASKS, BIDS), origin=(b"7-1", {})))
    assert kept.symbols.accepted == {"book": 1}
    kept.symbols.accept(Envelope("tick", Tick(T0 + 1, "A")))
    assert kept.symbols.accepted == {"book": 0, "tick": 1}
    assert kept.refused == [(b"7-1", Reason.UNSORTED_SIDE)]
    assert kept.symbols.take_counts() == {"accepted.book": 0, "accepted.tick": 1, "refused.unsorted_side": 1}
    assert kept.symbols.take_counts() == {}


def test_an_error_of_our_own_is_logged_and_refused_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    kept = Counted()
    with caplog.at_level(logging.ERROR):
        assert kept.symbols.accept(Envelope("trade", object(), origin=(b"7-1", {}))) is None
    assert kept.refused == [(b"7-1", Reason.FAILED)]
    assert "7-1" in caplog.text and "AttributeError" in caplog.text


def test_a_state_of_another_grid_leaves_the_open_symbol_as_it_is() -> None:
    saved = Counted(settings.load({"TFS_EMIT_INTERVAL_MS": "500"})).symbols.open("A").save()
    here = Counted()
    before = here.symbols.open("A")
    with pytest.raises(VersionError):
        here.symbols.open("A", saved)
    assert here.symbols == {"A": before}


def test_only_listed_symbols_are_taken_where_a_list_is_configured():
    log = Log(settings.load({"TFS_SYMBOLS": "B"})).append(book(1))
    assert log.reasons() == ["unknown_symbol"]


def test_a_symbol_without_a_place_is_told_which_table_gives_it_one(tmp_path: Path):
    trades = [("trade", Trade(T0, f"V:S{i}", 1.0, 1.0)) for i in range(2)]
    log = Log(settings.load({"TFS_MAX_SYMBOLS": "1"}))
    log.append(*trades)
    [(_, refused)] = log.partition.pending.dead
    told = re.search(r"a table (\[.+\]) in the file of TFS_INSTRUMENTS", refused.detail)
    assert told is not None
    path = tmp_path / "instruments.toml"
    path.write_text(f"{told[1]}\n")
    log = Log(settings.load({"TFS_MAX_SYMBOLS": "1", "TFS_INSTRUMENTS": str(path)}))
    log.append(*trades)
    assert log.reasons() == [] and list(log.partition.symbols) == ["V:S0", "V:S1"]


def test_invented_symbols_cannot_fill_the_memory():
    log = Log(settings.load({"TFS_MAX_SYMBOLS": "2"}))
    log.append(*[("trade", Trade(T0, f"S{i}", 1.0, 1.0)) for i in range(4)])
    assert log.reasons() == ["unknown_symbol"] * 2
