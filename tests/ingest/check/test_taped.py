"""The checks on the tape: the messages that its logs and files had, and the findings of a check of the file itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ingest.check import lookahead
from ingest.check.taped import TapedMessages
from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import Clock, Gap, Hold, Tick, Trade, WithdrawnPost
from ingest.settings import Settings
from ingest.simulate import history
from ingest.tape.table import open_tape
from tests.ingest.backfill.days.tapes import put, put_entries

from .conftest import MIDNIGHT

SYMBOLS = ("SIM-BTC", "ODD")


@pytest.fixture
def conf(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    monkeypatch.setenv("TFS_PARTITIONS", "1")
    return Settings(partitions=1, tape=str(tmp_path / "tape"))


def market(seconds: int, begin: int = 0) -> list[tuple[str, Any]]:
    span = MIDNIGHT + 1000 * begin, MIDNIGHT + 1000 * (begin + seconds)
    return list(history(*span, symbols=SYMBOLS, kinds=("book", "trade"), seed=5))


def log(told: list[tuple[str, Any]]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return messages as entries that arrived 40 ms after their times."""
    return [
        (b"%d-%d" % (message.timestamp + 40, n), {b"kind": kind.encode(), b"data": encode(message)})
        for n, (kind, message) in enumerate(told)
    ]


@pytest.mark.parametrize("words", (["lookahead", "--samples", "5"], ["warmup", "--starts", "0.4"]), ids=" ".join)
def test_what_was_imported_gives_the_findings_of_the_file(conf, tmp_path, capsys, words) -> None:
    path = tmp_path / "market.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(message) for _, message in market(40)))
    assert main(["import", str(path)]) == 0
    capsys.readouterr()
    assert main(["check", words[0], str(path), *words[1:], "--json"]) == 0
    of_file = json.loads(capsys.readouterr().out)
    assert main(["check", *words, "--from-tape", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == of_file
    period = ["--since", "2023-11-15T00:00:10", "--before", "2023-11-15T00:00:30", "--symbols", "ODD,NONE"]
    assert main(["check", *words, "--from-tape", *period, "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == "NONE: no message\n"
    some = {f["feature"]: f["compared"] for f in json.loads(told.out)["features"]}
    assert 0 < some["mid_price"] < {f["feature"]: f["compared"] for f in of_file["features"]}["mid_price"]


def test_entries_that_only_made_time_pass_are_left_out_and_the_rest_comes_in_order(conf, messages) -> None:
    at = {"timestamp": MIDNIGHT, "available": MIDNIGHT, "received": None}
    posts = [("post", msgspec.structs.replace(message, **at)) for kind, message in messages if kind == "post"][:6]
    withdrawn = WithdrawnPost(MIDNIGHT + 3000, posts[0][1].id, posts[0][1].source)
    told = [
        *posts,
        *market(3),
        ("withdrawal", withdrawn),
        ("gap", Gap(MIDNIGHT + 4000, "ODD", channel="trade", since=MIDNIGHT + 3900)),
    ]
    passed = [
        ("clock", Clock(MIDNIGHT + 2000, list(SYMBOLS))),
        ("hold", Hold(MIDNIGHT + 2100, "ODD", MIDNIGHT + 2500)),
        ("tick", Tick(MIDNIGHT + 5000, "ODD")),
    ]
    ahead = {b"kind": b"trade", b"data": encode(Trade(MIDNIGHT + 90_000, "ODD", 1.0, 1.0))}
    every = sorted([*told, *passed], key=lambda one: one[1].timestamp)
    put_entries(
        conf, [*log(every), (b"%d-0" % (MIDNIGHT + 6000), ahead), (b"%d-1" % (MIDNIGHT + 6000), {b"a": b"b"})], 0
    )
    put(conf, market(1, 7))
    found = TapedMessages(open_tape(conf), conf)
    got = list(found)
    assert found.refused == {"future_time": 1, "wrong_type": 1}
    expected = []
    for kind, message in told:
        if kind == "withdrawal":
            names = dict.fromkeys(post.symbol for _, post in posts)
            expected += [(kind, msgspec.structs.replace(message, symbol=name)) for name in names]
        else:
            expected.append((kind, message))
    expected += market(1, 7)
    assert [(kind, m.symbol, m.timestamp) for kind, m in got] == [(kind, m.symbol, m.timestamp) for kind, m in expected]
    assert [one for one in got if one[0] != "book"] == [one for one in expected if one[0] != "book"]
    assert found.symbols == {message.symbol for _, message in expected}


def test_a_live_log_with_holes_passes(conf) -> None:
    told = [one for one in market(40) if not (one[0] == "trade" and 9300 <= one[1].timestamp - MIDNIGHT < 12_600)]
    told += [("gap", Gap(MIDNIGHT + 12_600, name, channel="trade", since=MIDNIGHT + 9300)) for name in SYMBOLS]
    told += [("tick", Tick(MIDNIGHT + 41_000, name)) for name in SYMBOLS]
    told.sort(key=lambda one: one[1].timestamp)
    put_entries(conf, log(told), 0)
    found = lookahead.lookahead(TapedMessages(open_tape(conf), conf), conf, samples=40)
    assert [r for r in found if r.differing] == []
    values = {r.feature: r.values for r in found}
    assert values["delta_volume_1s"] < values["mid_price"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give files, or --from-tape"),
        (["a.jsonl", "--from-tape"], "not both"),
        (["a.jsonl", "--symbols", "A", "--since", "2026-11-20"], "--since and --before go with --from-tape"),
        (["--from-tape"], "there is no tape at"),
    ],
)
def test_files_and_the_tape_are_not_mixed(conf, capsys, words, said) -> None:
    assert main(["check", "lookahead", *words]) == 2
    assert said in capsys.readouterr().err
