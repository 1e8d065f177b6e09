"""Sessions of the simulated symbols that open with their history: a session that began hours before it would have no values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from ingest.settings import Settings


def write_instruments(path: Path, settings: Settings, symbols: Sequence[str], begin: datetime) -> None:
    """Write a file for `TFS_INSTRUMENTS`: the instruments of ``settings``, those of ``symbols`` with sessions that open at ``begin``."""
    opening = begin.astimezone(UTC).strftime("%H:%M")
    instruments = dict(settings.instruments)
    for symbol in symbols:
        instruments[symbol] = replace(settings.instrument(symbol), session_timezone="UTC", session_open=opening)
    lines = []
    for symbol, instrument in instruments.items():
        lines.append(f"[{json.dumps(symbol)}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in asdict(instrument).items() if value is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
