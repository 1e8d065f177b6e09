"""Lines of raw captures, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Output, Parsed, Rejected
from ingest.recordings.recording import Recording

T0 = 1_723_161_255_000
"""Milliseconds; ``at`` below counts from here."""


def raw(at: int, data: dict[str, Any]) -> str:
    """A line that was received ``at`` milliseconds after `T0`."""
    return f"{(T0 + at) * 1_000_000} {json.dumps(data)}\n"


def diff(at: int, symbol: str, first: int, last: int, bid: str = "99", **more: Any) -> str:
    data = {"e": "depthUpdate", "E": T0 + at, "s": symbol, "U": first, "u": last, "b": [[bid, "1"]], "a": []}
    return raw(at, {**data, **more})


def snapshot(at: int, last: int, bid: str, ask: str) -> str:
    return raw(at, {"lastUpdateId": last, "bids": [[bid, "1"]], "asks": [[ask, "1"]]})


def trade(at: int, number: int, size: float = 1, symbol: str = "BTCUSDT", **more: Any) -> str:
    data = {"e": "trade", "E": T0 + at, "s": symbol, "t": number, "p": "100", "q": str(size), "T": T0 + at, "m": True}
    return raw(at, {**data, **more})


def aggregate(
    at: int, number: int, first: int, last: int, size: float = 1, symbol: str = "BTCUSDT", **more: Any
) -> str:
    data = {"e": "aggTrade", "s": symbol, "a": number, "p": "100", "q": str(size), "f": first, "l": last, "T": T0 + at}
    return raw(at, {**data, "m": True, **more})


def written(folder: Path, **files: str) -> list[Path]:
    """Files ``<name>.jsonl`` with these texts."""
    for name, text in files.items():
        (folder / f"{name}.jsonl").write_text(text)
    return [folder / f"{name}.jsonl" for name in files]


def read(paths: list[Path], columns: GivenColumns = COMMON) -> tuple[list[Any], list[str], Recording]:
    """The messages of the market, the reasons of what is refused, and the recording."""
    recording = Recording(paths, columns=columns)
    outputs: list[Output] = list(recording.market())
    messages = [o.message for o in outputs if isinstance(o, Parsed)]
    return messages, [str(o.reason) for o in outputs if isinstance(o, Rejected)], recording
