"""A capture damaged in twelve ways loses nothing else, and every refused message is kept, whole, with the right reason."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter

from ingest.replay import replay
from ingest.simulate import history
from ingest.streams.backlog import counters

T0 = 1_700_000_000_000
DAMAGE = {
    "truncated": "undecodable",
    "missing": "missing_field",
    "nan": "not_finite",
    "negative": "not_positive",
    "swapped": "unsorted_side",
    "crossed": "crossed_book",
    "duplicate": "duplicate",
    "gap": "sequence_gap",
    "future": "future_time",
    "type": "wrong_type",
    "huge": "out_of_range",
    "encoding": "undecodable",
}
"""The damage, and the reason for which it must be refused."""


def lines() -> list[dict]:
    """A simulated market as JSON lines; trades at least 2 ms apart from books, so that order is plain."""
    out = []
    for kind, message in history(T0, T0 + 600_000, symbols=("SIM-BTC",), seed=3, kinds=("book", "trade")):
        stream = "order_book" if kind == "book" else "market_data"
        out.append({"stream": stream, **{f: getattr(message, f) for f in message.__struct_fields__}})
    return out


def damaged(kind: str, line: dict) -> bytes | None:
    """The damaged line, None where this damage does not fit this message."""
    book = line["stream"] == "order_book"
    whole = json.dumps(line).encode()
    if kind == "truncated":
        return whole[: len(whole) // 2]
    if kind == "missing":
        return json.dumps({k: v for k, v in line.items() if k != ("bids" if book else "price")}).encode()
    if kind == "encoding":
        return whole.replace(b"SIM-BTC", b"SIM-\xff\xfe", 1)
    if kind == "future":
        return json.dumps({**line, "timestamp": line["timestamp"] + 86_400_000}).encode()
    if kind == "type":
        return json.dumps({**line, "asks" if book else "size": {"a": 1}}).encode()
    if book:
        side = [list(level) for level in line["bids"]]
        if kind == "nan":
            side[3][1] = float("nan")
        elif kind == "negative":
            side[2][1] = -side[2][1]
        elif kind == "huge":
            side[0][1] = 1e300
        elif kind == "crossed":
            side[0][0] = line["asks"][0][0] + 1
        elif kind == "swapped":
            return json.dumps({**line, "bids": line["asks"], "asks": line["bids"]}).encode()
        elif kind == "gap":
            return json.dumps({**line, "sequence": line["sequence"] + 1000}).encode()
        else:
            return None
        return json.dumps({**line, "bids": side}).encode()
    changed = {"nan": ("price", float("nan")), "negative": ("size", -line["size"]), "huge": ("price", 10**400)}
    if kind in changed:
        field, value = changed[kind]
        return json.dumps({**line, field: value}).encode()
    return whole if kind == "duplicate" else None


def test_damage_is_refused_with_its_reason_and_nothing_else_is_lost(pipeline, tmp_path):
    rng = random.Random(8)
    sound = lines()
    expected: Counter[str] = Counter()
    written: list[bytes] = []
    harmed = 0
    for i, line in enumerate(sound):
        kind = list(DAMAGE)[harmed % 12]
        # every damaged line is one more line: a copy beside its sound original, so what is lost is plain to see
        bad = damaged(kind, line) if i > 5 and rng.random() < 0.9 and harmed < 1000 else None
        if bad is not None and kind not in ("gap", "duplicate"):
            written.append(bad)
        if bad is None or kind != "gap":
            written.append(json.dumps(line).encode())
        if bad is not None and kind == "duplicate":
            written.append(bad)
        if bad is not None and kind == "gap":
            written.append(bad)  # in the place of the sound one: a message before it is missing
        if bad is not None:
            harmed += 1
            expected[DAMAGE[kind]] += 1
    assert harmed == 1000
    path = tmp_path / "damaged.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(written) + b"\n"))

    replay([path], pipeline.client, pipeline.settings)
    pipeline.run()

    letters = pipeline.letters()
    assert Counter(fields[b"reason"].decode() for fields in letters) == expected
    counts = counters(pipeline.client, pipeline.settings.partitions)
    n_gaps = expected["sequence_gap"]
    books, trades = (sum(line["stream"] == s for line in sound) for s in ("order_book", "market_data"))
    assert counts["accepted.trade"] == trades
    assert counts["accepted.book"] == books - n_gaps
