"""Trades that were lost with a connection: what the rows are afterwards, against those of a feed that lost none.

Compared are all columns of the views ``order_flow`` and ``technical``, bit for bit. Books that were lost with a connection stay lost
(``book_valid`` says so), so the three columns of order flow that also come of quotes are equal or null.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from ingest.backfill.run import backfill
from ingest.messages.decode import encode
from ingest.publish.placed import entries_of
from ingest.recordings.lines import Output, Parsed, Rejected
from ingest.recordings.recording import LIVE_ONLY, Recording
from ingest.recordings.venue_clock import Pace
from tests.acceptance.lossy_venue import SETTINGS, T0, Answers, Cut, Feed, Market, Rows, cuts, play, rows, run
from tests.ingest.backfill.test_run import stored
from transforms.catalog import ORDER_FLOW, TECHNICAL

OF_BOOKS = {"kyle_lambda_5m", "realized_spread_bps_5s", "effective_spread_bps_1m"}
COMPARED = {
    view.name: [i for i, feature in enumerate(view.features) if feature.name not in OF_BOOKS]
    for view in (ORDER_FLOW, TECHNICAL)
}
FEATURES = {view.name: view.features for view in (ORDER_FLOW, TECHNICAL)}
MARKS = {"trade_valid", "trade_valid_bars", "session_complete"}
RECURSIVE = {"rsi_14", "ema_12", "ema_26", "ema_dev_bps", "macd", "macd_signal", "macd_hist", "atr_14", "natr_14"}
"""They go from bar to bar over the bars that there are, and are marked."""
SECONDS = 2700
SEED = 17


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.simulated(SECONDS, SEED)


@pytest.fixture(scope="module")
def lost() -> list[Cut]:
    return [cut for cut in cuts(Random(SEED), 100) if cut.at + cut.lasts < 1000 * (SECONDS - 60)]


@pytest.fixture(scope="module")
def uncut(market: Market) -> Rows:
    feed = run(play(market, Answers(market, Random(SEED)), SECONDS))
    assert sorted(feed.trades()) == list(market.trades)
    return rows(feed.entries)


@pytest.fixture(scope="module")
def recovered(market: Market, lost: list[Cut]) -> Feed:
    """A feed that loses its connection a hundred times."""
    return run(play(market, Answers(market, Random(SEED)), SECONDS, lost))


def of_trades(found: Rows) -> dict[tuple[str, int], bytes]:
    return {key: values[COMPARED[key[0]]].tobytes() for key, values in found.items() if key[0] in COMPARED}


def told(outputs: list[Output]) -> list[bytes]:
    """The messages that a recording gives too, as they are written to a log."""
    return [encode(o.message) for o in outputs if isinstance(o, Parsed) and o.kind not in LIVE_ONLY]


def test_a_hundred_lost_connections_leave_the_rows_of_trades_as_they_are(
    market: Market, lost: list[Cut], recovered: Feed, uncut: Rows
) -> None:
    assert len(lost) > 90
    assert len(set(recovered.answers.given)) == 10, "every kind of wrong answer was given"
    assert sorted(recovered.trades()) == list(market.trades), "each trade once"
    found = rows(recovered.entries)
    assert of_trades(found) == of_trades(uncut)
    assert len(of_trades(uncut)) > 2 * (SECONDS - 10)
    kept = 0
    for (view, t_us), values in uncut.items():
        if view == "order_flow":  # books do not come back
            row, of_books = found[view, t_us], [ORDER_FLOW.index[name] for name in OF_BOOKS]
            known = [
                i for i in of_books if not math.isnan(values[i])
            ]  # its books pause sometimes, which counts as a loss
            assert all(math.isnan(row[i]) or row[i] == values[i] for i in known), t_us
            kept += sum(not math.isnan(row[i]) for i in known)
    assert kept > 20, "windows of a minute between cuts"


def test_a_recording_with_holes_gives_the_messages_that_the_feed_gave(recovered: Feed, tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    path.write_bytes(b"".join(line.data + b"\n" for line in recovered.lines))
    recording = Recording([path], pace=Pace.of(SETTINGS))
    assert told(list(recording.market())) == told(recovered.outputs)


def recorded(feed: Feed, tmp_path: Path) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The log of a replay of what a feed recorded, with the tick that ended the feed's."""
    path = tmp_path / "live.jsonl"
    path.write_bytes(b"".join(line.data + b"\n" for line in feed.lines))
    outputs = [o for o in Recording([path], pace=Pace.of(SETTINGS)).market() if isinstance(o, Parsed)]
    entries = [entry for o in outputs for _, entry in entries_of(o.kind, o.message, 1)]
    end_id, end = feed.entries[-1]
    return [(end_id.partition(b"-")[0] + b"-%d" % n, fields) for n, fields in enumerate([*entries, end])]


@pytest.mark.parametrize("killed", [True, False])
def test_a_feed_that_was_away_for_longer_than_it_is_waited_for_gives_the_rows_of_its_recording(
    tmp_path: Path, killed: bool
) -> None:
    market = Market.simulated(300, SEED)
    away = {60_300: killed, 200_700: killed}
    feed = run(play(market, Answers(market, Random(SEED), bad=0), 300, hold_s=20, restarts=away, away_ms=50_000))
    live, replayed = rows(feed.entries), rows(recorded(feed, tmp_path))
    assert {key: values.tobytes() for key, values in live.items()} == {
        key: values.tobytes() for key, values in replayed.items()
    }


def test_replay_and_backfill_of_a_recording_with_holes_give_the_rows_of_the_feed(
    tmp_path: Path, postgres_url: str
) -> None:
    market, random = Market.simulated(300, SEED), Random(SEED)
    lost = [Cut(20_000, 9_000), Cut(40_000, 30_000), Cut(90_000, 3_000), Cut(230_000, 12_000)]
    never = frozenset(n for n, trade in market.trades.items() if 45_000 <= trade["at"] < 60_000)
    answers = Answers(market, random, bad=1, lost=never)
    feed = run(play(market, answers, 300, lost, hold_s=20, restarts={130_300: True}, away_ms=50_000))
    live, replayed = rows(feed.entries), rows(recorded(feed, tmp_path))
    assert {key: values.tobytes() for key, values in live.items()} == {
        key: values.tobytes() for key, values in replayed.items()
    }
    done = backfill([tmp_path / "live.jsonl"], postgres_url, SETTINGS)
    assert done.refused == Counter(o.reason for o in feed.outputs if isinstance(o, Rejected)), "wrong answers"
    filled = {(view, t_us): values[8:] for (view, _, t_us), values in stored(postgres_url)[0].items()}
    end_us = max(t_us for _, t_us in filled)  # a backfill ends behind the last message, the feed at its last tick
    assert filled == {key: values.tobytes() for key, values in live.items() if key[1] <= end_us}
    assert end_us > (T0 + 290_000) * 1000
    assert {values[ORDER_FLOW.index["trade_valid"]] for (view, _), values in live.items() if view == "order_flow"} == {
        0.0,
        1.0,
    }


def test_restarts_of_feed_and_worker_in_the_middle_of_recoveries_change_nothing(
    market: Market, lost: list[Cut], uncut: Rows
) -> None:
    restarts = {cut.at + cut.lasts + 150: n % 2 == 0 for n, cut in enumerate(lost[::9])}
    feed = run(play(market, Answers(market, Random(SEED + 1)), SECONDS, lost, restarts=restarts))
    assert sorted(feed.trades()) == list(market.trades)
    assert of_trades(rows(feed.entries, saved_every=97)) == of_trades(uncut)


def test_where_the_venue_does_not_have_the_trades_each_value_is_right_or_null_or_marked(
    market: Market, lost: list[Cut], uncut: Rows
) -> None:
    random = Random(SEED + 2)
    never = frozenset(
        number
        for cut in [cut for cut in lost[50:] if cut.lasts > 5000][::4]
        for number, trade in market.trades.items()
        if cut.at <= trade["at"] < cut.at + cut.lasts and random.random() < 0.5
    )
    feed = run(play(market, Answers(market, random, lost=never), SECONDS, lost, hold_s=20))
    assert sorted(feed.trades()) == [number for number in market.trades if number not in never]
    gaps = [
        o.message for o in feed.outputs if isinstance(o, Parsed) and o.kind == "gap" and o.message.channel == "trade"
    ]  # type: ignore[union-attr]
    assert sum(gap.missing for gap in gaps) == len(never) > 10, "and no others are told"  # type: ignore[union-attr,misc]
    found, nulls, equal = rows(feed.entries), set(), set()
    assert found.keys() >= of_trades(uncut).keys()
    for (view, t_us), right in uncut.items():
        if view not in COMPARED:
            continue
        values = found[view, t_us]
        names = [FEATURES[view][i].name for i in COMPARED[view]]
        is_marked = any(values[i] == 0.0 for i in COMPARED[view] if FEATURES[view][i].name in MARKS)
        for i, name in zip(COMPARED[view], names, strict=True):
            if values[i].tobytes() == right[i].tobytes():
                equal.add(name)
            elif np.isnan(values[i]):
                nulls.add(name)
            else:
                assert name in MARKS or (name in RECURSIVE and is_marked), (name, t_us, values[i], right[i])
    assert {"delta_volume_1m", "vwap_5m", "vpin", "cvd", "volatility_15m", "volume_profile"} <= nulls & equal
