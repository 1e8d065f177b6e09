"""Every setting, read once at the edge from ``TFS_*`` variables into one frozen object that is passed down."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_repo.stores.errors import UserError
from transforms.instrument import Instrument


class SettingsError(UserError, ValueError):
    """A setting that cannot be; the message names the variable and what it may be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this deployment runs. Times are milliseconds, as in the variables' names.

    Attributes
    ----------
    partitions:
        Number of logs; fixed for a deployment, checked at start. ``TFS_PARTITIONS``
    emit_interval_ms:
        The grid: 100, 200, 250, 500, or whole seconds up to a minute. ``TFS_EMIT_INTERVAL_MS``
    allowed_lateness_ms:
        How far behind the newest book or trade of its symbol a message may come. ``TFS_ALLOWED_LATENESS_MS``
    idle_after_ms:
        Quiet for so long, a symbol's time passes by the owner's clock. ``TFS_IDLE_AFTER_MS``
    flush_interval_ms:
        Longest wait of a finished row. ``TFS_FLUSH_INTERVAL_MS``
    max_future_ms:
        How far a message may be stamped ahead of its receive time. ``TFS_MAX_FUTURE_MS``
    features_maxlen:
        Entries, about, that a stream ``features:{p}`` keeps: its readers are independent, so nothing says that one was read.
        ``TFS_FEATURES_MAXLEN``
    log_history_s:
        Seconds of a log that stay behind what was taken: kernels of another version then begin with so much of the past.
        ``TFS_LOG_HISTORY_S``
    symbols:
        The symbols taken, comma-separated; empty takes all. ``TFS_SYMBOLS``
    max_symbols:
        Symbols that may be open in one partition, so that a producer of invented names cannot fill the memory. ``TFS_MAX_SYMBOLS``
    instruments:
        What is known of symbols beforehand. ``TFS_INSTRUMENTS`` names the file
    aliases:
        File of the names by which posts call symbols; None takes the table that comes with the project. ``TFS_ALIASES``
    sentiment_model, sentiment_revision:
        A hub id, a folder, or ``embedded``. ``SENTIMENT_MODEL``, ``SENTIMENT_REVISION``
    """

    partitions: int = 4
    emit_interval_ms: int = 1000
    allowed_lateness_ms: int = 250
    idle_after_ms: int = 2000
    flush_interval_ms: int = 50
    max_future_ms: int = 5000
    features_maxlen: int = 100_000
    log_history_s: int = 0
    symbols: frozenset[str] = frozenset()
    max_symbols: int = 1000
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    aliases: Path | None = None
    sentiment_model: str = "ProsusAI/finbert"
    sentiment_revision: str | None = None

    def instrument(self, symbol: str) -> Instrument:
        """Settings of one symbol; the defaults where nothing is known."""
        return self.instruments.get(symbol) or Instrument()

    @property
    def emit_us(self) -> int:
        """Grid interval in microseconds."""
        return self.emit_interval_ms * 1000


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in ``environ``.

    Raises
    ------
    SettingsError
        A value that cannot be, or an instruments file that cannot be read.
    """
    default = Settings()
    emit = _integer(environ, "TFS_EMIT_INTERVAL_MS", default.emit_interval_ms, 100, 60_000)
    if emit not in (100, 200, 250, 500) and emit % 1000:
        raise SettingsError(f"TFS_EMIT_INTERVAL_MS={emit}: must be 100, 200, 250, 500 or whole seconds")
    aliases = environ.get("TFS_ALIASES")
    return Settings(
        partitions=_integer(environ, "TFS_PARTITIONS", default.partitions, 1, 4096),
        emit_interval_ms=emit,
        allowed_lateness_ms=_integer(environ, "TFS_ALLOWED_LATENESS_MS", default.allowed_lateness_ms, 0, 60_000),
        idle_after_ms=_integer(environ, "TFS_IDLE_AFTER_MS", default.idle_after_ms, 100, 3_600_000),
        flush_interval_ms=_integer(environ, "TFS_FLUSH_INTERVAL_MS", default.flush_interval_ms, 1, 10_000),
        max_future_ms=_integer(environ, "TFS_MAX_FUTURE_MS", default.max_future_ms, 0, 86_400_000),
        features_maxlen=_integer(environ, "TFS_FEATURES_MAXLEN", default.features_maxlen, 1, 1_000_000_000),
        log_history_s=_integer(environ, "TFS_LOG_HISTORY_S", default.log_history_s, 0, 31 * 86_400),
        symbols=frozenset(s for s in environ.get("TFS_SYMBOLS", "").split(",") if s),
        max_symbols=_integer(environ, "TFS_MAX_SYMBOLS", default.max_symbols, 1, 1_000_000),
        instruments=instruments(Path(environ.get("TFS_INSTRUMENTS") or Path(__file__).with_name("instruments.toml"))),
        aliases=Path(aliases) if aliases else None,
        sentiment_model=environ.get("SENTIMENT_MODEL") or default.sentiment_model,
        sentiment_revision=environ.get("SENTIMENT_REVISION") or None,
    )


def instruments(path: Path) -> dict[str, Instrument]:
    """The instruments that a TOML file describes, a table a symbol.

    Raises
    ------
    SettingsError
        The file cannot be read, or says what an instrument has not.
    """
    try:
        tables = tomllib.loads(path.read_text())
        return {symbol: Instrument(**table) for symbol, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise SettingsError(f"TFS_INSTRUMENTS={path}: {error}") from error


def _integer(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r:.40}: must be a whole number") from None
    if not low <= value <= high:
        raise SettingsError(f"{name}={value}: must be from {low} to {high}")
    return value
