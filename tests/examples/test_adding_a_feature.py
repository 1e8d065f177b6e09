"""The worked example of a new feature: its edits are made in a copy of the project, and the feature is read from both stores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from math import log
from pathlib import Path

import psycopg
import pytest

from feature_repo.stores.endpoints import POSTGRES_VARIABLE, REDIS_VARIABLE
from ingest.backfill.days.run import backfill_from_tape
from tests.ingest.backfill.days import tapes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-feature.md"
PACKAGES = ("transforms", "ingest", "feature_repo")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.S | re.M)


def follow(copy: Path) -> None:
    """Do what the page says: change files by its diffs, write the files that it names."""
    for diff in blocks("diff"):
        head, *lines = diff.splitlines()
        path = copy / head.removeprefix("--- ")
        text = path.read_text()
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, "\n".join(line[1:] for line in lines if line[0] in " +")))
    for block in blocks("python"):
        named = re.match(r"# ([\w/]+\.py)\n", block)
        if named is not None:
            path = copy / named[1]
            assert not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block[named.end() :])


def edited_copy(folder: Path) -> Path:
    """Copy the packages, with the example's edits."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    follow(folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages with the example's edits."""
    return edited_copy(tmp_path)


def run(copy: Path, *command: str, timeout_s: float = 120, **environ: str) -> str:
    # compiling every kernel anew would take a minute; the bits are the same without
    given = {**os.environ, "PYTHONPATH": str(copy), "TFS_NUMBA": "0", **environ}
    done = subprocess.run(command, cwd=copy, env=given, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_last_step_gives_the_feature_its_past_and_leaves_every_other_value_as_it_was(
    copy, postgres_url, tmp_path
) -> None:
    """Three days that were served and backfilled before, by the kernels without the feature."""
    conf = tapes.settings(str(tmp_path / "tape"))
    for day in range(3):
        tapes.put(conf, tapes.market(day))
    tapes.serve(conf, postgres_url)
    backfill_from_tape(postgres_url, conf)
    before = {which: tapes.stored(postgres_url, which) for which in ("recomputed", "NOT recomputed")}
    assert all(
        before["recomputed"][view] and before["NOT recomputed"][view] for view in ("microstructure", "technical")
    )

    servers = {
        POSTGRES_VARIABLE: postgres_url,
        "TFS_TAPE": conf.tape,
        "TFS_PARTITIONS": "2",
        "TFS_EMIT_INTERVAL_MS": "4000",
    }
    (command,) = re.findall(r"^python -m (ingest backfill .*)$", PAGE.read_text(), re.M)
    for computed in (6, 0):
        told = run(copy, sys.executable, "-m", *command.split(), "--json", **servers)
        assert json.loads(told)["days"]["computed"] == computed
        assert {which: tapes.stored(postgres_url, which) for which in before} == before, "in the columns from before"

    with psycopg.connect(postgres_url) as connection:
        query = "SELECT touch_ratio, imbalance_l1 FROM microstructure WHERE book_valid = 1 AND "
        past = connection.execute(query + "recomputed").fetchall()
        # imbalance_l1 is (b - a)/(b + a) of the same two sizes
        assert [ratio for ratio, _ in past] == pytest.approx([log((1 + i) / (1 - i)) for _, i in past], rel=1e-9)
        assert len(past) > 10
        assert {ratio for ratio, _ in connection.execute(query + "NOT recomputed")} == {None}
    (reads,) = [block for block in blocks("python") if "reading(" in block]
    page = f"{FRAME}\n{reads}\nprint([list(frame['touch_ratio'].isna()) for frame in (past, served)])"
    run(copy, str(Path(sys.executable).with_name("feast")), "-c", "feature_repo", "apply", **servers)
    out = run(copy, sys.executable, "-W", "ignore", "-c", page, **servers)
    assert json.loads(out.splitlines()[-1].lower()) == [[False] * 3, [True] * 3]


FRAME = """
import pandas
from feast import FeatureStore
store = FeatureStore(repo_path="feature_repo")
times = pandas.date_range("2023-11-15T23:59:52Z", periods=3, freq="4s")
spine = pandas.DataFrame({"symbol": "SIM-BTC", "event_timestamp": times})
served = store.get_historical_features(spine, ["microstructure:touch_ratio"]).to_df()
"""


PIPELINE = """
import json, os, threading, time, redis, psycopg
import feast, pandas
from feature_repo.stores.endpoints import postgres_url, redis_url
from ingest import offline_writer, settings
from ingest.messages.kinds import Tick
from ingest.publish.publisher import Publisher
from ingest.simulate import history
from ingest.streams.backlog import backlog
from ingest.worker.worker import Worker
import transforms
conf = settings.load()
stop = threading.Event()
with redis.Redis.from_url(redis_url()) as client:
    roles = [
        threading.Thread(target=Worker(client, conf).run, args=(stop,)),
        threading.Thread(target=offline_writer.run, args=(client, postgres_url(), conf.partitions, stop)),
    ]
    for role in roles:
        role.start()
    deadline = time.monotonic() + 90
    begin_ms = time.time_ns() // 1_000_000 // 1000 * 1000 - 30_000
    served = None
    while served is None and time.monotonic() < deadline:  # a machine under load may read later than the value may be served
        now_ms = time.time_ns() // 1_000_000 // 1000 * 1000
        with Publisher(client, conf.partitions) as publisher:
            for kind, message in history(begin_ms, now_ms, symbols=("SIM-BTC",), kinds=("book", "trade")):
                publisher.publish(kind, message, recorded=True)
            publisher.publish("tick", Tick(now_ms, "SIM-BTC"), recorded=True)
        begin_ms = now_ms
        while backlog(client, conf.partitions).total and time.monotonic() < deadline:
            time.sleep(0.05)
        page = {}
        exec(os.environ["READS"], page)
        served = page["online"].to_dict()["touch_ratio"][0]
    stop.set()
    for role in roles:
        role.join()
print(json.dumps([transforms.__file__, served, page["frame"]["touch_ratio"].dropna().tolist()]))
"""


RESTORE = """
import os, zlib, msgspec
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernels import MAKES
parts, _ = msgspec.msgpack.decode(zlib.decompress(open(os.environ["STATE"], "rb").read()))
engine = Engine(Instrument(), 1_000_000)
engine.restore(parts)
print(MAKES["touch_ratio"], len(engine.anew))
"""


def test_the_new_feature_resets_no_kernel_of_a_symbol_that_runs(copy) -> None:
    before = ROOT / "tests" / "transforms" / "two_days_before.bin"
    assert run(copy, sys.executable, "-c", RESTORE, STATE=str(before)) == "touch_ratio 0\n"


def test_the_page_followed_to_the_letter_gives_the_feature_online_and_in_a_training_frame(
    copy, redis_url, postgres_url
) -> None:
    servers = {REDIS_VARIABLE: redis_url, POSTGRES_VARIABLE: postgres_url}
    tests = re.findall(r"-m pytest (\S+)", PAGE.read_text())
    assert tests == ["tests/transforms/microstructure/test_touch_ratio.py"]
    run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)

    run(copy, str(Path(sys.executable).with_name("feast")), "-c", "feature_repo", "apply", **servers)
    (reads,) = [block for block in blocks("python") if "get_online_features" in block]
    assert "get_historical_features" in reads
    out = run(copy, sys.executable, "-W", "ignore", "-c", PIPELINE, READS=reads, **servers)
    where, served, training = json.loads(out.splitlines()[-1])
    assert where.startswith(str(copy))
    assert len(set(training)) > 5
    assert served == training[-1], "what is served is the newest row"
    page = run(copy, sys.executable, "-m", "ingest", "features")
    assert "| `touch_ratio` |" in page
