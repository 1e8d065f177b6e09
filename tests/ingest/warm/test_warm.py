"""``warm``: workers go on with states that are rebuilt from the tape, on a real Redis and a real tape."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from feature_repo.stores.endpoints import REDIS_VARIABLE
from ingest import settings
from ingest.cli import main
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.read import id_numbers
from ingest.tape.columns import EVENTS, IMPORT, SCHEMA, table_of
from ingest.tape.role import Follower
from ingest.tape.table import open_to_append
from ingest.worker import rebuilt, rows
from ingest.worker.partition import Partition
from ingest.worker.worker import Worker
from tests.ingest.worker.long_life import DAY, END, HOUR, NAME, Entry, Rows, as_bits, live, rows_of, tape_of
from transforms.instrument import Instrument
from transforms.kernels import VERSIONS

MINUTE_US = 60_000_000
LIFE = live()
CUT = next(i for i, (entry_id, _) in enumerate(LIFE) if id_numbers(entry_id)[0] > END - HOUR)
LATER = CUT + (len(LIFE) - CUT) // 2


def undisturbed(entries: list[Entry], conf: Settings, begin: int = CUT) -> Rows:
    """The rows of a worker that never stopped, from the entry number ``begin`` on."""
    partition = Partition(0, conf)
    partition.replay(entries[:begin])
    return rows_of(partition, entries[begin:])


class Deployment:
    """A Redis with a log, a tape, and workers that are stepped by hand; nothing is quiet, as their steady clock stands."""

    def __init__(self, client: redis.Redis, place: Path) -> None:
        self.client = client
        self.conf = settings.load(
            {"TFS_PARTITIONS": "1", "TFS_EMIT_INTERVAL_MS": "60000", "TFS_TAPE": str(place), "TFS_RECOVER_S": "0"}
        )

    def append(self, entries: list[Entry]) -> None:
        pipe = self.client.pipeline()
        for entry_id, fields in entries:
            pipe.xadd(keys.events(0), dict(fields), id=entry_id)  # type: ignore[arg-type]
        pipe.execute()

    def follow(self) -> None:
        """Do what the role ``tape`` does, up to the end of the log."""
        follower = Follower(self.client, open_to_append(self.conf, ""), 1)
        while follower.step():
            pass
        follower.append()

    def worker(self, conf: Settings | None = None) -> Worker:
        worker = Worker(self.client, conf or self.conf, lambda: END * 1000, lambda: 0)
        worker.open()
        return worker

    def work(self, worker: Worker) -> None:
        """Step until everything is read and written."""
        while worker.step():
            pass
        worker.flush()

    def rows(self) -> Rows:
        """The rows in the outbox, each once."""
        found: Rows = {}
        for _, fields in self.client.xrange(keys.outbox(0)):
            columns = rows.decode(fields[b"rows"])
            for at, values in zip(columns.event_us.tolist(), columns.values, strict=True):
                key = columns.view.name, at
                assert key not in found, f"{key} is there twice"
                found[key] = as_bits(values)
        return found


@pytest.fixture
def here(redis_client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    deployment = Deployment(redis_client, tmp_path / "tape")
    monkeypatch.setenv(REDIS_VARIABLE, redis_url)
    monkeypatch.setenv("TFS_PARTITIONS", "1")
    monkeypatch.setenv("TFS_EMIT_INTERVAL_MS", "60000")
    monkeypatch.setenv("TFS_RECOVER_S", "0")
    monkeypatch.setenv("TFS_TAPE", deployment.conf.tape)
    return deployment


def warm(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """Run the command; what it says of each symbol."""
    capsys.readouterr()
    assert main(["warm", "--json", *args]) == code
    return {one["symbol"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}


def warm_beside(
    here: Deployment, worker: Worker, capsys: pytest.CaptureFixture[str], *args: str, code: int = 0
) -> dict[str, dict[str, Any]]:
    """Run the command while the worker works, in another thread."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            worker.step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        return warm(capsys, *args, code=code)
    finally:
        done.set()
        thread.join()


def lived_until_it_was_emptied(here: Deployment) -> None:
    """A deployment whose tape has its life up to ``CUT``, and whose Redis has nothing."""
    tape_of(Path(here.conf.tape), LIFE[:CUT], here.conf)
    here.client.flushall()


def since(found: Rows, at_us: int) -> Rows:
    return {key: row for key, row in found.items() if key[1] >= at_us}


def test_after_redis_was_emptied_all_rows_are_those_of_a_worker_that_never_stopped(here: Deployment, capsys) -> None:
    here.append(LIFE[:CUT])
    first = here.worker()
    here.work(first)
    here.follow()
    here.client.flushall()
    found = warm(capsys)
    assert found[NAME]["outcome"] == "waits" and not found[NAME]["missing"]
    here.append(LIFE[CUT:])
    worker = here.worker()
    here.work(worker)
    assert here.rows() == undisturbed(LIFE, here.conf)
    assert not here.client.exists(keys.rebuilt(0))
    assert not warm(capsys)  # the worker lacks nothing any more


def test_a_worker_that_goes_on_blind_goes_on_with_the_whole_past_once_it_is_warmed(here: Deployment, capsys) -> None:
    lived_until_it_was_emptied(here)
    worker = here.worker()
    here.append([(b"%d-%d" % id_numbers(entry_id), fields) for entry_id, fields in LIFE[CUT:LATER]])
    here.work(worker)
    before = here.rows()
    found = warm_beside(here, worker, capsys)
    assert found[NAME]["outcome"] == "taken over" and not found[NAME]["missing"]
    here.append(LIFE[LATER:])
    here.work(worker)
    expected = undisturbed(LIFE, here.conf, LATER)
    after = {key: row for key, row in here.rows().items() if key not in before}
    assert after == expected and len(expected) > 50
    assert since(before, min(at for _, at in before)) != since(undisturbed(LIFE, here.conf), 0)  # it was blind


@pytest.mark.parametrize("dies", ["before the commit", "behind the commit"])
def test_an_owner_that_dies_while_it_takes_a_state_over_loses_and_doubles_nothing(
    here: Deployment, capsys, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    lived_until_it_was_emptied(here)
    here.append(LIFE[CUT:LATER])
    here.work(here.worker())  # goes on blind, and is gone
    here.client.delete(keys.owner(0), keys.members("worker"))
    assert warm(capsys)[NAME]["outcome"] == "waits"
    before = here.rows()

    class DiedError(Exception):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(*((Worker, "_flush") if dies == "before the commit" else (rebuilt, "finish")), die)
        with pytest.raises(DiedError):
            here.worker()
    here.client.delete(keys.owner(0), keys.members("worker"))
    worker = here.worker()
    assert not here.client.exists(keys.rebuilt(0))
    here.append(LIFE[LATER:])
    here.work(worker)
    assert {key: row for key, row in here.rows().items() if key not in before} == undisturbed(LIFE, here.conf, LATER)


def test_a_state_of_a_later_entry_waits_until_the_worker_has_come_so_far_and_the_log_keeps_what_it_lacks(
    here: Deployment, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.append(LIFE[:LATER])
    here.follow()  # no worker has run
    assert warm(capsys, NAME)[NAME]["outcome"] == "waits"
    monkeypatch.setattr(rebuilt, "LOOK_S", 0.0)
    monkeypatch.setattr("ingest.worker.worker.SAVE_ENTRIES", 100)
    here.client.delete(keys.kept(0))  # as it expires
    worker = here.worker()
    assert here.client.exists(keys.rebuilt(0)) and here.client.exists(keys.kept(0))
    here.append(LIFE[LATER:])
    here.work(worker)
    worker._take_rebuilt()
    assert not here.client.exists(keys.rebuilt(0))
    assert since(here.rows(), 0) == undisturbed(LIFE, here.conf, 0)


def test_a_state_whose_log_was_trimmed_meanwhile_is_refused_and_the_worker_goes_on(here: Deployment, capsys) -> None:
    lived_until_it_was_emptied(here)
    warm(capsys)
    here.client.delete(keys.kept(0))
    here.append(LIFE[CUT:LATER])
    here.client.xtrim(keys.events(0), minid=LIFE[CUT + 50][0], approximate=False)
    worker = here.worker()
    here.work(worker)
    (field,) = here.client.hkeys(keys.rebuilt(0))
    assert field.endswith(rebuilt.REFUSED) and b"warm again" in here.client.hget(keys.rebuilt(0), field)
    assert here.rows()


@pytest.mark.parametrize("differs", ["settings", "kernels"])
def test_a_state_of_other_settings_or_kernels_than_the_workers_is_refused_with_the_reason(
    here: Deployment, capsys, monkeypatch: pytest.MonkeyPatch, differs: str
) -> None:
    lived_until_it_was_emptied(here)
    conf = dataclasses.replace(here.conf, allowed_lateness_ms=777) if differs == "settings" else here.conf
    worker = here.worker(conf)
    if differs == "kernels":
        opened = rebuilt._opened

        def of_a_worker_with_another_rsi(*args: Any) -> str:
            with monkeypatch.context() as patch:
                patch.setattr("transforms.kernels.VERSIONS", tuple((name, n + (name == "rsi")) for name, n in VERSIONS))
                return opened(*args)

        monkeypatch.setattr(rebuilt, "_opened", of_a_worker_with_another_rsi)
    found = warm_beside(here, worker, capsys, code=1)
    assert found[NAME]["outcome"] == {
        "settings": "the worker has other settings than `warm` had: allowed_lateness_ms",
        "kernels": "the worker has other kernels than `warm` had: rsi, rsi_14_n",
    }[differs]  # fmt: skip
    assert not here.client.exists(keys.rebuilt(0), keys.kept(0)) and not worker._partitions[keys.events(0)].symbols


def test_a_worker_that_is_older_than_the_tape_keeps_what_the_tape_lacks(here: Deployment, capsys) -> None:
    here.append(LIFE[:CUT])
    worker = here.worker()
    here.work(worker)
    late = [entry for entry in LIFE[:CUT] if id_numbers(entry[0])[0] > END - 2 * DAY]
    tape_of(Path(here.conf.tape), late, here.conf)
    assert not warm(capsys)
    found = warm_beside(here, worker, capsys, "--all")[NAME]
    assert found["outcome"] == "taken over"
    assert {"vpin", "posts", "rsi"} <= set(found["kept"]) and not {"volatility", "spread_pct_z"} & set(found["kept"])
    before = here.rows()
    here.append(LIFE[CUT:])
    here.work(worker)
    assert {key: row for key, row in here.rows().items() if key not in before} == undisturbed(LIFE, here.conf)


def test_a_changed_instrument_is_that_of_a_worker_that_had_it_from_the_beginning(
    here: Deployment, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.append(LIFE[:CUT])
    first = here.worker()
    here.work(first)
    here.follow()
    first.close()
    before = here.rows()
    changed = tmp_path / "instruments.toml"
    changed.write_text(f"[{NAME}]\nvpin_bucket = 7.0\nsize_digits = 3\ncontract_size = 0.5\n")
    monkeypatch.setenv("TFS_INSTRUMENTS", str(changed))
    conf = dataclasses.replace(here.conf, instruments=settings.instruments(changed))
    assert conf.instrument(NAME) == Instrument(vpin_bucket=7.0, size_digits=3, contract_size=0.5)
    worker = here.worker(conf)
    found = warm_beside(here, worker, capsys, NAME)[NAME]
    assert found["outcome"] == "taken over" and not found["kept"]
    here.append(LIFE[CUT:])
    here.work(worker)
    assert {key: row for key, row in here.rows().items() if key not in before} == undisturbed(LIFE, conf)


def test_a_new_symbol_has_the_past_that_was_imported(here: Deployment, capsys) -> None:
    history = [
        (entry_id, {**fields, b"recorded": b"1"})
        for entry_id, fields in LIFE[:CUT]
        if fields[b"kind"] in (b"book", b"trade", b"gap", b"post")
    ]
    file = table_of(history, EVENTS, 0)
    file = file.set_column(
        file.schema.get_field_index("source"), SCHEMA.field("source"), pa.array([IMPORT] * len(file))
    )
    open_to_append(here.conf, "").commit([file], {})
    worker = here.worker()
    found = warm_beside(here, worker, capsys)
    assert found[NAME]["outcome"] == "taken over"
    here.append(LIFE[CUT:])
    here.work(worker)
    assert here.rows() == undisturbed([*history, *LIFE[CUT:]], here.conf, len(history))


def test_an_idle_symbol_is_warmed_too(here: Deployment, capsys) -> None:
    lived_until_it_was_emptied(here)
    here.append(LIFE[CUT:LATER])
    worker = here.worker()
    here.work(worker)
    (partition,) = worker._partitions.values()
    partition.idle.add(partition.symbols.pop(NAME))
    partition._touched.discard(NAME)
    worker._flush([partition], save=True)
    assert here.client.hkeys(keys.idle(0)) == [NAME.encode()]
    before = here.rows()
    assert warm_beside(here, worker, capsys)[NAME]["outcome"] == "taken over"
    assert not here.client.exists(keys.idle(0))
    here.append(LIFE[LATER:])
    here.work(worker)
    assert {key: row for key, row in here.rows().items() if key not in before} == undisturbed(LIFE, here.conf, LATER)


def test_a_symbol_for_which_there_is_no_place_is_not_opened(here: Deployment, capsys) -> None:
    lived_until_it_was_emptied(here)
    worker = here.worker()
    (partition,) = worker._partitions.values()
    partition.symbols._most = 0
    found = warm_beside(here, worker, capsys, code=1)
    assert "TFS_MAX_SYMBOLS" in found[NAME]["outcome"] and not partition.symbols


def test_a_symbol_that_was_heard_two_minutes_later_than_the_tape_lacks_its_past(here: Deployment, capsys) -> None:
    some = [entry for entry in LIFE if id_numbers(entry[0])[0] > END - 5 * 60_000]
    tape_of(Path(here.conf.tape), some, here.conf)
    here.append(some)
    worker = here.worker()
    here.work(worker)
    worker._flush(worker._partitions.values(), save=True)
    assert not warm(capsys)
    here.client.flushall()
    later = next(i for i, (entry_id, _) in enumerate(some) if id_numbers(entry_id)[0] > END - 3 * 60_000)
    here.append(some[later:])
    worker = here.worker()
    here.work(worker)
    worker._flush(worker._partitions.values(), save=True)
    worker.close()
    assert warm(capsys).keys() == {NAME}


def test_what_is_no_symbol_or_not_on_the_tape_is_said(here: Deployment, capsys, monkeypatch) -> None:
    tape_of(Path(here.conf.tape), LIFE[:100], here.conf)
    assert main(["warm", "a b"]) == 2
    assert "is no symbol" in capsys.readouterr().err
    assert main(["warm", "A", "--all"]) == 2
    assert "not both" in capsys.readouterr().err
    assert warm(capsys, "ZZZ", code=1)["ZZZ"]["outcome"] == "not on the tape"
    monkeypatch.setenv("TFS_SYMBOLS", "OTHER")
    assert main(["warm", "A"]) == 2
    assert "TFS_SYMBOLS" in capsys.readouterr().err


def test_a_log_that_lost_what_the_tape_lacks_is_refused(here: Deployment, capsys) -> None:
    tape_of(Path(here.conf.tape), LIFE[:CUT], here.conf)
    here.append(LIFE[: CUT + 100])
    here.client.xtrim(keys.events(0), minid=LIFE[CUT + 50][0], approximate=False)
    assert main(["warm", NAME]) == 2
    assert "has lost entries" in capsys.readouterr().err and not here.client.exists(keys.rebuilt(0))
