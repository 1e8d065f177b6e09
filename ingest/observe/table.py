"""The list of all metrics. Tests compare the collector, docs/metrics.md, the alerts and the dashboard with it.

No label takes its value from a message: symbols, authors and ids are counted, not named, so that senders cannot add series.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram", "summary"]


class Metric(NamedTuple):
    """One metric.

    Attributes
    ----------
    name : str
        As Prometheus shows it; a counter's ends in ``_total``.
    labels : tuple of str
        Their names; the values come from the code, the catalogue and the number of partitions.
    store : str
        The store that it is read from; while that store is away, the metric is absent.
    help : str
        One line.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    store: Literal["redis", "postgresql", "both"]
    help: str


METRICS: tuple[Metric, ...] = (
    Metric("tfs_up", "gauge", ("store",), "both", "1 where the exporter could read the store, else 0."),
    Metric("tfs_messages_total", "counter", ("stream", "kind", "outcome"), "redis", "Messages by outcome: accepted into a log's partition by kind; refused there (stream events) or before any log (stream edge), kind any. A kind's count falls by one where a message that was held turns out bad."),
    Metric("tfs_refused_total", "counter", ("stream", "reason"), "redis", "Refused messages by reason."),
    Metric("tfs_rows_total", "counter", ("view",), "redis", "Rows made, by view."),
    Metric("tfs_grid_to_online_seconds", "histogram", (), "redis", "From a live row's grid time to its online write, less the allowed lateness: what the system adds to the wait that is asked for."),
    Metric("tfs_stream_length", "gauge", ("stream", "partition"), "redis", "Entries that a stream holds."),
    Metric("tfs_stream_lag", "gauge", ("stream", "partition"), "redis", "Entries that nobody has taken yet."),
    Metric("tfs_stream_pending", "gauge", ("stream", "partition"), "redis", "Entries given to the scorer and not acknowledged; other streams are read by position."),
    Metric("tfs_stream_oldest_seconds", "gauge", ("stream", "partition"), "redis", "Age of the oldest entry that is not done; 0 where there is none."),
    Metric("tfs_outbox_depth", "gauge", (), "redis", "Batches of rows that are not in the database yet, over all partitions."),
    Metric("tfs_processes", "gauge", ("role",), "redis", "Processes alive: they gave a sign of life within 2 s; the scorer counts as one where it asked for posts within a minute."),
    Metric("tfs_partition_owned", "gauge", ("partition",), "redis", "1 where a worker holds the lease."),
    Metric("tfs_partition_owners_total", "counter", ("partition",), "redis", "Leases given, by fencing token: it grows where a partition changes hands."),
    Metric("tfs_trade_holes_total", "counter", (), "redis", "Holes in the trades that stayed: gaps of the channel trade. Windows that contain one are null."),
    Metric("tfs_trades_missing_total", "counter", (), "redis", "Trades that are missing in these holes, as far as the ids of the venue tell."),
    Metric("tfs_trades_recovered_total", "counter", (), "redis", "Trades that a feed had missed and got later, in time for every row."),
    Metric("tfs_entries_lost_total", "counter", (), "redis", "Entries that a worker had read and that are gone from a log, because Redis came back older. Live feeds and Kafka readers append theirs again."),
    Metric("tfs_symbols_held", "gauge", (), "redis", "Symbols whose feed is asking for missing trades: their rows wait, TFS_RECOVER_S at most."),
    Metric("tfs_silent_channels", "gauge", (), "redis", "Channels of live feeds (book, trade) that are silent for longer than their history says."),
    Metric("tfs_silent_channel_seconds", "gauge", (), "redis", "For how long the longest silent channel has been silent; 0 where none is."),
    Metric("tfs_dead_letters", "gauge", (), "redis", "Refused messages that are kept."),
    Metric("tfs_tape_behind_seconds", "gauge", ("partition",), "redis", "How long the oldest entry of a log that is not on the tape has waited; absent without a tape."),
    Metric("tfs_view_ttl_seconds", "gauge", ("view",), "redis", "How long a view's value may be served."),
    Metric("tfs_feature_age_seconds", "gauge", ("view", "of"), "redis", "Age of the online rows of a view over its symbols: of the newest, the median and the oldest."),
    Metric("tfs_online_symbols", "gauge", ("view", "state"), "redis", "Symbols with an online row of the view: fresh, or stale past its ttl; at most 1,000 symbols are read."),
    Metric("tfs_feature_null_share", "gauge", ("view", "feature"), "redis", "Share of the fresh online rows in which the feature is null; at most 200 symbols are read."),
    Metric("tfs_online_invalid_share", "gauge", ("view", "feature"), "redis", "Share of the fresh online rows in which book_valid, trade_valid or trade_valid_bars is 0; at most 200 symbols are read."),
    Metric("tfs_scorer_batch_size", "summary", (), "redis", "Texts given to the model: sum over batches, and their count."),
    Metric("tfs_scorer_tokens_total", "counter", (), "redis", "Tokens given to the model."),
    Metric("tfs_scorer_seconds_total", "counter", (), "redis", "Time that the model took."),
    Metric("tfs_scorer_model_info", "gauge", ("model",), "redis", "1, with the model that scored last."),
    Metric("tfs_redis_memory_used_bytes", "gauge", (), "redis", "Memory that Redis uses."),
    Metric("tfs_redis_memory_limit_bytes", "gauge", (), "redis", "Redis's maxmemory; 0 where there is none."),
    Metric("tfs_consistency_values", "gauge", ("outcome",), "redis", "Values of the last `ingest check consistency`: equal, differing, missing offline, or waiting for the offline writer."),
    Metric("tfs_consistency_time_seconds", "gauge", (), "redis", "When that check ended, seconds since the epoch; absent before the first."),
    Metric("tfs_feature_drift_psi", "gauge", ("view", "feature"), "both", "Population stability index of the last 24 hours against the reference day: ten quantile bins and one for null."),
    Metric("tfs_drift_reference_time_seconds", "gauge", (), "redis", "Start of the reference day, seconds since the epoch; absent without one."),
    Metric("tfs_offline_rows", "gauge", ("view",), "postgresql", "Rows of the offline table, the server's estimate."),
    Metric("tfs_offline_bytes", "gauge", ("view",), "postgresql", "Size of the offline table, indexes included."),
    Metric("tfs_offline_chunks", "gauge", ("view", "state"), "postgresql", "Chunks of the hypertable, plain and compressed; 0 on plain PostgreSQL."),
    Metric("tfs_offline_failed_jobs", "gauge", (), "postgresql", "TimescaleDB jobs whose last run failed."),
)
