"""Everything that moves data: messages, logs, workers, checkpoints, sinks, replay, servers, command line."""

import ingest.settings  # noqa: F401  # first of all: it says how OpenMP waits, which torch reads when it is imported
