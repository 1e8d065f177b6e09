"""From history to a fitted table, and from there on both ways: live rows are backfilled rows, bit for bit."""

from __future__ import annotations

import json
import math
import struct
from datetime import timedelta

import msgspec
import psycopg
import pytest

from ingest import settings
from ingest.backfill.run import backfill
from ingest.cli import main
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import MicropriceTable, Tick
from ingest.replay import messages
from ingest.simulate import history
from ingest.streams import keys, read
from ingest.streams.deployment import PARTITIONS
from ingest.worker.partition import Partition
from transforms.catalog import MICROSTRUCTURE

MIDNIGHT = 1_700_006_400_000
USED = MIDNIGHT + 17_000
CONF = settings.load({"TFS_PARTITIONS": "1"})
MICROPRICE, MID = (3 + MICROSTRUCTURE.index[name] for name in ("microprice", "mid_price"))
LATER_MS = 7777
FIT = (
    "fit-microprice",
    "--before",
    "2023-11-15",
    "--from",
    "2023-11-15T00:00:17",
    "--min-rows",
    "500",
    "--min-count",
    "2",
    "--json",
)


def recording(path, start, end, seed):
    with path.open("wb") as file:
        for _, message in history(start, end, symbols=("SIM-BTC", "ODD"), kinds=("book", "trade"), seed=seed):
            file.write(msgspec.json.encode(message) + b"\n")
    return path


@pytest.fixture
def before(tmp_path):
    """A quarter of an hour up to midnight."""
    return recording(tmp_path / "before.jsonl", MIDNIGHT - 900_000, MIDNIGHT, 3)


@pytest.fixture
def after(tmp_path):
    """A minute from midnight on."""
    return recording(tmp_path / "after.jsonl", MIDNIGHT, MIDNIGHT + 60_000, 4)


@pytest.fixture
def servers_known(monkeypatch, postgres_url, redis_url):
    for name, value in (("TFS_POSTGRES_URL", postgres_url), ("TFS_REDIS_URL", redis_url), ("TFS_PARTITIONS", "1")):
        monkeypatch.setenv(name, value)


def live(redis_client, path):
    """The rows of the log as it stands, with a recording behind it: what the worker makes of them."""
    entries = redis_client.xrange(keys.events(0))
    assert {fields[b"kind"] for _, fields in entries} == {b"microprice"}
    newest, n = read.id_numbers(entries[-1][0])
    last = {}

    def add(kind, message):
        entry_id = b"%d-%d" % (newest, n + 1 + len(entries))
        entries.append((entry_id, {b"kind": kind.encode(), b"data": encode(message), b"recorded": b"1"}))

    for kind, message in messages([path]):
        add(kind, message)
        last[message.symbol] = message.timestamp
    for symbol, t in last.items():
        add("tick", Tick(-(-t // 1000) * 1000, symbol))
    partition = Partition(0, CONF)
    for entry_id, fields in entries:
        partition.process(entry_id, fields, 0)
    assert not partition.pending.dead
    columns = partition.pending.batches["microstructure"].columns()
    return {
        (symbol, t_us // 1000): values.tobytes()
        for symbol, t_us, values in zip(columns.symbols, columns.event_us.tolist(), columns.values, strict=True)
    }


def backfilled(url):
    """The rows of the backfill that was LATER_MS late."""
    names = ", ".join(MICROSTRUCTURE.names)
    query = f"SELECT symbol, event_timestamp, created_timestamp, {names} FROM microstructure"  # noqa: S608 - names of the catalogue
    with psycopg.connect(url) as connection:
        return {
            (row[0], round(row[1].timestamp() * 1000)): struct.pack(
                f"{len(row) - 3}d", *(math.nan if v is None else float(v) for v in row[3:])
            )
            for row in connection.execute(query)
            if row[2] - row[1] == timedelta(milliseconds=LATER_MS)
        }


def microprices(rows):
    """Times at which microprice has a value, and the values less the mids."""
    slot, mid = MICROPRICE - 3, MID - 3
    found = {}
    for key, data in rows.items():
        values = struct.unpack(f"{len(data) // 8}d", data)
        if values[slot] == values[slot]:
            found[key] = values[slot] - values[mid]
    return found


def test_live_rows_and_backfilled_rows_have_the_same_bits_and_change_over_at_the_same_instant(
    before, after, servers_known, redis_client, postgres_url, capsys
):
    backfill([before], postgres_url, CONF)
    assert main(list(FIT)) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(f["symbol"], f["version"], f["usable_from"]) for f in report["fitted"]] == [
        ("ODD", 1, "2023-11-15T00:00:17+00:00"),
        ("SIM-BTC", 1, "2023-11-15T00:00:17+00:00"),
    ]
    assert report["published"] == 2 and report["failed"] == {}
    rows = live(redis_client, after)
    backfill([after], postgres_url, CONF, delay_ms=LATER_MS)
    assert backfilled(postgres_url) == rows
    found = microprices(rows)
    assert {symbol for symbol, _ in found} == {"SIM-BTC", "ODD"}
    assert min(t for _, t in found) == USED
    assert len(found) > 0.8 * 2 * 43  # of 43 rows a symbol some fall into cells that the history never saw
    assert len({round(g, 6) for g in found.values()}) > 10


def test_a_second_fit_takes_the_place_of_the_first_at_its_own_time(
    before, after, servers_known, redis_client, postgres_url, capsys
):
    backfill([before], postgres_url, CONF)
    assert main([*FIT, "--symbols", "ODD"]) == 0
    second = ["--from", "2023-11-15T00:00:30", "--since", "2023-11-14T23:50"]
    assert main([*FIT, "--symbols", "ODD", *second]) == 0
    assert [f["version"] for f in json.loads(capsys.readouterr().out.splitlines()[-1])["fitted"]] == [2]
    first, then = (decode(MicropriceTable, fields[b"data"]) for _, fields in redis_client.xrange(keys.events(0)))
    backfill([after], postgres_url, CONF, delay_ms=LATER_MS)
    stored, streamed = microprices(backfilled(postgres_url)), microprices(live(redis_client, after))
    assert stored == streamed
    for table, begin, end in ((first, USED, MIDNIGHT + 30_000), (then, MIDNIGHT + 30_000, MIDNIGHT + 61_000)):
        added = {round(g, 9) for (_, t), g in stored.items() if begin <= t < end}
        assert added and added <= {round(table.tick * g, 9) for g in table.g if g is not None}
    assert set(first.g) & set(then.g) <= {None, 0.0}
    assert (
        main([*FIT, "--republish"]) == 0
    )  # both times have passed: the one in use is published again, and changes nothing
    assert json.loads(capsys.readouterr().out)["published"] == 1


def test_a_backfill_with_other_tables_is_another_run(before, servers_known, postgres_url, capsys):
    first = backfill([before], postgres_url, CONF)
    assert main([*FIT, "--no-publish"]) == 0
    again = backfill([before], postgres_url, CONF)
    assert (again.made, again.new, again.skipped) == (first.made, 0, 0)


def test_tables_come_back_out_of_the_database_into_a_new_redis(before, servers_known, redis_client, postgres_url):
    backfill([before], postgres_url, CONF)
    assert main(list(FIT)) == 0
    published = [decode(MicropriceTable, fields[b"data"]) for _, fields in redis_client.xrange(keys.events(0))]
    redis_client.flushall()
    assert main(["fit-microprice", "--republish"]) == 0
    again = [decode(MicropriceTable, fields[b"data"]) for _, fields in redis_client.xrange(keys.events(0))]
    assert [msgspec.structs.replace(t, timestamp=0) for t in again] == [
        msgspec.structs.replace(t, timestamp=0) for t in published
    ]


def test_the_symbols_that_cannot_be_fitted_are_told_and_the_others_are_done(
    before, servers_known, postgres_url, capsys
):
    backfill([before], postgres_url, CONF)
    assert main(["fit-microprice", "--before", "2023-11-15", "--min-rows", "500", "--symbols", "ODD,NONE"]) == 1
    out, err = capsys.readouterr()
    assert "ODD: version 1" in out and "1 published" in out
    assert err == "error: NONE: no row with a spread before 2023-11-15 00:00; backfill its history first\n"


def test_an_empty_store_is_told(servers_known, capsys):
    assert main(["fit-microprice"]) == 1
    assert "backfill history first" in capsys.readouterr().err


def test_another_number_of_partitions_is_told_and_the_tables_can_be_published_later(
    before, servers_known, redis_client, postgres_url, capsys
):
    redis_client.set(PARTITIONS, 8)
    backfill([before], postgres_url, CONF)
    assert main(list(FIT)) == 2
    assert "8 partitions" in (err := capsys.readouterr().err) and "--republish" in err
    redis_client.delete(PARTITIONS)
    assert main(["fit-microprice", "--republish", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["published"] == 2
