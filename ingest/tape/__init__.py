"""The tape: every message that entered a log, once, in a Delta Lake table, so that history can be read after the logs are trimmed."""
