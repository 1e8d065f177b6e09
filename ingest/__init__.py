"""Everything that moves data: messages, logs, workers, checkpoints, sinks, replay, servers, command line."""
