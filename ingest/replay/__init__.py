"""Recordings played into the streams (`replay`), or read without any server (`messages`)."""

from ingest.replay.counts import Counts
from ingest.replay.run import replay
from ingest.replay.source import Recording, messages

__all__ = ["Counts", "Recording", "messages", "replay"]
