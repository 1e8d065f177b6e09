"""Rows of leaders among the messages of a recording, where a replay puts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ingest.settings import Settings
from ingest.worker.neighbours import Leaders

Messages = list[tuple[str, Any]]


def with_rows(messages: Iterable[tuple[str, Any]], ticks: Messages, settings: Settings) -> Messages:
    """The messages, each before the rows that it finishes; then the rows of the ticks that end the symbols, and the ticks."""
    leaders = Leaders(settings)
    found: Messages = []
    for one in messages:
        found += [one, *(("neighbour", row) for row in leaders.accept(*one))]
    return found + [("neighbour", row) for tick in ticks for row in leaders.accept(*tick)] + ticks
