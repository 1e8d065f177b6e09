"""Which files belong together, and how their symbols are shared out among processes.

One process must handle all messages of a symbol, in order. So files that share a symbol form a group, and a hash of the names shares
out the group's symbols: each process of the group reads all its files and keeps its own symbols.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.survey import Survey


@dataclass(frozen=True, slots=True)
class Task:
    """The work of one process.

    Attributes
    ----------
    paths : tuple of Path
        Files with books and trades.
    symbols : frozenset of str
        The symbols of ``paths`` or ``days``.
    share, shares : int
        Of the symbols of ``paths`` the task takes those whose hash modulo ``shares`` is ``share``.
    days : mapping or None
        For raw tables: each symbol that the task takes, and its days.
    """

    paths: tuple[Path, ...]
    symbols: frozenset[str]
    share: int = 0
    shares: int = 1
    days: Mapping[str, Sequence[int]] | None = None
    columns: GivenColumns = COMMON

    def takes(self, symbol: str) -> bool:
        """Return whether the symbol is in this task's share."""
        if self.days is not None:
            return symbol in self.days
        return self.shares == 1 or zlib.crc32(symbol.encode()) % self.shares == self.share


def plan(
    files: Sequence[Survey],
    jobs: int,
    columns: GivenColumns = COMMON,
    followers: Mapping[str, Collection[str]] | None = None,
) -> list[Task]:
    """Share out files among ``jobs`` processes.

    A file that names no symbol (snapshots, for example) may hold any: it joins all files into one group. Files of a symbol and of its
    ``followers`` form one too.
    """
    groups: list[tuple[list[Path], frozenset[str]]] = []
    texts = [one for one in files if one.market]
    all_named = all(one.symbols for one in texts)
    for one in texts:
        linked = one.symbols.union(*((followers or {}).get(name, ()) for name in one.symbols))
        of_others = (name for name, names in (followers or {}).items() if not one.symbols.isdisjoint(names))
        joined = [group for group in groups if not all_named or group[1] & linked.union(of_others)]
        paths = [path for group in joined for path in group[0]] + [one.path]
        symbols = one.symbols.union(*(group[1] for group in joined))
        groups = [group for group in groups if group not in joined] + [(paths, symbols)]
    order = {one.path: i for i, one in enumerate(texts)}
    tasks = []
    for paths, symbols in groups:
        shares = max(1, min(jobs // len(groups), len(symbols)))
        kept = tuple(sorted(paths, key=order.__getitem__))
        tasks += [Task(kept, symbols, share, shares, columns=columns) for share in range(shares)]
    return tasks or [Task((), frozenset())]


def plan_days(days: Mapping[str, Mapping[int, int]], jobs: int) -> list[Task]:
    """Share out the symbols of raw tables among ``jobs`` processes; ``days`` has the rows of each symbol and day.

    The symbol with the most rows comes first, and each goes to the process that has the fewest.
    """
    loads: list[tuple[int, dict[str, Sequence[int]]]] = [(0, {}) for _ in range(max(1, min(jobs, len(days))))]
    for symbol, of_symbol in sorted(days.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        least = min(range(len(loads)), key=lambda i: loads[i][0])
        rows, taken = loads[least]
        taken[symbol] = sorted(of_symbol)
        loads[least] = (rows + sum(of_symbol.values()), taken)
    return [Task((), frozenset(taken), days=taken) for _, taken in loads]
