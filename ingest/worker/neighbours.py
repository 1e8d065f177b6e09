"""What a symbol is to those that follow it: its finished rows at whole seconds, as messages of their logs.

Of a live symbol the owner of its partition appends them (``add_told``), before it commits the rows. If it dies in between, the next owner
makes the same rows from the same entries, and the script passes over what is there: it knows the newest entry of the symbol's log whose
rows it has appended. Of a recorded symbol whoever reads the recording makes them (``Leaders``), each behind the message that finished
the row, so a recording gives the same log however fast it is read and whoever owns which partition.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isnan
from typing import Any, Final

from feature_repo.stores.scripts import read_script
from ingest.messages.envelope import Envelope
from ingest.messages.kinds import Message, Neighbour, SocialPost, time_fields
from ingest.publish.placed import entries_of
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.move import Place
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Symbols
from transforms.catalog import MICROSTRUCTURE, View
from transforms.kernel import SECOND_US, Vector

Told = tuple[bytes, Neighbour]
"""What a live symbol was, for those that follow it, and the entry that completed its row."""
_OF_MARKET: Final = frozenset({"book", "trade", "gap", "tick"})
_TELL: Final = read_script(__file__, "tell.lua")


def as_told(symbol: Symbol, view: View, t_us: int, names: Sequence[str]) -> Neighbour | None:
    """Return what a row of a symbol tells those that follow it; None where it is not one of its book at a whole second."""
    if view is not MICROSTRUCTURE or t_us % SECOND_US:
        return None
    mid, bid_size, ask_size = (None if isnan(x) else x for x in symbol.engine.quote(t_us))
    ms, us = time_fields(t_us)
    received = symbol.received_us // 1000 if symbol.recorded else None
    return Neighbour(ms, list(names), symbol.name, mid, bid_size, ask_size, received=received, timestamp_us=us)


def add_told(pipe: Any, p: int, server: str, told: Sequence[Told], settings: Settings) -> list[Place]:
    """Add to a pipeline what appends rows of partition ``p`` to the logs of those that follow, one script a log; return these logs' places.

    ``server`` is the id of the Redis that the rows were made on; empty where the logs may be of several servers.
    """
    words: dict[Place, list[Any]] = {}
    for entry_id, row in told:
        for place, fields in entries_of("neighbour", row, settings.partitions):
            words.setdefault(place, []).extend((entry_id, fields[b"data"]))
    for place, of_log in words.items():
        touched = keys.stream(place), keys.told(keys.stream(place)), keys.number(place)
        pipe.eval(_TELL, len(touched), *touched, server, settings.number, p, *of_log)
    return list(words)


class Leaders:
    """The recorded symbols that others follow, in a recording that is read.

    Parameters
    ----------
    settings : Settings
    names : collection of str, optional
        Only these; all that are followed by default.
    """

    def __init__(self, settings: Settings, names: Collection[str] | None = None) -> None:
        followers = settings.followers()
        self._followers = followers if names is None else {name: followers[name] for name in names if name in followers}
        self._symbols = Symbols(settings, self._add)
        self._told: list[Neighbour] = []

    def accept(self, kind: str, message: Message | SocialPost) -> list[Neighbour]:
        """Take a message of the recording, in its order; return the rows that it finished, for those that follow its symbol."""
        if kind not in _OF_MARKET or message.symbol not in self._followers:  # type: ignore[union-attr]  # posts are no market
            return []
        self._symbols.accept(Envelope(kind, message, received_ms=getattr(message, "received", None) or 0))
        told, self._told = self._told, []
        return told

    def _add(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        row = as_told(symbol, view, t_us, self._followers[symbol.name])
        if row is not None:
            self._told.append(row)
