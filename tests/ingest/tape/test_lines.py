"""Lines of an export give the bytes of their entries again, whatever these are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook
from ingest.tape.columns import entries_of, table_of
from ingest.tape.lines import LineError, entry_of, header_of, line_of

WORDS = st.binary(max_size=20)
ENTRIES = st.one_of(
    st.dictionaries(WORDS, WORDS, min_size=1, max_size=4),
    st.fixed_dictionaries(
        {b"kind": st.sampled_from([b"book", b"tick", b"\xff", b""]), b"data": WORDS},
        optional={b"recorded": st.sampled_from([b"1", b"yes"])},
    ),
)


@settings(deadline=None)  # a busy machine may be slow
@given(ENTRIES)
def test_any_entry_comes_back_from_a_line_and_from_a_row(fields: dict[bytes, bytes]) -> None:
    assert entry_of(line_of(b"1700000000000-3", 2, fields)) == (b"1700000000000-3", 2, fields)
    assert list(entries_of(table_of([(b"1700000000000-3", fields)], "events", 2))) == [(b"1700000000000-3", fields)]


def test_a_message_can_be_read_in_its_line() -> None:
    book = OrderBook(1_700_000_000_000, "BTC", [(0.1, 1e-8)], [(0.30000000000000004, 2.0)])
    told = json.loads(line_of(b"1-0", 0, {b"kind": b"book", b"data": encode(book)}))
    assert told["data"]["asks"] == [[0.30000000000000004, 2.0]]
    assert told["kind"] == "book"


@pytest.mark.parametrize("data", [b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0", b'{"price": 1.50}', b"\x81\xa1a\xc1", b"\xff"])
def test_a_message_that_json_cannot_hold_comes_back_too(data: bytes) -> None:
    fields = {b"kind": b"trade", b"data": data, b"recorded": b"1"}
    assert entry_of(line_of(b"1-0", 0, fields))[2] == fields


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"id":"1-0","partition":0,"base64":"?"}', b'{"id":"1-0","partition":0}']
)
def test_a_damaged_line_is_told(line: bytes) -> None:
    with pytest.raises(LineError, match="is damaged"):
        entry_of(line)


def test_other_files_are_no_exports_and_other_forms_are_told(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"timestamp": 1}\n')
    assert header_of(path) is None
    path.write_text('{"tape":2,"partitions":4}\n')
    with pytest.raises(LineError, match="another version"):
        header_of(path)
