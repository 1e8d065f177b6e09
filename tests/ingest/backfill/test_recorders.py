"""Captures of two recorders and of two symbols: each trade once, each book its own, and backfill gives the rows of a replay."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from ingest import settings
from ingest.backfill.run import backfill
from ingest.cli import main

from .test_run import differing, replay, stored

T0 = 1_700_006_400_000
CONF = settings.load({"TFS_PARTITIONS": "1"})


def market(symbol, price, first, seed):
    """Half a minute of a USD-M symbol: (event time, message), the snapshot after the first diff. Update ids are of all symbols."""
    random = Random(seed)
    out, before, number = [], first - 5, 100
    for n in range(300):
        t, last = T0 + 100 * n, first + 100 * n + 60
        levels = {"b": [[str(price - random.randrange(1, 9)), str(random.randrange(1, 9))]], "a": []}
        diff = {"e": "depthUpdate", "E": t, "s": symbol, "U": before + 40, "u": last, "pu": before, **levels}
        out.append((t, diff))
        before = last
        if n == 0:
            level = [[str(price), "1"]], [[str(price + 1), "2"]]
            out.append((t + 5, {"lastUpdateId": last - 10, "bids": level[0], "asks": level[1]}))
        for _ in range(random.randrange(4)):
            number += 1
            trade = {
                "e": "trade",
                "s": symbol,
                "t": number,
                "p": str(price),
                "q": "0.5",
                "T": t,
                "m": random.random() < 0.5,
            }
            out.append((t, {**trade, "X": "MARKET"}))
    return out


def recorded(path, messages, delay_ms, seed=0):
    """The file of a recorder that hears each message ``delay_ms`` after its time, give or take 20 ms."""
    random = Random(seed)
    lines = []
    for t, message in messages:
        lines.append(f"{(t + delay_ms + random.randrange(20)) * 1_000_000} {json.dumps(message)}")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("apart_ms", [20, 200])
def test_two_recorders_of_one_market_give_the_rows_of_one(tmp_path, postgres_url, apart_ms):
    messages = market("BTCUSDT", 60_000, 1_000_000, seed=1)
    one = recorded(tmp_path / "one.jsonl", messages, 30)
    two = recorded(tmp_path / "two.jsonl", messages, 30 + apart_ms, seed=2)
    alone = replay([one])
    done = backfill([two, one], postgres_url, CONF)
    n_trades = sum(message.get("e") == "trade" for _, message in messages)
    assert done.taken == {"trade": n_trades, "book": 300}
    assert done.refused.total() == done.refused["duplicate"] + done.refused["late"] == n_trades  # diffs are passed over
    assert done.unread == []
    assert differing(stored(postgres_url)[0], alone) == []
    assert differing(replay([two, one]), alone) == []


def test_two_symbols_of_one_series_of_updates_keep_their_books_in_replay_and_backfill(tmp_path, postgres_url):
    usdt = recorded(tmp_path / "usdt.jsonl", market("BTCUSDT", 60_000, 1_000_000, seed=3), 30)
    usdc = recorded(tmp_path / "usdc.jsonl", market("BTCUSDC", 60_020, 1_000_010, seed=4), 40)
    alone = {**replay([usdt]), **replay([usdc])}
    assert differing(replay([usdt, usdc]), alone) == differing(replay([usdc, usdt]), alone) == []
    assert backfill([usdc, usdt], postgres_url, CONF, jobs=1).refused == {}
    assert differing(stored(postgres_url)[0], alone) == []


def test_a_file_of_which_nothing_could_be_read_ends_with_1_and_three_reasons_and_all_is_kept(
    tmp_path, postgres_url, monkeypatch, capsys
):
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    good = tmp_path / "good.jsonl"
    good.write_text(f'{{"timestamp":{T0},"symbol":"A","price":1,"size":1,"trade_id":5}}\n' * 2 + "rubbish\n")
    bad = tmp_path / "bad.csv"
    bad.write_text(f"time,symbol,price,size\n{T0},A,0,1\n34200017,A,1,1\n{T0},A,1,x\n{T0},A,1,-1\n")
    kept = tmp_path / "refused"
    command = ["backfill", str(good), str(bad), "--json", "--refused", str(kept)]
    assert main(command) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["taken"] == {"trade": 1}
    assert report["refused"] == {"duplicate": 1, "undecodable": 1, "not_positive": 2, "too_old": 1, "wrong_type": 1}
    assert "nothing of bad.csv could be read (not_positive: price 0.0; too_old: " in err and "price -1.0" not in err
    (file,) = kept.iterdir()
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    assert Counter(letter["reason"] for letter in letters) == report["refused"]
    assert {letter.get("file") for letter in letters} == {"good.jsonl", "bad.csv", None}
    (duplicate,) = (letter for letter in letters if letter["reason"] == "duplicate")
    assert duplicate["message"]["trade_id"] == 5
