"""Replay of recordings: published to the streams (`replay`), or read without a server (`messages`)."""

from ingest.publish.counts import Counts
from ingest.recordings.recording import Recording, messages
from ingest.replay.run import replay

__all__ = ["Counts", "Recording", "messages", "replay"]
