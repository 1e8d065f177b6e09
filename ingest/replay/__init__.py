"""Replay of recordings: published to the streams (`replay`), or read without a server (`messages`)."""

from ingest.recordings.recording import messages
from ingest.replay.run import replay

__all__ = ["messages", "replay"]
