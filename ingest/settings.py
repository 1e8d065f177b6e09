"""Every setting of ``ingest``: read once from the environment into one frozen object that is passed down.

No other module of ``ingest`` reads the environment. Below it, ``feature_repo.stores.endpoints`` reads where the servers and the data
folder are, which Feast needs without ``ingest``, and ``transforms.kernel`` reads how kernels are compiled and cached.
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_repo.stores.endpoints import LAKE_VARIABLE, place_of
from feature_repo.stores.errors import UserError
from feature_repo.stores.nodes import AddressError
from ingest.instruments import read
from transforms.context.layout import Neighbours, neighbours
from transforms.instrument import Instrument, known

# Threads of OpenMP, which torch computes with, wait for each other at the end of each matrix product. By default they wait busily, and on a
# machine that has other work each waiter takes the processor from the thread that it waits for: a text then costs fifteen times as much.
# OpenMP reads this once, when torch is loaded. So it is set when the first module of this package is imported. A user's own value stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PARTITIONS_MOST = 4096
DEFAULT_MODEL = "ProsusAI/finbert"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z").match
_PASSED_ON = ("TFS_", "SENTIMENT_", "HF_")
"""How the names of the variables begin that parts of the pipeline on other machines are given."""


class SettingsError(UserError, ValueError):
    """A setting has an impossible value; the message names the variable and the values that it may have."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this deployment runs. The comment above each field names the variable that sets it. Times are milliseconds, as the names say."""

    # TFS_PARTITIONS: how many logs; fixed by the first start of a deployment, and raised by `ingest partitions` alone
    partitions: int = 4
    # no variable: TFS_PARTITIONS as it was set, where `partitions` was raised since; 0 where it was not
    configured: int = 0
    # TFS_DEPLOYMENT: name of the deployment; empty takes the one that its Redis and its database hold
    deployment: str = ""
    # TFS_REDIS_REPLICAS: how many replicas of Redis must have a commit or what is published before it counts as done
    redis_replicas: int = 0
    # TFS_EMIT_INTERVAL_MS: the grid; 100, 200, 250, 500, or whole seconds up to a minute
    emit_interval_ms: int = 1000
    # TFS_ALLOWED_LATENESS_MS: how far a message may lie behind the newest book or trade of its symbol
    allowed_lateness_ms: int = 250
    # TFS_IDLE_AFTER_MS: after this much silence of a symbol, the owner's clock advances its time
    idle_after_ms: int = 2000
    # TFS_RECOVER_S: how long missing trades are asked for, and time is held for a symbol whose feed is not heard; 0 does neither
    recover_s: int = 20
    # TFS_FLUSH_INTERVAL_MS: longest wait of a finished row
    flush_interval_ms: int = 50
    # TFS_MAX_FUTURE_MS: how far a message's time may lie ahead of its receive time
    max_future_ms: int = 5000
    # TFS_MAX_AGE_MS: how far a live message's time may lie behind its receive time; recordings may be as old as they are
    max_age_ms: int = 86_400_000
    # TFS_FEATURES_MAXLEN: about how many entries a stream features:{p} keeps. Its readers are independent, so the stream cannot know
    # what was read.
    features_maxlen: int = 100_000
    # TFS_LOG_HISTORY_S: seconds of a log that are kept after they were processed; kernels of another version begin with them
    log_history_s: int = 0
    # TFS_SYMBOLS: the accepted ones, with commas or spaces between; empty accepts all
    symbols: frozenset[str] = frozenset()
    # TFS_MAX_SYMBOLS: how many may be open in one partition, so that a producer of invented names cannot fill the memory
    max_symbols: int = 1000
    # TFS_FORGET_S: a symbol that was not heard for so long leaves the memory of the worker; its state goes to the tape, else stays in Redis
    forget_s: int = 3600
    # TFS_PACKED_ONLY: 1 writes online rows without the fields that stock Feast reads
    packed_only: bool = False
    # TFS_INSTRUMENTS: file of what is known of symbols beforehand
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    # TFS_ALIASES: file of the names by which posts call symbols; None is the project's table
    aliases: Path | None = None
    # TFS_TAPE: where every message is kept for good, a folder or s3://bucket/prefix; empty keeps none. S3 is reached as the variables
    # AWS_* say, which deltalake reads itself
    tape: str = ""
    # TFS_IDLE_TO_TAPE: 1 moves the states of symbols that left the memory from Redis to the tape; every worker must reach that
    idle_to_tape: bool = True
    # SENTIMENT_MODEL: a hub id, a folder, or "embedded"
    sentiment_model: str = DEFAULT_MODEL
    # SENTIMENT_REVISION: the commit of a hub id; None is the pinned one
    sentiment_revision: str | None = None
    # TFS_WEBHOOK_TOKEN: what callers of "feed posts" must send; never shown
    webhook_token: str = field(default="", repr=False)
    # TFS_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR
    log_level: str = "INFO"

    @property
    def number(self) -> str:
        """What a log says that takes entries of this number of partitions (``keys.number``): nothing where it was never raised."""
        return str(self.partitions) if self.configured else ""

    def instrument(self, symbol: str) -> Instrument:
        """Return what the instruments file or its name tells of a symbol, or the defaults."""
        return self.instruments.get(symbol) or known(symbol)

    def neighbours(self, symbol: str) -> Neighbours | None:
        """Return whose rows a symbol is given: those of its leader, of its pair and of the other instruments of its asset, by name."""
        about = self.instrument(symbol)
        every = self.instruments.items() if about.asset else ()
        venues = sorted(name for name, other in every if other.asset == about.asset and name != symbol)
        return neighbours(about.leader, about.pair, venues)

    def followers(self) -> dict[str, list[str]]:
        """Return the symbols that are given the rows of each that others name, as ``neighbours`` has them."""
        of_asset: defaultdict[str, list[str]] = defaultdict(list)
        for name, about in self.instruments.items():
            of_asset[about.asset].append(name)
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name, about in sorted(self.instruments.items()):
            for other in {about.leader, about.pair, *(of_asset[about.asset] if about.asset else ())} - {"", name}:
                if not self.symbols or name in self.symbols:
                    found[other].append(name)
        return dict(found)

    def unheard(self, heard: Collection[str]) -> list[str]:
        """Return a sentence about each symbol that one of ``heard`` follows and that is not among them itself."""
        found = {name: [one for one in followers if one in heard] for name, followers in self.followers().items()}
        return [
            f"{name}: not heard, and {', '.join(some[:5])} of the instruments file {'follows' if len(some) == 1 else 'follow'} it"
            for name, some in sorted(found.items())
            if some and name not in heard
        ]

    def is_known(self, symbol: str) -> bool:
        """Return whether the settings name a symbol; others can be invented by a producer, and only so many may be open."""
        return symbol in self.symbols or symbol in self.instruments

    @property
    def emit_us(self) -> int:
        """Grid interval in microseconds."""
        return self.emit_interval_ms * 1000


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in ``environ``. Raise `SettingsError` if a value is impossible or the instruments file cannot be read."""
    default = Settings()
    emit = _integer(environ, "TFS_EMIT_INTERVAL_MS", default.emit_interval_ms, 100, 60_000)
    if emit not in (100, 200, 250, 500) and emit % 1000:
        raise SettingsError(f"TFS_EMIT_INTERVAL_MS={emit}: must be 100, 200, 250, 500 or whole seconds")
    aliases = environ.get("TFS_ALIASES")
    model, revision = sentiment_model(environ)
    return Settings(
        partitions=_integer(environ, "TFS_PARTITIONS", default.partitions, 1, PARTITIONS_MOST),
        deployment=_deployment(environ),
        redis_replicas=_integer(environ, "TFS_REDIS_REPLICAS", default.redis_replicas, 0, 5),
        emit_interval_ms=emit,
        allowed_lateness_ms=_integer(environ, "TFS_ALLOWED_LATENESS_MS", default.allowed_lateness_ms, 0, 60_000),
        idle_after_ms=_integer(environ, "TFS_IDLE_AFTER_MS", default.idle_after_ms, 100, 3_600_000),
        recover_s=_integer(environ, "TFS_RECOVER_S", default.recover_s, 0, 600),
        flush_interval_ms=_integer(environ, "TFS_FLUSH_INTERVAL_MS", default.flush_interval_ms, 1, 10_000),
        max_future_ms=_integer(environ, "TFS_MAX_FUTURE_MS", default.max_future_ms, 0, 86_400_000),
        max_age_ms=_integer(environ, "TFS_MAX_AGE_MS", default.max_age_ms, 1000, 3650 * 86_400_000),
        features_maxlen=_integer(environ, "TFS_FEATURES_MAXLEN", default.features_maxlen, 1, 1_000_000_000),
        log_history_s=_integer(environ, "TFS_LOG_HISTORY_S", default.log_history_s, 0, 31 * 86_400),
        symbols=frozenset(environ.get("TFS_SYMBOLS", "").replace(",", " ").split()),
        max_symbols=_integer(environ, "TFS_MAX_SYMBOLS", default.max_symbols, 1, 1_000_000),
        forget_s=_integer(environ, "TFS_FORGET_S", default.forget_s, 1, 365 * 86_400),
        packed_only=bool(_integer(environ, "TFS_PACKED_ONLY", default.packed_only, 0, 1)),
        instruments=instruments(Path(environ.get("TFS_INSTRUMENTS") or Path(__file__).with_name("instruments.toml"))),
        aliases=Path(aliases) if aliases else None,
        tape=_tape(environ),
        idle_to_tape=bool(_integer(environ, "TFS_IDLE_TO_TAPE", default.idle_to_tape, 0, 1)),
        sentiment_model=model,
        sentiment_revision=revision,
        webhook_token=environ.get("TFS_WEBHOOK_TOKEN", ""),
        log_level=log_level(environ),
    )


def log_level(environ: Mapping[str, str] = os.environ) -> str:
    """Return the log level; every command needs it, also those that need no other setting."""
    level = environ.get("TFS_LOG_LEVEL") or "INFO"
    if level not in logging.getLevelNamesMapping():
        raise SettingsError(f"TFS_LOG_LEVEL={level!r:.40}: must be DEBUG, INFO, WARNING or ERROR")
    return level


def sentiment_model(environ: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """Return the name and the revision of the sentiment model."""
    return environ.get("SENTIMENT_MODEL") or DEFAULT_MODEL, environ.get("SENTIMENT_REVISION") or None


def environment(**changed: str) -> dict[str, str]:
    """Return the environment of this process with changes, for a child process."""
    return {**os.environ, **changed}


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``environ`` that parts of the pipeline on other machines are given; no other secret leaves this one.

    Those of S3 (``AWS_*``) are among them where the tape or the lake is there.
    """
    on_s3 = any(environ.get(name, "").startswith("s3://") for name in ("TFS_TAPE", LAKE_VARIABLE))
    names = (*_PASSED_ON, "AWS_") if on_s3 else _PASSED_ON
    return {name: value for name, value in environ.items() if name.startswith(names)}


def s3_address(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return where S3 is, as Arrow names it, from the variables that deltalake reads; Arrow reads the keys itself."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((environ[name] for name in names if environ.get(name)), "")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    scheme, _, address = endpoint.rpartition("://")
    found = {"endpoint_override": address.rstrip("/"), "scheme": scheme or "https"} if endpoint else {}
    return {**found, "region": region} if region else found


def adopt(environ: Mapping[str, str]) -> None:
    """Make variables that were passed on part of this process's environment, for a process that another machine started."""
    os.environ.update(environ)


def instruments(path: Path) -> dict[str, Instrument]:
    """Return the instruments of the file that TFS_INSTRUMENTS names; raise `SettingsError` if it cannot be read."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"TFS_INSTRUMENTS={path}: {error}") from error


def _tape(environ: Mapping[str, str]) -> str:
    try:
        return place_of("TFS_TAPE", environ.get("TFS_TAPE", ""))
    except AddressError as error:
        raise SettingsError(str(error)) from None


def _deployment(environ: Mapping[str, str]) -> str:
    name = environ.get("TFS_DEPLOYMENT", "")
    if name and not _NAME(name):
        raise SettingsError(f"TFS_DEPLOYMENT={name!r:.80}: must be 1 to 64 letters, digits and . _ -")
    return name


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
