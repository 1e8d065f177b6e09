"""What ``status`` shows, gathered: plain values, so that ``--json`` and the screen show the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import islice
from typing import Any

import psycopg
import redis

from feature_repo.stores.offline.tables import upkeep
from feature_repo.stores.offline.tables.schema import table_of_view
from ingest.observe import online, redis_state
from ingest.observe.redis_state import RedisState
from ingest.settings import Settings
from ingest.streams import dead_letters, keys
from ingest.streams.backlog import EVENTS, OUTBOX, Stream, sum_up
from ingest.streams.dead_letters import shown
from ingest.streams.membership import SCORER, count_alive
from ingest.worker import missing, versions
from transforms.catalog import VIEWS

LETTERS = 1000  # the newest letters, whose reasons are counted
ERRORS = 5
SILENT = 100  # silent channels that are named, the longest silent first
DETAIL = 200


def snapshot(client: redis.Redis, settings: Settings, now_us: int) -> dict[str, Any]:
    """Return everything that Redis knows; ``freshness`` is an age in seconds by view and symbol, null where a view gave no row yet."""
    state = redis_state.look(client, settings.partitions, tape=bool(settings.tape))
    ages = online.ages(client, state.all_symbols, now_us)
    seen = sorted({symbol for about in ages for symbol in about.by_symbol})
    letters = list(dead_letters.newest(client, settings.partitions, count=LETTERS))
    return {
        "counts": dict(state.totals),
        "waiting": asdict(sum_up(state.streams)),
        "partitions": [_partition(state, p) for p in range(settings.partitions)],
        "processes": count_alive(state.silences),
        "kernels": versions.fleet(client, settings.partitions),
        "streams": [_stream(s, state) for s in state.streams if s.partition is None],
        "freshness": {
            about.view.name: {s: None if s not in about.by_symbol else about.by_symbol[s] / 1e6 for s in seen}
            for about in ages
        },
        "dead_letters": {
            "kept": state.dead_letters,
            "looked_at": len(letters),
            "by_reason": dict(Counter(shown(letter.reason, 40) for letter in letters).most_common()),
        },
        "last_errors": [
            {
                "letter": letter.id,
                "reason": shown(letter.reason, 40),
                "source": shown(letter.source, 80),
                "detail": shown(letter.detail, DETAIL),
            }
            for letter in letters[:ERRORS]
        ],
        "trades": {
            "holes": state.missed(missing.HOLES),
            "missing": state.missed(missing.MISSING),
            "recovered": state.missed(missing.RECOVERED),
            "by_symbol": {
                shown(name, 64): {what: n for what, n in facts.items() if what != missing.HELD_UNTIL}
                for name, facts in sorted(state.missing.items())
            },
        },
        "held_ms": {shown(name, 64): ms for name, ms in state.held.items()},
        "silent_channels_ms": {shown(name, 80): ms for name, ms in islice(state.silent.items(), SILENT)},
        "consistency": dict(state.consistency) or None,
        "tape": {"place": settings.tape, "behind_ms": state.untaped_ms} if settings.tape else None,
        "redis": {"memory_used": state.memory_used, "memory_limit": state.memory_limit},
    }


def _partition(state: RedisState, p: int) -> dict[str, Any]:
    lease = state.leases[p]
    by_name = {s.name: s for s in state.streams if s.partition == p}
    return {
        "partition": p,
        "owner": lease.token,
        "lease_left_ms": lease.left_ms,
        "leases_given": lease.given,
        "symbols": len(state.symbols[p]),
        "events": _stream(by_name[EVENTS], state),
        "outbox": _stream(by_name[OUTBOX], state),
    }


def _stream(stream: Stream, state: RedisState) -> dict[str, Any]:
    asked_ms = state.silences[SCORER].get(keys.CONSUMER) if stream.name == keys.SOCIAL else None
    return {
        "stream": stream.name,
        "length": stream.length,
        "lag": stream.lag,
        "pending": stream.pending,
        "oldest_ms": None if stream.oldest_ms is None else max(0, state.now_ms - stream.oldest_ms),
        "asked_ms": asked_ms,
    }


def offline(postgres_url: str, *, run_failed_jobs: bool = False) -> dict[str, Any]:
    """Return the state of the database: ``offline`` tables and ``failed_jobs``, or ``offline_error``: why it cannot be read."""
    try:
        with psycopg.connect(postgres_url, autocommit=True, connect_timeout=5) as connection:
            if run_failed_jobs:
                upkeep.run_failed(connection)
            tables = upkeep.tables(connection, [table_of_view(view) for view in VIEWS])
            failed = upkeep.failed_jobs(connection)
    except psycopg.Error as error:
        return {"offline": [], "failed_jobs": [], "offline_error": shown(str(error).partition("\n")[0], DETAIL)}
    return {"offline": [asdict(t) for t in tables], "failed_jobs": [asdict(j) for j in failed], "offline_error": None}
