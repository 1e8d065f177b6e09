"""What the demo says of recordings, and how it waits."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import redis
from rich.console import Console

from ingest import settings
from ingest.cli import main
from ingest.demo import feed as feed_module
from ingest.demo.feed import DemoError, Feed, Heard
from ingest.run.processes import Processes
from ingest.streams import keys
from ingest.streams.membership import Member


def heard(*kinds: tuple[str, str], diffs_unused: int = 0) -> Heard:
    return Heard(dict.fromkeys(kinds, 0), frozenset(), (0, 0), diffs_unused)


def test_what_a_symbol_lacks_is_told_with_what_to_give() -> None:
    books, posts, diffs = heard(("A", "trade"), ("B", "book"), ("B", "trade"), diffs_unused=7).lacks()
    assert books.startswith("A: no order books") and "begins with its snapshot" in books
    assert posts.startswith("A, B: no posts")
    assert diffs.startswith("7 changes of a book") and "the file before, which has the snapshot" in diffs
    assert list(heard(("A", "trade"), ("A", "book"), ("A", "social")).lacks()) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bars.csv", "time,open,high,low,close\n", "bars"),
        ("trades.csv", "time,price,size\n", "--symbol"),
        ("a.pdf", "%PDF-1.7", "a PDF document"),
        ("folder", None, "is a folder"),
        ("gone.jsonl", "", "gone.jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_before_any_server_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, told: str
) -> None:
    path = tmp_path / name
    if text is None:
        path.mkdir()
    elif text:
        path.write_text(text)
    assert main(["demo", str(path)]) == 2
    out, err = capsys.readouterr()
    assert told in err and out == ""


def test_the_demo_waits_for_the_scorer_until_it_asks_for_posts(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 500:  # more than any patience
            redis_client.xgroup_create(keys.SOCIAL, keys.GROUP, mkstream=True)
            redis_client.xreadgroup(keys.GROUP, keys.CONSUMER, {keys.SOCIAL: ">"})

    monkeypatch.setattr(feed_module.time, "sleep", sleep)
    Feed(redis_client, settings.load({}), Processes([]), Console(file=io.StringIO())).wait_for("scorer")
    assert len(waits) == 500


def test_the_demo_waits_while_the_kernels_compile_and_gives_up_on_a_worker_that_stands_still(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    worker = Member(redis_client, "worker", range(4))

    def sleep(_: float) -> None:
        now_s[0] += 100.0
        if now_s[0] == 1000.0:  # compiled after a quarter of an hour
            worker.beat()

    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(feed_module.time, "sleep", sleep)
    redis_client.xadd(keys.events(0), {"data": b""})
    feed = Feed(redis_client, settings.load({}), Processes([]), Console(file=io.StringIO()))
    with pytest.raises(DemoError, match="stands still"):
        feed.wait()
    assert now_s[0] == 1100.0  # the worker began before 1000 s, and 180 s after 900 s are over
    redis_client.delete(keys.events(0))
    feed.wait_for("worker")
    assert now_s[0] == 1100.0
