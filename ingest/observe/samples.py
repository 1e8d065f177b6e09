"""What was read, as samples: a metric's name, the values of its labels, a number. Pure; the collector makes metrics of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from prometheus_client.utils import floatToGoString

from feature_repo.stores.offline.tables.upkeep import TableState
from ingest.messages.kinds import KIND
from ingest.messages.refusal import Reason
from ingest.observe.online import Ages, Shares
from ingest.observe.redis_state import RedisState
from ingest.streams import keys
from ingest.streams.backlog import SCORER_MODEL, add_up, sum_up
from ingest.streams.membership import count_alive
from ingest.worker import losses, missing
from ingest.worker.latency import BOUNDS_MS, BUCKETS, SUM
from transforms.catalog import VIEW, VIEWS

Sample = tuple[str, tuple[str, ...], float]
OUTCOMES = ("equal", "differing", "missing", "waiting")
MODEL_MAX = 200


def of_redis(state: RedisState) -> Iterator[Sample]:
    """Yield the samples of counters, streams, leases, memory and the last check of consistency."""
    yield from _messages(state)
    for view in VIEWS:
        yield "tfs_rows_total", (view.name,), state.total(f"rows.{view.name}")
        yield "tfs_view_ttl_seconds", (view.name,), view.ttl_s
    for s in state.streams:
        labels = (s.name, "" if s.partition is None else str(s.partition))
        yield "tfs_stream_length", labels, s.length
        yield "tfs_stream_lag", labels, s.lag
        yield "tfs_stream_pending", labels, s.pending
        yield "tfs_stream_oldest_seconds", labels, 0 if s.oldest_ms is None else (state.now_ms - s.oldest_ms) / 1000
    yield "tfs_outbox_depth", (), sum_up(state.streams).outbox
    for p, lease in enumerate(state.leases):
        yield "tfs_partition_owned", (str(p),), lease.token is not None
        yield "tfs_partition_owners_total", (str(p),), lease.given
    for role, n in count_alive(state.silences).items():
        yield "tfs_processes", (role,), n
    for p, ms in enumerate(state.untaped_ms):
        yield "tfs_tape_behind_seconds", (str(p),), ms / 1000
    yield "tfs_trade_holes_total", (), state.missed(missing.HOLES)
    yield "tfs_trades_missing_total", (), state.missed(missing.MISSING)
    yield "tfs_trades_recovered_total", (), state.missed(missing.RECOVERED)
    yield "tfs_entries_lost_total", (), state.total(losses.ENTRIES)
    yield "tfs_symbols_held", (), len(state.held)
    yield "tfs_silent_channels", (), len(state.silent)
    yield "tfs_silent_channel_seconds", (), max(state.silent.values(), default=0) / 1000
    yield "tfs_dead_letters", (), state.dead_letters
    yield "tfs_redis_memory_used_bytes", (), state.memory_used
    yield "tfs_redis_memory_limit_bytes", (), state.memory_limit
    yield "tfs_scorer_tokens_total", (), state.total("scorer.tokens")
    yield "tfs_scorer_seconds_total", (), state.total("scorer.ms") / 1000
    if model := state.counters[keys.EDGE].get(SCORER_MODEL):
        yield "tfs_scorer_model_info", ("".join(c for c in model if c.isprintable())[:MODEL_MAX],), 1
    if "time_ms" in state.consistency:
        yield "tfs_consistency_time_seconds", (), state.consistency["time_ms"] / 1000
        for outcome in OUTCOMES:
            yield "tfs_consistency_values", (outcome,), state.consistency.get(outcome, 0)


def _messages(state: RedisState) -> Iterator[Sample]:
    for kind in KIND:
        yield "tfs_messages_total", ("events", kind, "accepted"), state.total(f"accepted.{kind}")
    logs = [counts for place, counts in state.counters.items() if place != keys.EDGE]
    for stream, places in (("events", logs), ("edge", [state.counters[keys.EDGE]])):
        total = add_up(places)
        by_reason = {reason: total.get(f"refused.{reason}", 0) for reason in Reason}
        yield "tfs_messages_total", (stream, "any", "refused"), sum(by_reason.values())
        for reason, n in by_reason.items():
            yield "tfs_refused_total", (stream, str(reason)), n


def latency(state: RedisState) -> tuple[list[tuple[str, float]], float]:
    """Return the histogram of grid to online: cumulative counts by upper bound in seconds, and the sum in seconds."""
    buckets, total = [], 0
    for name, bound in zip(BUCKETS, (*BOUNDS_MS, math.inf), strict=True):
        total += state.total(name)
        buckets.append((floatToGoString(bound / 1000), float(total)))  # type: ignore[no-untyped-call]
    return buckets, state.total(SUM) / 1000


def batch_size(state: RedisState) -> tuple[int, int]:
    """Return the batches that the model scored, and the texts in them."""
    return state.total("scorer.batches"), state.total("scorer.texts")


def of_online(found: Sequence[Ages], shares: Shares) -> Iterator[Sample]:
    """Yield the ages of the online rows, and the shares of null and of invalid. A view without rows has no age."""
    for about in found:
        name = about.view.name
        seconds = sorted(age / 1e6 for age in about.by_symbol.values())
        fresh = sum(map(about.is_fresh, about.by_symbol))
        yield "tfs_online_symbols", (name, "fresh"), fresh
        yield "tfs_online_symbols", (name, "stale"), len(seconds) - fresh
        if seconds:
            for which, age in (("newest", seconds[0]), ("median", median(seconds)), ("oldest", seconds[-1])):
                yield "tfs_feature_age_seconds", (name, which), age
    for labels, share in shares.null.items():
        yield "tfs_feature_null_share", labels, share
    for labels, share in shares.invalid.items():
        yield "tfs_online_invalid_share", labels, share


def of_tables(tables: Sequence[TableState], n_failed_jobs: int) -> Iterator[Sample]:
    """Yield the samples of the catalogue's offline tables and of TimescaleDB's jobs."""
    for table in tables:
        if table.name in VIEW:
            yield "tfs_offline_rows", (table.name,), table.rows
            yield "tfs_offline_bytes", (table.name,), table.bytes
            yield "tfs_offline_chunks", (table.name, "plain"), table.chunks - table.compressed
            yield "tfs_offline_chunks", (table.name, "compressed"), table.compressed
    yield "tfs_offline_failed_jobs", (), n_failed_jobs
