"""What a backfill has done, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Done:
    """Counts of a backfill or of a part of it; parts are added with ``+``.

    Attributes
    ----------
    lines, of : int
        Lines of files and rows of tables read, and how many there are in all; ``of`` is 0 if they were not counted.
    passed_over : Counter of str
        Valid lines that gave no message, by what they are.
    unread : list of str
        A sentence for each file with rows of which nothing could be read.
    taken, refused : Counter of str
        Messages accepted by kind, and refused by reason.
    made, new, skipped : int
        Rows made, those of them that were not in the tables before, and those of symbol-days that an earlier run finished.
    symbols : set of str
        The symbols that accepted a message.
    """

    lines: int = 0
    of: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    made: int = 0
    new: int = 0
    skipped: int = 0
    symbols: set[str] = field(default_factory=set)

    def __add__(self, other: Done) -> Done:
        return Done(
            self.lines + other.lines,
            self.of + other.of,
            self.passed_over + other.passed_over,
            self.unread + other.unread,
            self.taken + other.taken,
            self.refused + other.refused,
            self.made + other.made,
            self.new + other.new,
            self.skipped + other.skipped,
            self.symbols | other.symbols,
        )


Progress = Callable[[Done], None]
"""Called now and then with what is done so far."""
