"""A reader of all that enters Redis for the tape, which is never killed: what the tape must hold, by another way than the tape's own."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis

from ingest.streams import keys

Entry = tuple[bytes, dict[bytes, bytes]]


class Listener:
    """Reads the logs, the dead letters and the posts as written, from their first entries on.

    Attributes
    ----------
    heard : dict of str to list
        The entries of each stream, in order.
    """

    def __init__(self, url: str, partitions: int) -> None:
        names = [*map(keys.events, range(partitions)), keys.DEAD_LETTER, keys.WRITTEN]
        self.heard: dict[str, list[Entry]] = {name: [] for name in names}
        self._client = redis.Redis.from_url(url, socket_timeout=5.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            last = {name: found[-1][0] if found else b"0-0" for name, found in self.heard.items()}
            try:
                reply: Any = self._client.xread(last, count=1000, block=100)
            except redis.RedisError:  # it is away
                time.sleep(0.02)
                continue
            for name, entries in reply:
                self.heard[name.decode()] += entries

    def wrong(self) -> list[str]:
        """Return a line for each stream of which this has not heard everything, as Redis counts what was ever added."""
        out = []
        for name, found in self.heard.items():
            about: Any = self._client.xinfo_stream(name) if self._client.exists(name) else {"entries-added": 0}
            if about["entries-added"] != len(found):
                out.append(f"{name} was given {about['entries-added']} entries, and {len(found)} were heard beside it")
        return out

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._client.close()
