"""The file of the instruments: one TOML table a symbol, with the fields of an instrument as its keys.

>>> from tempfile import NamedTemporaryFile
>>> with NamedTemporaryFile("w+", suffix=".toml") as file:
...     _ = file.write('["OKX:BTC-USDT-SWAP"]\\ncontract_size = 0.01\\n')
...     file.flush()
...     read(Path(file.name))["OKX:BTC-USDT-SWAP"].contract_size
0.01
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import msgspec

from transforms.instrument import Instrument, known

KEYS = tuple(field.name for field in fields(Instrument))


def read(path: Path) -> dict[str, Instrument]:
    """Return the instruments of a file, each with what its name tells besides.

    Raise ``OSError`` if it cannot be read, and ``ValueError`` with the symbol and the key if it says what no instrument has.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f'{error}; a name with other signs than letters, digits, - and _ stands in quotes, as in ["BINANCE-FUTURES:BTCUSDT"]'
        ) from None
    return {symbol: _instrument(symbol, table) for symbol, table in tables.items()}


def _instrument(symbol: str, table: Any) -> Instrument:
    if not isinstance(table, dict):
        raise ValueError(f"{symbol:.80} is no table: write [{symbol:.80}], and a line for each key")
    if unknown := [key for key in table if key not in KEYS]:
        quoted = ", and a name with a dot stands in quotes" if isinstance(table[unknown[0]], dict) else ""
        raise ValueError(f"{symbol:.80} has no key {unknown[0]:.80}; the keys are {', '.join(KEYS)}{quoted}")
    try:
        about = msgspec.convert({**asdict(known(symbol)), **table}, Instrument)
    except msgspec.ValidationError as error:
        what, _, key = str(error).partition(" - at `$.")
        raise ValueError(f"{symbol:.80}: {key.rstrip('`') + ': ' if key else ''}{what}") from None
    for key in ("vpin_bucket", "profile_row"):
        value = getattr(about, key)
        if value is not None and not 0.0 < value < math.inf:
            raise ValueError(f"{symbol:.80}: {key} {value} must be a finite positive number")
    if symbol in (about.leader, about.pair):
        raise ValueError(f"{symbol:.80} names itself as leader or pair")
    return about
