"""The screen of ``status --watch``: it fits the terminal. What is wrong and what waits comes first; rows that do not fit are counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ingest.streams.dead_letters import shown
from ingest.worker.versions import shown as in_words
from transforms.catalog import VIEWS

NAME_WIDTH = 22  # of a symbol or an owner: the numbers beside it stay whole on 80 columns
KEPT = 5  # lines that the table of streams leaves to the symbols at least; on a high screen a third
NAMED = 3  # symbols that a line names
Cell = str | Text


class Rows(NamedTuple):
    """The rows of one table, the most important first."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


def fitted(seen: dict[str, Any], height: int) -> Group:
    """Return the status in at most `height` lines, of any width."""
    lines = [Text(line, style=style, no_wrap=True, overflow="ellipsis") for line, style in _first(seen)][:height]
    room = height - len(lines)
    tables: list[Table] = []
    for rows, kept in ((_streams(seen), max(KEPT, room // 3)), (_freshness(seen), 0), (_offline(seen), 0)):
        if (table := _cut(rows, room - kept)) is not None:
            tables.append(table)
            room -= 1 + table.row_count
    return Group(*lines, *tables)


def _cut(rows: Rows, room: int) -> Table | None:
    """Return a table of at most `room` lines, of which the last counts the rows that were left out; None where no row fits."""
    fits = len(rows.rows) if len(rows.rows) < room else room - 2
    if fits <= 0:
        return None
    table = Table(*rows.columns, box=None, pad_edge=False)
    for i, column in enumerate(table.columns):
        column.no_wrap, column.overflow, column.justify = True, "ellipsis", "right" if i else "left"
    for row in rows.rows[:fits]:
        table.add_row(*row)
    if left := len(rows.rows) - fits:
        table.add_row(f"and {left:,} more")
    return table


def errors(seen: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that is wrong, and for the newest refusals."""
    if seen["offline_error"]:
        yield f"the offline store cannot be read: {seen['offline_error']}"
    for job in seen["failed_jobs"]:
        yield f"failed: job {job['id']} {job['procedure']} of {job['table']}: {job['message']}"
    for error in seen["last_errors"]:
        yield f"refused: {error['letter']} {error['source']} {error['reason']} {error['detail']}"


def trouble(seen: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each version of the kernels, of silent channels, of symbols that wait for missing trades, and of missed trades."""
    yield from _fleet(seen["kernels"])
    if silent := seen["silent_channels_ms"]:
        yield f"silent: {listed({name: age_ms(ms) for name, ms in silent.items()})}; their features are null until they speak"
    if held := seen["held_ms"]:
        yield f"held: {listed({name: age_ms(ms) for name, ms in held.items()})} at most; their feed asks for missing trades"
    told = seen["trades"]
    if any(told[name] for name in ("holes", "missing", "recovered")):
        worst = sorted(told["by_symbol"].items(), key=lambda one: -one[1].get("holes", 0))
        by_symbol = listed({name: f"{facts['holes']:,}" for name, facts in worst if facts.get("holes")})
        of = f" ({by_symbol})" if by_symbol else ""
        yield f"trades: {told['recovered']:,} recovered, {told['missing']:,} missing, {told['holes']:,} holes{of}"


def listed(texts: Mapping[str, str]) -> str:
    """Return the first names with their texts, and how many more there are."""
    some = ", ".join(f"{shown(name, NAME_WIDTH)} {text}" for name, text in islice(texts.items(), NAMED))
    return some + (f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else "")


def alive(seen: dict[str, Any]) -> tuple[str, str]:
    """Return the line of the processes that are alive, and its style."""
    text = ", ".join(f"{n} {role}" for role, n in seen["processes"].items())
    return f"alive: {text}", "" if all(seen["processes"].values()) else "red"


def _first(seen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield alive(seen)
    yield from ((line, "red") for line in errors(seen))
    yield from ((line, "yellow") for line in trouble(seen))
    counts, letters = seen["counts"], seen["dead_letters"]
    waits = ", ".join(f"{n:,} {name}" for name, n in seen["waiting"].items())
    yield f"waiting: {waits}", "" if not any(seen["waiting"].values()) else "yellow"
    yield _sum("refused", counts) + f"; {letters['kept']:,} dead letters", ""
    yield _sum("accepted", counts), ""
    yield _sum("rows", counts), ""
    if tape := seen["tape"]:
        yield f"tape: behind by {age_ms(max(tape['behind_ms']))}", ""
    used, limit = seen["redis"]["memory_used"], seen["redis"]["memory_limit"]
    yield f"Redis: {used / 1e6:,.1f} MB" + (f" of {limit / 1e6:,.1f}" if limit else ""), ""


def _sum(what: str, counts: dict[str, int]) -> str:
    """Return a line with the sum of the counters of one kind, and its parts, the largest first."""
    parts = {name.partition(".")[2]: n for name, n in counts.items() if name.startswith(f"{what}.") and n}
    some = ", ".join(f"{n:,} {name}" for name, n in sorted(parts.items(), key=lambda part: -part[1]))
    return f"{what}: {sum(parts.values()):,}" + (f" ({some})" if some else "")


def _streams(seen: dict[str, Any]) -> Rows:
    """Return the streams: those that nobody owns, then those where most waits."""
    keyed: list[tuple[tuple[bool, int], tuple[Cell, ...]]] = []
    for p in seen["partitions"]:
        events, outbox = p["events"], p["outbox"]
        is_free = p["owner"] is None
        owner = Text("nobody", "red") if is_free else Text(shown(p["owner"], NAME_WIDTH))
        cells = (f"events {p['partition']}", owner, f"{p['symbols']:,}", *_waits(events), f"{outbox['length']:,}")
        keyed.append(((not is_free, -events["lag"] - events["pending"] - outbox["length"]), cells))
    keyed += (
        ((True, -stream["lag"] - stream["pending"]), (stream["stream"], "", "", *_waits(stream), ""))
        for stream in seen["streams"]
    )
    keyed.sort(key=lambda one: one[0])
    return Rows(("streams", "owner", "symbols", "lag", "pending", "oldest", "outbox"), [cells for _, cells in keyed])


def _waits(stream: dict[str, Any]) -> tuple[str, str, str]:
    return f"{stream['lag']:,}", f"{stream['pending']:,}", age_ms(stream["oldest_ms"])


def _fleet(kernels: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for the kernels that most partitions have, and one for each other version, where there are several."""
    ranked = sorted(kernels, key=lambda code: (-kernels[code]["partitions"], -kernels[code]["serve"], code))
    for code in ranked if len(ranked) > 1 else ():
        about = kernels[code]
        differs = (
            "" if code == ranked[0] else f": {shown(in_words(kernels[ranked[0]]['versions'], about['versions']), 200)}"
        )
        counts = f"{about['serve']} workers serve, {about['wait']} wait, {about['partitions']} partitions"
        yield f"kernels {shown(code, 8) or 'unknown'}: {counts}{differs}"


def age_ms(ms: int | None) -> str:
    """Return an age in seconds."""
    return "-" if ms is None else f"{ms / 1000:,.1f} s"


def age(seconds: float | None, ttl_s: int) -> Text:
    """Return an age, red if it is past the view's ttl: readers get null then."""
    return Text("-") if seconds is None else Text(f"{seconds:,.1f}", style="red" if seconds > ttl_s else "")


def _freshness(seen: dict[str, Any]) -> Rows:
    ages = seen["freshness"]
    symbols = list(next(iter(ages.values()), {}))
    rows: list[tuple[Cell, ...]] = [
        (shown(s, NAME_WIDTH), *(age(ages[view.name][s], view.ttl_s) for view in VIEWS)) for s in symbols
    ]
    return Rows(("online, age in s", *ages), rows)


def _offline(seen: dict[str, Any]) -> Rows:
    rows = [(t["name"], f"{t['rows']:,}", f"{t['bytes'] / 1e6:,.1f}", str(t["chunks"])) for t in seen["offline"]]
    return Rows(("offline table", "rows, about", "MB", "chunks"), rows)
