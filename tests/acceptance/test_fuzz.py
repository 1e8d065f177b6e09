"""Whatever bytes come, each entry is counted once: taken, or refused with a reason and kept as it came."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import redis

from ingest import router, settings
from ingest.messages.decode import encode
from ingest.messages.kinds import Clock, Gap, Hold, MicropriceTable, ScoredPost, SocialPost, Tick, time_us
from ingest.messages.refusal import Reason
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.simulate import history
from ingest.streams import keys
from ingest.streams.dead_letters import dead_letter
from ingest.worker.partition import Partition
from transforms.microstructure.layout import G_SIZE

ENTRIES = int(os.environ.get("TFS_FUZZ_ENTRIES", "12000"))
T0 = 1_700_000_000_000
Fields = dict[bytes, bytes]
KINDS = (b"book", b"trade", b"post", b"tick", b"clock", b"hold", b"gap", b"microprice")
NUMBERS = (
    "0",
    "-1",
    "1e400",
    "NaN",
    "-Infinity",
    "1e-320",
    "9" * 400,
    "true",
    "null",
    '"1.5"',
    '"x"',
    "9" * 5000,
    '"' + "9" * 5000 + '"',
    '"\\ud800"',
    "[]",
    "{}",
    "1e15",
    "0.1",
)
WORDS = (
    b"bids",
    b"asks",
    b"price",
    b"size",
    b"symbol",
    b"timestamp",
    b"timestamp_us",
    b"sequence",
    b"trade_id",
    b"received",
    b"side",
    b"table",
)


def good(start: int) -> list[Fields]:
    """Entries of a minute that a worker takes: every kind, in each of the three forms."""
    out: list[Fields] = []
    for n, (kind, message) in enumerate(history(start, start + 60_000, symbols=("A", "B"), seed=5)):
        if isinstance(message, SocialPost):
            score: dict[str, Any] = {
                "available": message.received,
                "simhash": 5,
                "positive": 0.5,
                "negative": 0.25,
                "neutral": 0.25,
            }
            out += forms("post", ScoredPost(message.timestamp, "A", message.id, **score))
            continue
        if n % 7 == 0:
            message.timestamp, message.timestamp_us = 0, message.timestamp * 1000 + n % 1000
        out.append(forms(kind, message)[n % 3])
        if n % 50 == 0:
            at = time_us(message) // 1000
            table = MicropriceTable(
                at, "A", n + 1, at - 1, at, 0.5, [0.25, None] * (G_SIZE // 2) + [0.0] * (G_SIZE % 2)
            )
            out += forms("clock", Clock(at, ["A", "B", "NEVER"])) + forms("hold", Hold(at, "A", at + 1000))
            out += forms("tick", Tick(at - 1000, "A")) + forms("gap", Gap(at, "B")) + forms("microprice", table)
    return out


def forms(kind: str, message: Any) -> list[Fields]:
    """A message as MessagePack, as JSON and flat."""
    known = {name: getattr(message, name) for name in message.__struct_fields__}
    flat = {k.encode(): v.encode() if isinstance(v, str) else json.dumps(v).encode() for k, v in known.items()}
    named = {b"kind": kind.encode()}
    return [{**named, b"data": encode(message)}, {**named, b"data": json.dumps(known).encode()}, {**named, **flat}]


def damage(fields: Fields, r: random.Random, others: list[Fields]) -> Fields:
    """The entry, a little or wholly destroyed."""
    out = dict(fields)
    name = r.choice([k for k in out if k != b"kind"] or list(out))
    data = bytearray(out[name])
    way = r.randrange(10)
    if way == 0:
        out[name] = r.randbytes(r.randrange(200))
    elif way == 1 and data:
        for _ in range(r.randrange(1, 6)):
            data[r.randrange(len(data))] = r.randrange(256)
        out[name] = bytes(data)
    elif way == 2:
        out[name] = bytes(data[: r.randrange(len(data) + 1)])
    elif way == 3:
        out[name] = bytes(data) + r.randbytes(r.randrange(1, 20))
    elif way == 4:
        other = r.choice(others).get(name, b"")
        out[name] = bytes(data[: r.randrange(len(data) + 1)]) + other[r.randrange(len(other) + 1) :]
    elif way == 5:
        out[b"kind"] = r.choice((*KINDS, b"", b"book\x00", r.randbytes(5)))
    elif way == 6:
        del out[name]
    elif way == 7:
        out[r.choice((*WORDS, b"data", b"recorded", r.randbytes(8)))] = r.choice(
            (*NUMBERS, "[[1,2]]", "[[NaN,1]]")
        ).encode()
    elif way == 8:  # another number where one stands
        text = bytes(data)
        at = [i for i, c in enumerate(text) if c in b"0123456789"]
        if at:
            i = r.choice(at)
            out[name] = text[:i] + r.choice(NUMBERS).encode() + text[i + 1 :]
    else:
        depth = r.choice((3, 2000, 100_000))
        out[name] = r.choice((b"[" * depth, b"\x91" * depth, b'{"a":' * depth, b"\x81\xa1a" * depth))
    return out


def entries(n: int, seed: int) -> Iterator[tuple[bytes, Fields]]:
    """Minute after minute of good entries, two in three of them damaged; what is late in one is forgotten in the next."""
    r = random.Random(seed)
    for minute in count():
        start = T0 + minute * 62_000
        whole = good(start)
        for i, fields in enumerate(whole[:n]):
            yield b"%d-%d" % (start + 61_000, i + 1), fields if i % 3 == 0 else damage(fields, r, whole)
        n -= len(whole)
        if n <= 0:
            return


def test_every_entry_of_garbage_is_counted_once_and_kept_where_it_is_refused() -> None:
    conf = settings.load({"TFS_PARTITIONS": "1", "TFS_MAX_SYMBOLS": "50"})
    partition = Partition(0, conf)
    counts: Counter[str] = Counter()
    refused: Counter[bytes] = Counter()
    sent: dict[bytes, Fields] = {}
    checkpoint: dict[bytes, bytes] = {}
    for n, (entry_id, fields) in enumerate(entries(ENTRIES, 1), 1):
        sent[entry_id] = fields
        partition.process(entry_id, fields, now_us=int(entry_id[:13]) * 1000)
        if n % 5000 == 0 or n == ENTRIES:
            pending = partition.take_pending()
            counts.update(pending.counts)
            for (dead_id, kept), why in pending.dead:
                refused[dead_id] += 1
                assert sent[dead_id] == kept
                assert why.reason is not Reason.FAILED, (kept, why.detail)
            held = {
                envelope.origin[0] for symbol in partition.symbols.values() for *_, envelope in symbol.timeline.held
            }
            sent = {k: v for k, v in sent.items() if k in held}
            checkpoint.update(partition.save())
            again = Partition(0, conf)
            assert not again.restore(checkpoint)  # hostile messages leave a state that can be read again
            partition = again
    taken = sum(n for name, n in counts.items() if name.startswith("accepted."))
    assert taken + sum(n for name, n in counts.items() if name.startswith("refused.")) == ENTRIES
    assert set(refused.values()) == {1}
    assert sum(refused.values()) == ENTRIES - taken
    assert taken > ENTRIES // 10 < sum(refused.values())
    assert {f"accepted.{kind.decode()}" for kind in KINDS} <= set(counts)


def test_the_router_moves_or_refuses_each_entry_of_garbage() -> None:
    for entry_id, fields in entries(ENTRIES // 4, 2):
        place, record = router._record("order_book", entry_id, fields, 4)
        assert (record.source, b"%d-%d" % record.position) == ("order_book", entry_id)
        words = record.words
        if place == keys.EDGE:
            reason = words[1]
            assert reason != Reason.FAILED, (fields, words)
            assert words == dead_letter("order_book", entry_id, fields, reason, words[3])
        else:
            assert dict(zip(words[::2], words[1::2], strict=True)) == {**fields, b"kind": "book"}
            assert place in range(4)


class Neutral:
    """A model to which every text is neutral."""

    name, revision, window, tokens_read = "neutral", "1", 64, 0

    def score(self, texts: Sequence[str]) -> list[tuple[float, float, float] | None]:
        return [(0.0, 0.0, 1.0) for _ in texts]


def posts() -> list[Fields]:
    out: list[Fields] = []
    for i in range(100):
        named = ["BTCUSDT", "A"] if i % 2 else None
        out += forms(
            "", SocialPost(T0 + i, f"p{i}", "bitcoin is up $BTC", "x", "me", 3, 1, 0, 9, T0 + i, named, T0 + i)
        )
    return [{k: v for k, v in fields.items() if k != b"kind" and v != b"null"} for fields in out]


def test_the_scorer_takes_or_refuses_each_post_of_garbage() -> None:
    scorer = Scorer(
        redis.Redis(), Neutral(), settings.load({}), History(None), now_ms=lambda: T0 + 1000
    )  # never connects
    r, whole = random.Random(3), posts()
    reasons: Counter[str] = Counter()
    for i in range(ENTRIES // 4):
        fields = whole[i % len(whole)] if i % 3 == 0 else damage(whole[i % len(whole)], r, whole)
        records, _ = scorer.score([("social_data", b"%d-0" % T0, fields)])
        reason = records[0][1].words[1] if records[0][0] == keys.EDGE else ""
        reasons[reason] += 1
        assert reason != Reason.FAILED, (fields, records)
        for p, (_, _, words) in records:
            entry = {k.encode() if isinstance(k, str) else k: v for k, v in zip(words[::2], words[1::2], strict=True)}
            if reason:
                assert words == dead_letter("social_data", b"%d-0" % T0, fields, reason, words[3])
            else:  # the worker takes what the scorer gives, unless it was received long before it was written
                kept = {k: v.encode() if isinstance(v, str) else v for k, v in entry.items()}
                worker = Partition(p, settings.load({}))
                worker.process(b"%d-0" % (T0 + 1000), kept, 0)
                assert [why.reason for _, why in worker.pending.dead] in ([], [Reason.FUTURE_TIME]), fields
    assert reasons[""] > ENTRIES // 12
    assert len(reasons) > 5
