"""What must hold after a simulation is drained. Each check returns its violations as sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from msgspec import structs

from feature_repo.project import project
from feature_repo.stores.online.format import SymbolKeys, time_field
from feature_repo.stores.online.pack import RowEncoder
from feature_repo.stores.online.record import VALUES_AT, WORD
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Neighbour
from ingest.streams import keys
from ingest.streams.read import id_numbers
from ingest.worker import losses
from ingest.worker.basis import decode as settings_of
from ingest.worker.partition import Partition
from ingest.worker.rows import decode as decode_rows
from tests.simulation import accepted, watch
from tests.simulation.database import Bits, Key
from tests.simulation.scripts import texts
from tests.simulation.site import Site
from tests.simulation.versions import Upgraded
from transforms.catalog import VIEW, VIEWS

_ENCODERS = {v.name: RowEncoder(v.name, v.names, [f.dtype for f in v.features]) for v in VIEWS}
_VIEW_OF_FIELD = {time_field(v.name): v.name for v in VIEWS}
_KEYS = SymbolKeys(project(), "symbol")
_NOT_OF_THE_LOG = ("latency_ms.", "lost.")


@dataclass
class Undisturbed:
    """What a partition gives in one run over its whole log, without any fault."""

    rows: dict[Key, Bits] = field(default_factory=dict)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    letters: list[tuple[bytes, str]] = field(default_factory=list)
    told: list[Neighbour] = field(default_factory=list)

    def take(self, partition: Partition) -> None:
        """Add what a partition has given since the last call."""
        pending = partition.take_pending()
        self.counts.update(pending.counts)
        self.told += [row for _, row in pending.told]
        self.letters += [(entry_id, str(why.reason)) for (entry_id, _), why in pending.dead]
        for view, batch in pending.batches.items():
            if not len(batch):
                continue
            columns = batch.columns()
            times = zip(columns.event_us.tolist(), columns.silent_us.tolist(), strict=True)
            for symbol, (event, silent), values in zip(columns.symbols, times, columns.values, strict=True):
                self.rows[view, symbol, event] = (values.tobytes(), silent // 1000)
                self.newest[view, symbol] = event


def undisturbed(site: Site, p: int) -> Undisturbed:
    """Give a partition's whole log to fresh kernels, with those that it was divided into; settings change where a worker's commit did."""
    server, found = site.server, Undisturbed()
    changes = watch.settings_changes(server, p)
    settings = site.plan.settings
    partition = Partition(p, settings_of(changes.pop(b"0-0", None), settings))
    logs = [server.get(keys.events(c).encode()) for c in site.plan.group(p)]
    history = [entry for log in logs if log for entry in log.history]
    before = b"0-0"
    for entry_id, words in sorted(history, key=lambda entry: id_numbers(entry[0])):
        if before in changes:
            found.take(partition)
            partition = partition.with_settings(settings_of(changes.pop(before), settings))
        partition.process(entry_id, dict(zip(words[::2], words[1::2], strict=True)), 0)
        before = entry_id
    found.take(partition)
    return found


def violations(site: Site) -> list[str]:
    """Return everything that is wrong after a simulation."""
    found = [*site.problems, *site.watch.problems]
    if not site.is_drained:
        return [*found, "not drained: " + _what_waits(site)]
    runs = [undisturbed(site, p) for p in range(site.plan.settings.partitions)]
    upgraded = Upgraded.of(site.plan)
    for run in runs:
        run.rows = {key: upgraded.known(key, bits) for key, bits in run.rows.items()}
    for check in (_rows, _online, _both, _counters, _letters, _told):
        found += check(site, runs, upgraded)
    return [*found, *accepted.messages(site), *accepted.lateness(site)]


def _what_waits(site: Site) -> str:
    waiting = {name: len(queue) for name, queue in site.queues.items() if queue}
    for key in list(site.server._keys):
        value = site.server.get(key)
        if hasattr(value, "ids") and value.ids and not key.startswith((b"events", b"features", b"dead")):
            waiting[key.decode()] = len(value.ids)
    for p in range(site.plan.settings.partitions):
        log = site.server.get(keys.events(p).encode())
        at = (site.server.get(keys.checkpoint(p).encode()) or {}).get(b"last_id")
        waiting[keys.events(p)] = f"{at} of {log.last if log else None}"
    return str(waiting)


def _rows(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """The database has each row of the undisturbed run once, with the same bits, and no other.

    After a failover it may have more: rows that were written before, whose commit the server lost. A worker whose clock is behind the
    event times says of both that they were created at the event time, and the first stays. Where a worker refused the whole state of a
    symbol, only that each row is there once is known; where it refused some kernels, all that the others make.
    """
    changed = upgraded.changed
    stored, lost = (
        {key: {created: upgraded.known(key, bits) for created, bits in of.items()} for key, of in rows.items()}
        for rows in (site.database.rows, site.watch.lost_rows)
    )
    for run in runs:
        for key, bits in run.rows.items():
            if key[1] in changed:
                continue
            found = stored.get(key, {})
            ours = {created for created, one in found.items() if lost.get(key, {}).get(created) != one}
            if key[2] in lost.get(key, {}) and not ours:
                continue
            if not found or (not ours and bits not in found.values()):
                yield f"row {key} is not in the database"
            elif len(ours) > 1:
                yield f"row {key} is {len(ours)} times in the database, created {sorted(ours)}"
            elif any(found[created] != bits for created in ours):
                yield f"row {key} has other values than the undisturbed run gives: {_difference(key, found[min(ours)], bits)}"
    every = {key for run in runs for key in run.rows}
    for key, found in stored.items():
        in_order = [bits for _, bits in sorted(site.database.rows[key].items())]
        if any(one == other for one, other in pairwise(in_order)):
            yield f"row {key} is in the database twice with the same values, created {sorted(found)}"
        if key[1] in changed and len(found.keys() - lost.get(key, {}).keys()) > 1:
            yield f"row {key} is in the database {len(found)} times"
        if key not in every and key[1] not in changed and found.keys() - lost.get(key, {}).keys():
            yield f"row {key} is in the database, and the undisturbed run does not give it"


def _difference(key: Key, one: Bits, other: Bits) -> str:
    a, b = np.frombuffer(one[0]), np.frombuffer(other[0])
    differ = [
        f"{name} {x} {y}" for name, x, y in zip(VIEW[key[0]].names, a, b, strict=True) if x.tobytes() != y.tobytes()
    ]
    return ", ".join(differ[:4]) or f"silence {one[1]} {other[1]}"


def _online(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """The online store has the newest row, and every value that was readable is that of the row of its time.

    Where the settings change, an owner with other ones may have stored a row and died before it committed. After a failover a worker may
    store a row of entries that were lost, and its commit finds that they are. Such a row stays until the next owner stores that of its
    time, or a newer one. So only rows whose owner committed are compared there.
    """
    changed = upgraded.changed
    has_other_settings = any(fault.kind == "settings" for fault in site.plan.faults)
    may_be_ahead = has_other_settings or site.watch.n_restored > 0
    every = {key: bits for run in runs for key, bits in run.rows.items()}
    newest = {key: event for run in runs for key, event in run.newest.items()}
    names = {_KEYS.keys([symbol])[0]: symbol for _, symbol in newest}
    for (view, symbol), event in newest.items():
        if symbol in changed:
            continue
        fields = site.server.get(_KEYS.keys([symbol])[0]) or {}
        raw = fields.get(time_field(view))
        at = None if raw is None else watch.event_us(raw)
        if at != event and not (may_be_ahead and at is not None and at > event):
            yield f"online {view} of {symbol} is of {at}, the newest row of {event}"
    for (key, name, event), writes in site.watch.served.items():
        symbol, view = names.get(key), _VIEW_OF_FIELD[name]
        if symbol is None or symbol in changed:
            continue
        if may_be_ahead:
            writes = [row for row in writes if row.is_committed]
        bits = every.get((view, symbol, event))
        if bits is None:
            if writes and not may_be_ahead:
                yield f"{view} of {symbol} of {event} was readable, and there is no such row"
            continue
        expected = _packed(view, event, bits)
        for words in (row.words for row in writes):
            differ = upgraded.cells(view, words[4:]) != upgraded.cells(view, expected[2:])
            if differ or upgraded.said(view, words[3]) != upgraded.said(view, expected[1]):
                yield f"{view} of {symbol} of {event} was readable with other values than its row has"
                break


def _both(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """What is online is what the database has of its time: the row that was created last, where all clocks were right.

    An owner may store a row and die before it commits. The next owner may make no row of that time: its settings are others, or its
    kernels are, and begin anew with what the log still has. With a clock that is behind it makes one that says it was created earlier,
    which does not replace the one that is there. Where a failover lost the commit of a row, both may say that they were created at the
    event time: the database keeps the first, and online is the second.
    """
    kinds, committed = {fault.kind for fault in site.plan.faults}, _committed(site)
    for symbol in upgraded.symbols:
        fields = site.server.get(_KEYS.keys([symbol])[0]) or {}
        for name, view in _VIEW_OF_FIELD.items():
            if name not in fields:
                continue
            event = watch.event_us(fields[name])
            key = (view, symbol, event)
            found, lost = site.database.rows.get(key, {}), site.watch.lost_rows.get(key, {})
            if not found and key not in committed:
                continue
            created_us = watch.created_us(fields[name])
            if found and "clock" in kinds and (created_us > max(found) or created_us in lost):
                continue
            newest = sorted(found.items())
            if "clock" not in kinds and not site.watch.n_restored:
                newest = newest[-1:]
            rows = [_packed(view, event, bits) for _, bits in newest]
            if not any(_is_row(fields, row) for row in rows):
                yield f"online {view} of {symbol} of {event} has other values than the database"


def _is_row(fields: Mapping[bytes, bytes], row: list[bytes]) -> bool:
    """Return whether a hash has the values of a row, in fields and in the record."""
    name, time = row[:2]
    values = slice(WORD * VALUES_AT, None)
    return fields[name][values] == time[values] and all(
        fields[f] == v for f, v in zip(row[2::2], row[3::2], strict=True)
    )


def _committed(site: Site) -> set[Key]:
    """Return the rows that commits gave to the offline writer."""
    found: set[Key] = set()
    for p in range(site.plan.partitions):
        outbox = site.server.get(keys.outbox(p).encode())
        for _, words in outbox.history if outbox else ():
            columns = decode_rows(words[1])
            found.update(
                (columns.view.name, *moment) for moment in zip(columns.symbols, columns.event_us.tolist(), strict=True)
            )
    return found


def _packed(view: str, event: int, bits: Bits) -> list[bytes]:
    values = np.frombuffer(bits[0]).reshape(1, -1)
    silent = np.array([bits[1] * 1000], np.int64)
    [row] = _ENCODERS[view].rows(np.array([event], np.int64), values, silent)
    return texts(row)


def _counters(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """The counters hold what the log holds."""
    for p, run in enumerate(runs):
        every: Counter[str] = Counter()
        for c in site.plan.group(p):
            of_log = site.server.get(keys.counters(c).encode()) or {}
            every.update({k.decode(): int(v) for k, v in of_log.items()})
            lost, most = int(of_log.get(losses.ENTRIES.encode(), 0)), site.watch.n_lost[keys.events(c).encode()]
            if lost > most:
                yield f"{lost} entries of {c} count as lost, and {most} are"
        counted = dict(every)
        counted = {k: n for k, n in counted.items() if n and not k.startswith(_NOT_OF_THE_LOG)}
        expected = {k: n for k, n in run.counts.items() if n}
        if upgraded.changed:
            counted = {k: n for k, n in counted.items() if k.startswith("accepted.")}
            expected = {k: n for k, n in expected.items() if k.startswith("accepted.")}
        if counted != expected:
            differ = {k: (counted.get(k, 0), expected.get(k, 0)) for k in counted.keys() | expected.keys()}
            yield f"counters of {p} are not those of its log: { {k: v for k, v in sorted(differ.items()) if v[0] != v[1]} }"


def _told(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """Each log has each row of the symbols that its own follow once, as the undisturbed run gives it, and no other.

    After a failover, and where settings or kernels change, an owner may have told a row and died, and the next one makes another of its
    time, or completes it with another entry.
    """
    if site.watch.n_restored or upgraded.changed or any(fault.kind == "settings" for fault in site.plan.faults):
        return
    n = site.plan.settings.partitions
    expected = Counter(one for run in runs for row in run.told for one in _by_follower(row, n))
    found: Counter[tuple[int, str, bytes]] = Counter()
    for p in range(site.plan.partitions):
        log = site.server.get(keys.events(p).encode())
        for _, words in log.history if log else ():
            if words[words.index(b"kind") + 1] == b"neighbour":
                row = decode(Neighbour, words[words.index(b"data") + 1])
                found.update((p % n, name, data) for _, name, data in _by_follower(row, n))
    if found != expected:
        yield f"rows of neighbours: too many {dict(found - expected)}, missing {dict(expected - found)}"


def _by_follower(row: Neighbour, partitions: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield the partition and the name of each symbol that a row is for, and the row."""
    for name in row.symbols:
        yield keys.partition_of(name, partitions), name, encode(structs.replace(row, symbols=[name]))


def _letters(site: Site, runs: list[Undisturbed], upgraded: Upgraded) -> Iterator[str]:
    """Each refusal is kept once, and no other."""
    kept: Counter[tuple[bytes, bytes, str]] = Counter()
    edge: Counter[str] = Counter()
    for _, words in accepted.letters(site):
        letter = dict(zip(words[::2], words[1::2], strict=True))
        reason = letter[b"reason"].decode()
        if letter[b"source"].startswith(b"events:"):
            log = int(keys.place_of(letter[b"source"].decode())) % site.plan.settings.partitions
            kept[keys.events(log).encode(), letter[b"id"], reason] += 1
        else:
            edge[f"refused.{reason}"] += 1
    expected = Counter(
        (keys.events(p).encode(), entry_id, reason) for p, run in enumerate(runs) for entry_id, reason in run.letters
    )
    if kept != expected and not upgraded.changed:
        yield f"dead letters: too many {dict(kept - expected)}, missing {dict(expected - kept)}"
    at_edge = site.server.get(keys.counters(keys.EDGE).encode()) or {}
    counted = Counter({k.decode(): int(v) for k, v in at_edge.items() if k.startswith(b"refused.")})
    if counted != edge:
        yield f"counters of the edge {dict(counted)}, letters {dict(edge)}"
