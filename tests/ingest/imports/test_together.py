"""Several imports into one tape at once, and an import into the storage of S3."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from deltalake import DeltaTable

from ingest.cli import ExitCode, main
from ingest.imports import run as imports
from ingest.imports import writing
from ingest.imports.rows import Done
from ingest.recordings.columns import COMMON
from ingest.settings import Settings
from ingest.tape import verify
from ingest.tape.table import Tape, open_tape

DAY_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
ROWS = 60


def written(tmp_path: Path, symbol: str) -> Path:
    path = tmp_path / f"{symbol}.csv"
    rows = [f"{DAY_MS + i * 1000},{symbol},{100 + i},{1 + i},{i + 1}\n" for i in range(ROWS)]
    path.write_text("timestamp,symbol,price,size,trade_id\n" + "".join(rows))
    return path


def bring(conf: Settings, path: Path, begin: threading.Barrier | None = None) -> Done:
    [job] = imports.plan([path], COMMON)
    if begin is not None:
        begin.wait(10)
    return imports.run(job, conf, None, lambda done: None)


def test_imports_at_once_make_one_tape_and_add_each_row_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writing, "ROWS", 20)
    conf = Settings(partitions=1, tape=str(tmp_path / "tape"))  # one partition, so that all commits count the same day
    a, b = written(tmp_path, "A"), written(tmp_path, "B")
    begin = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda path: bring(conf, path, begin), (a, a, b)))
    assert done[0].new + done[1].new == ROWS and done[2].new == ROWS
    rows = DeltaTable(conf.tape).to_pandas()
    assert rows.groupby("symbol")["data"].nunique().to_dict() == {"A": ROWS, "B": ROWS} and len(rows) == 2 * ROWS
    assert all(day.is_right for day in verify.days(open_tape(conf)))
    assert bring(conf, a).was_done and bring(conf, b).was_done


def test_an_import_into_s3_is_each_row_once_and_keeps_what_is_refused_here(
    tmp_path, bucket, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TFS_TAPE", bucket)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, "ROWS", 25)
    path = written(tmp_path, "A")
    with path.open("a") as file:
        file.write(f"{DAY_MS},A,-1,1,99\n")
    commit = Tape.commit

    def dies(tape: Tape, rows: Any, numbers: Any) -> None:
        monkeypatch.setattr(Tape, "commit", commit)
        commit(tape, rows, numbers)
        raise KeyboardInterrupt

    monkeypatch.setattr(Tape, "commit", dies)
    assert main(["import", str(path)]) == ExitCode.INTERRUPTED
    assert main(["import", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][0]
    assert (told["new"], told["refused"]) == (ROWS - 25, {"not_positive": 1})
    rows = open_tape(Settings(partitions=2, tape=bucket)).table.to_pandas().sort_values(["id_ms", "id_n"])
    assert [msgspec.msgpack.decode(data)["price"] for data in rows["data"]] == [100.0 + i for i in range(ROWS)]
    assert all(day.is_right for day in verify.days(open_tape(Settings(partitions=2, tape=bucket))))
    assert len(list((tmp_path / "refused").glob("import-*.jsonl"))) == 1
    assert main(["import", str(path)]) == 0
    assert "all of it is on the tape already" in capsys.readouterr().out


def test_a_capture_of_cryptofeed_and_its_file_of_answers_are_one_import(tmp_path: Path) -> None:
    diff = '{"e":"depthUpdate","E":%d000,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["99","1"]],"a":[["101","1"]]}'
    ws, http = tmp_path / "BINANCE_FUTURES.ws.1.0", tmp_path / "BINANCE_FUTURES.http.0.0"
    ws.write_text(
        "wss://fstream.binance.com/stream?streams=btcusdt@depth <-> 1626992740.179554\n"
        + "".join(
            f'{second}.5: {{"stream":"btcusdt@depth@100ms","data":{diff % (second, u, u + 9, u - 1)}}}\n'
            for second, u in ((1626992742, 10), (1626992743, 20), (1626992744, 30))
        )
    )
    http.write_text(
        "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000 -> 1626992742.6: "
        '{"lastUpdateId":15,"bids":[["99","1"]],"asks":[["101","1"]]}\n'
    )
    [job] = imports.plan([ws, http], COMMON)
    done = imports.run(job, Settings(), None, lambda _: None, dry=True)
    assert (job.market.name, dict(done.read), dict(done.refused)) == ("binance-futures", {"book": 3}, {})
    assert imports.unread(job) == ""
