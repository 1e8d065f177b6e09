"""Refused messages: shown without harm, put back once, exported to the byte."""

from __future__ import annotations

import base64
import json
import threading

import pytest

from ingest import settings
from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import Gap
from ingest.streams import dead_letters, keys
from ingest.streams.dead_letters import refuse
from ingest.streams.idle_state import pack

from .log import Log, book, trade

HOSTILE = b"\x1b]0;owned\x07\x1b[2J\xff\x00\r\nfake line \xe2\x80\xae" + b"A" * 100_000


@pytest.fixture
def client(redis_client, redis_url, monkeypatch):
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    return redis_client


def letter(client, fields, reason="unknown_symbol", source="market_data") -> str:
    refuse(client, source, fields, reason, "why \x1b[31m", b"7-1")
    ((entry_id, _),) = client.xrevrange(keys.DEAD_LETTER, count=1)
    return entry_id.decode()


def only_printable(text: str) -> bool:
    return all(c == "\n" or " " <= c <= "~" for c in text)


def test_where_nothing_was_refused_it_says_so(client, capsys):
    for options, told in ([], "no dead letters\n"), (["--reason", "stale"], "no dead letters of the reason stale\n"):
        assert main(["dead-letters", *options]) == 0
        assert capsys.readouterr() == ("", told)


def test_a_hostile_message_is_escaped_and_cut(client, capsys):
    one = letter(client, {b"data": HOSTILE, HOSTILE[:300]: b"x"}, source="a file \x1b[2J" + "x" * 500)
    assert main(["dead-letters"]) == 0
    text = capsys.readouterr().out
    assert only_printable(text)
    assert r"data=\x1b]0;owned\x07\x1b[2J\xff\x00\x0d\x0afake line" in text
    assert len(text) < 1000
    assert main(["dead-letters", "show", one]) == 0
    text = capsys.readouterr().out
    assert only_printable(text)
    assert f"data ({len(HOSTILE):,} bytes): " in text
    assert len(text) < 25_000
    assert main(["dead-letters", "list", "--json"]) == 0
    assert only_printable(capsys.readouterr().out)


def test_a_retried_message_is_back_in_its_stream_byte_for_byte_and_marked(client, capsys):
    fields = {b"kind": b"trade", b"data": HOSTILE, b"\xff\x00": b"", b"reason": b"its own field"}
    one = letter(client, fields, source=keys.events(1))
    assert main(["dead-letters", "retry", one]) == 0
    ((entry_id, back),) = client.xrange(keys.events(1))
    assert back == fields
    assert list(back) == list(fields)
    assert f"{one} put back as {keys.events(1)} {entry_id.decode()}" in capsys.readouterr().out
    assert main(["dead-letters", "show", one]) == 0
    assert f"[retried: {keys.events(1)} {entry_id.decode()}]" in capsys.readouterr().out
    assert client.xlen(keys.DEAD_LETTER) == 1


def test_a_letter_is_put_back_once_however_many_ask(client, capsys):
    one = letter(client, {b"data": b"{}"})
    found = dead_letters.one(client, one)
    start, done = threading.Barrier(8), []

    def ask():
        start.wait(10)
        done.append(dead_letters.retry(client, found, 2))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(new for new, _ in done) == [False] * 7 + [True]
    assert len({entry for _, entry in done}) == 1
    assert main(["dead-letters", "retry", one]) == 0
    assert "was put back before" in capsys.readouterr().out
    assert client.xlen("market_data") == 1


def test_all_letters_of_a_reason_are_put_back_in_their_order_and_no_others(client, capsys):
    for i in range(3):
        letter(client, {b"data": b"%d" % i})
        letter(client, {b"data": b"other"}, reason="late")
    assert main(["dead-letters", "retry", "--reason", "unknown_symbol"]) == 0
    assert [fields[b"data"] for _, fields in client.xrange("market_data")] == [b"0", b"1", b"2"]
    assert "3 put back, 0 had been before, 0 cannot be" in capsys.readouterr().out


@pytest.mark.parametrize("idle", [False, True])
def test_a_message_whose_rows_are_written_stays_and_the_command_names_the_watermark(client, capsys, idle):
    log = Log(settings.load({"TFS_PARTITIONS": "2"}))
    log.append(book(0), book(60_000))
    symbol = log.partition.symbols["A"]
    p = keys.partition_of("A", 2)
    if idle:
        client.hset(keys.idle(p), "A", pack(0, symbol.timeline.watermark, symbol.save()))
    else:
        client.hset(keys.checkpoint(p), mapping={f"A {part}": data for part, data in symbol.save().items()})
    kind, late = trade(1000)
    timely = encode(trade(59_900)[1])
    one = letter(client, {b"data": encode(late)})
    two = letter(client, {b"kind": kind.encode(), b"data": encode(late)}, source=keys.events(p))
    fits = letter(client, {b"data": timely})
    assert main(["dead-letters", "retry", one, two, fits]) == 1
    told = capsys.readouterr()
    assert told.err.count("of 2023-11-14 22:13:21 UTC and would be refused again as late") == 2
    assert "rows of A are written up to 2023-11-14 22:14:19 UTC" in told.err
    assert client.xlen(keys.events(p)) == 0
    gap = {b"kind": b"gap", b"data": encode(Gap(late.timestamp, "A", channel="trade", since=late.timestamp))}
    assert main(["dead-letters", "retry", letter(client, gap, source=keys.events(p))]) == 0, "a gap is never late"
    assert [fields for _, fields in client.xrange(keys.events(p))] == [gap]
    for symbol, at in (("\ud800", 0), ("A", -(1 << 60))):  # what is wrong in another way is for the worker to tell
        odd = letter(client, {b"data": json.dumps({"symbol": symbol, "timestamp": at}).encode()}, source="order_book")
        assert main(["dead-letters", "retry", odd]) == 0
    assert [fields for _, fields in client.xrange("market_data")] == [{b"data": timely}]


@pytest.mark.parametrize("source", ["recording.jsonl", "dead_letter", "own:{0}", "events:{2}", "counters:{edge}"])
def test_what_came_from_no_stream_of_the_pipeline_is_not_put_anywhere(client, source, capsys):
    one = letter(client, {b"data": b"{}"}, source=source)
    before = sorted(client.keys())
    assert main(["dead-letters", "retry", one]) == 1
    assert "is no stream of this deployment" in capsys.readouterr().err
    assert sorted(client.keys()) == before


def test_a_letter_of_very_many_fields_is_shown_and_stays(client, capsys):
    one = letter(client, {b"f%d" % i: b"\xff" for i in range(5000)})
    assert main(["dead-letters", "show", one]) == 0
    assert capsys.readouterr().out.count("(1 bytes)") == 5000
    assert main(["dead-letters", "retry", one]) == 1
    assert "5,000 fields" in capsys.readouterr().err


def test_an_export_holds_every_letter_to_the_byte_and_overwrites_nothing(client, tmp_path, capsys):
    fields = {b"data": HOSTILE, b"note": "für".encode()}
    letter(client, fields)
    one = letter(client, {b"data": b"{}"}, reason="late")
    main(["dead-letters", "retry", one])
    out = tmp_path / "letters.jsonl"
    assert main(["dead-letters", "export", "--output", str(out)]) == 0
    first, second = map(json.loads, out.read_text().splitlines())

    def exact(value):
        return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()

    assert {exact(name): exact(value) for name, value in first["fields"]} == fields
    assert (first["reason"], first["source"], first["id"], first["retried"]) == (
        "unknown_symbol",
        "market_data",
        "7-1",
        "",
    )
    assert second["retried"].startswith("market_data ")
    assert main(["dead-letters", "export", "--output", str(out)]) == 2
    assert len(out.read_text().splitlines()) == 2
    capsys.readouterr()
    assert main(["dead-letters", "export", "--reason", "late"]) == 0
    assert json.loads(capsys.readouterr().out)["entry"] == one


@pytest.mark.parametrize("words", [["show"], ["retry"], ["list", "1-1"], ["export", "1-1"]])
def test_a_command_without_sense_is_refused(words, client, capsys):
    assert main(["dead-letters", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("words", [["show", "1-1"], ["show", "- +"], ["retry", "0-0"], ["show", "\x1b[2J"]])
def test_a_letter_that_is_not_there_is_said_so(words, client, capsys):
    assert main(["dead-letters", *words]) == 1
    error = capsys.readouterr().err
    assert "no letter" in error
    assert only_printable(error)
