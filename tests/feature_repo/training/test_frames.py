"""Training frames: what was known at each moment, and a label that looks only ahead."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf, log, nan
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

import feature_repo
from feature_repo.stores.history import reading
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.join import plan as planning
from feature_repo.training import frames, labelling
from feature_repo.training.definitions import Barriers, ForwardReturn, label_of
from ingest.cli import main
from transforms import catalog

T0 = datetime(2024, 1, 1, tzinfo=UTC)
VIEW = catalog.MICROSTRUCTURE
MINUTE = timedelta(minutes=1)


def put(connection: psycopg.Connection[Any], rows: list[tuple[str, float, float, float]]) -> None:
    """Write ``(symbol, event, created, mid_price)``, times in seconds after `T0`."""
    values = np.full((len(rows), len(VIEW.features)), np.nan)
    values[:, VIEW.index["mid_price"]] = [r[3] for r in rows]
    base = int(T0.timestamp()) * 1_000_000
    event, created = (np.array([base + round(r[i] * 1e6) for r in rows], np.int64) for i in (1, 2))
    append_rows(connection, VIEW, [r[0] for r in rows], event, created, values)


def put_between(connection: psycopg.Connection[Any], first: int, last: int, step: int = 5, symbol: str = "A") -> None:
    """Write prices that were known to nobody before the end: labels over them have no hole, and no feature has them."""
    put(connection, [(symbol, second, second + 1000, 77) for second in range(first, last + 1, step)])


@pytest.fixture
def store(open_store: Callable[..., FeatureStore], definitions: list[Any]) -> FeatureStore:
    return open_store(*definitions)


def labels_in(table: pa.Table) -> list[dict[str, Any]]:
    """Return the definitions in the metadata, without the names of the columns."""
    described = json.loads(table.schema.metadata[b"labels"])
    return [{name: value for name, value in one.items() if name != "column"} for one in described]


def frame(store: FeatureStore, seconds: int, horizon: timedelta = MINUTE, **more: Any) -> pa.Table:
    end = T0 + timedelta(seconds=seconds)
    symbols = more.get("symbols", ["A"])
    return pa.concat_tables(frames.slices(store, "signal_v1", symbols, T0, end, timedelta(seconds=1), horizon))


def test_the_label_is_the_return_from_what_was_known_to_what_came(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    # 100 at 0, corrected to 101 at 1.5 s; 110 at second 60, which is written 5 s late.
    put(database, [("A", 0, 0.2, 100), ("A", 0, 1.5, 101), ("A", 60, 65, 110), ("A", 70, 1000, 120)])
    put_between(database, 5, 55)
    table = frame(store, 12)
    assert table.column("event_timestamp").type == pa.timestamp("us", "UTC")
    mids = table.column("mid_price").to_pylist()
    assert mids == [None, 100, *[101] * 9, None, None]
    label = table.column("forward_log_return_60s").to_pylist()
    assert label[0] is None
    assert label[1] == pytest.approx(log(110 / 100), abs=1e-15)
    assert label[2:10] == pytest.approx([log(110 / 101)] * 8, abs=1e-15)
    assert label[10] == pytest.approx(log(120 / 101), abs=1e-15)
    assert label[11:] == [None, None]
    assert table.column("forward_log_return_60s_missing").to_pylist() == ["no_price", *[None] * 10, *["no_price"] * 2]


@pytest.mark.parametrize("plan", ["look-up", "scan"])
def test_at_each_moment_the_frame_holds_what_was_believed_then(
    store: FeatureStore, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    """Rows of every second, a third of them late, some corrected later still; ttl 10 s."""
    if plan == "scan":
        monkeypatch.setattr(planning, "FEW", 0)
        monkeypatch.setattr(planning, "PACKED_COST", -1e12)
    rng = np.random.default_rng(7)
    rows = []
    for second in range(0, 60, 3):  # gaps, so that ages are seen too
        created = second + float(rng.choice([0, 0, 4.25, 12]))
        rows.append(("A", second, created, 100.0 + second))
        for again in range(int(rng.integers(3))):
            created += float(rng.choice([0.5, 3, 7]))
            rows.append(("A", second, created, 200.0 + second + again / 4))
    put(database, rows)
    put_between(database, 60, 78, 3)
    believed: list[float | None] = []
    in_hindsight: list[float | None] = []
    for t in range(70):
        there = [(event, created, mid) for _, event, created, mid in rows if t - 10 <= event <= t]
        in_hindsight.append(max(there)[2] if there else None)
        known = [row for row in there if row[1] <= t]
        believed.append(max(known)[2] if known else None)
    assert believed != in_hindsight
    table = frame(store, 69)
    assert table.column("mid_price").to_pylist() == believed
    # The label starts from the same belief: no row later than t takes part in its denominator.
    label = table.column("forward_log_return_60s").to_pylist()
    assert [x is None for x in label[:9]] == [mid is None for mid in believed[:9]]


def test_features_and_label_are_of_one_history(store: FeatureStore, database: psycopg.Connection[Any]) -> None:
    put(database, [("A", 0, 0, 100), ("A", 60, 60, 110), ("A", 61, 61, 121)])
    put_between(database, 5, 55)
    columns = "symbol, event_timestamp, created_timestamp, mid_price"
    database.execute(
        f"INSERT INTO microstructure ({columns}, recomputed) SELECT symbol, event_timestamp, created_timestamp, mid_price * 2, true "  # noqa: S608
        "FROM microstructure WHERE event_timestamp <= %s",
        (T0 + MINUTE,),
    )
    for history, mid, later in (("served", 100, 110), ("recomputed", 200, 220)):
        with reading(history):
            table = frame(store, 1)
        assert table.schema.metadata[b"history"] == history.encode()
        assert table.column("mid_price").to_pylist() == [mid, mid]
        labels = table.column("forward_log_return_60s").to_pylist()
        # from second 61 on, nothing was recomputed
        assert labels == [pytest.approx(log(later / mid), abs=1e-15), pytest.approx(log(121 / mid), abs=1e-15)]


def test_a_price_at_the_moment_itself_is_no_future(store: FeatureStore, database: psycopg.Connection[Any]) -> None:
    put(database, [("A", 0, 0, 100), ("A", 2, 2, 120)])
    label = frame(store, 1, horizon=timedelta(seconds=1)).column("forward_log_return_1s").to_pylist()
    # From 0 nothing comes in (0, 1]; from 1 the price of 2 does.
    assert label == [None, pytest.approx(log(120 / 100), abs=1e-15)]


def test_the_grid_is_every_moment_for_every_symbol_in_slices(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: psycopg.Connection[Any]
) -> None:
    put(database, [("A", 3, 3, 100), ("B", 4, 4, 200)])
    whole = frame(store, 10, symbols=["B", "A"])
    monkeypatch.setattr(frames, "SLICE", 7)
    seen: list[int] = []
    path = tmp_path / "frame.parquet"
    parts = frames.slices(store, "signal_v1", ["B", "A"], T0, T0 + timedelta(seconds=10), timedelta(seconds=1), MINUTE)
    assert frames.write_parquet(path, parts, seen.append) == 22
    assert seen == [6, 6, 6, 4]
    assert frames.grid_rows(["B", "A"], T0, T0 + timedelta(seconds=10), timedelta(seconds=1)) == 22
    assert pq.read_table(path) == whole
    assert whole.column("symbol").to_pylist() == ["B", "A"] * 11
    raw = [name for view in catalog.VIEWS if view.feed in ("book", "trade", "post") for name in view.names]
    label = "forward_log_return_60s"
    assert whole.column_names == ["symbol", "event_timestamp", *raw, label, f"{label}_missing"]
    assert json.loads(whole.schema.metadata[b"features"]) == raw
    assert [label_of(given) for given in labels_in(whole)] == [ForwardReturn(MINUTE)]


def test_a_frame_that_failed_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield pa.table({"a": [1]})
        raise OSError("the server went away")

    with pytest.raises(OSError, match="went away"):
        frames.write_parquet(tmp_path / "frame.parquet", broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"horizon": timedelta(microseconds=1)}, "horizon is a millisecond"),
        ({"every": timedelta(0)}, "step must be positive"),
        ({"end": T0 - MINUTE}, "end not before"),
        ({"start": datetime(2024, 1, 1)}, "need a time zone"),  # noqa: DTZ001  # what is refused
    ],
)
def test_a_frame_that_cannot_be_is_refused(store: FeatureStore, change: dict[str, Any], message: str) -> None:
    given = {"symbols": ["A"], "start": T0, "end": T0 + MINUTE, "every": MINUTE, "horizon": MINUTE} | change
    with pytest.raises(ValueError, match=message):
        next(frames.slices(store, "signal_v1", **given))


@pytest.fixture
def repo(tmp_path: Path, definitions: list[Any], postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the project's definitions applied, which the command takes for its own."""
    folder = tmp_path / "feature_repo"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        "project: trading\nprovider: feature_repo.stores.provider.TradingProvider\nregistry: registry.db\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
        "offline_store: {type: feature_repo.stores.timescale.TimescaleOfflineStore}\n"
    )
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    monkeypatch.setattr(feature_repo, "__file__", str(folder / "__init__.py"))
    FeatureStore(repo_path=str(folder)).apply(definitions)
    return folder


@pytest.mark.parametrize("symbols", [["A", "B"], ["A,B"], ["A,B", "A"]])
def test_the_command_writes_the_frame_and_says_so(
    repo: Path, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str], symbols: list[str]
) -> None:
    put(database, [("A", 0, 0, 100), ("A", 61, 61, 110), ("B", 0, 0.5, 50)])
    put_between(database, 5, 55)
    path = repo.parent / "frame.parquet"
    command = ["training-frame", "--service", "signal_v1", "--symbols", *symbols, "--start", "2024-01-01T00:00:00"]
    command += [
        "--end",
        "2024-01-01T00:00:01Z",
        "--every",
        "1s",
        "--horizon",
        "60s",
        "--history",
        "recomputed",
        "-o",
        str(path),
    ]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"4 rows, history recomputed, in {path}",
        "  forward_log_return_60s: 2 labels, 2 null: 1 end, 1 no_price",
    ]
    assert "rows" in said.err  # the progress bar
    assert "100%" in said.err
    table = pq.read_table(path)
    assert table.schema.metadata[b"history"] == b"recomputed"
    assert table.select(["symbol", "mid_price"]).to_pylist() == [
        {"symbol": "A", "mid_price": 100},
        {"symbol": "B", "mid_price": None},
        {"symbol": "A", "mid_price": 100},
        {"symbol": "B", "mid_price": 50},
    ]
    # From second 1 the price of second 61 counts, from second 0 that of second 55, which nobody knew in time.
    labels = [pytest.approx(log(0.77), abs=1e-15), None, pytest.approx(log(1.1), abs=1e-15), None]
    assert table.column("forward_log_return_60s").to_pylist() == labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--service": "nothing"}, "nothing"),
        ({"--end": "2023-12-31"}, "end not before"),
        ({"--symbols": ","}, "at least one symbol"),
        ({"-o": "absent/frame.parquet"}, "absent"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(
    repo: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(repo.parent)
    given = {
        "--service": "signal_v1",
        "--symbols": "A",
        "--start": "2024-01-01",
        "--end": "2024-01-01",
        "-o": "f.parquet",
    }
    assert main(["training-frame", *(word for pair in (given | change).items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert message in error
    assert not list(repo.parent.glob("*parquet*"))


LABELS = (
    ForwardReturn(timedelta(seconds=5)),
    ForwardReturn(timedelta(seconds=20), "long"),
    ForwardReturn(timedelta(seconds=20), "short"),
    Barriers(timedelta(seconds=15), profit=1, loss=1, volatility="spread_pct"),
)
"""The spread in percent stands for a volatility here: only the rows of one view are needed."""


def put_market(
    connection: psycopg.Connection[Any], seconds: int, changed_from: float = inf, factor: float = 1.0
) -> None:
    """Write a random walk of two symbols, known after a third of a second, with a hole; prices from a second on may be others."""
    rng = np.random.default_rng(5)
    base = int(T0.timestamp()) * 1_000_000
    for symbol in ("A", "B"):
        mid = 100 * np.exp(np.cumsum(rng.normal(0, 2e-3, seconds)))
        mid[np.arange(seconds) >= changed_from] *= factor
        values = np.full((seconds, len(VIEW.features)), np.nan)
        values[:, VIEW.index["mid_price"]] = mid
        values[:, VIEW.index["spread"]] = 0.02
        values[:, VIEW.index["spread_pct"]] = 0.004
        values[60, VIEW.index["mid_price"]] = np.nan
        event = base + np.arange(seconds) * 1_000_000
        append_rows(connection, VIEW, [symbol] * seconds, event, event + 333_000, values)


def labelled(store: FeatureStore, seconds: int) -> pa.Table:
    end = T0 + timedelta(seconds=seconds)
    every = timedelta(seconds=1)
    return pa.concat_tables(frames.slices(store, "signal_v1", ["A", "B"], T0, end, every, LABELS, weights=True))


def test_labels_and_weights_are_the_same_however_the_frame_is_cut(
    store: FeatureStore, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_market(database, 150)
    whole = labelled(store, 140)
    monkeypatch.setattr(frames, "SLICE", 34)
    monkeypatch.setattr(labelling, "STRETCH_US", 7_000_000)
    cut = labelled(store, 140)
    weights = [f"{label.column}_weight" for label in LABELS]
    assert cut == whole
    rows = [i for i, symbol in enumerate(whole["symbol"].to_pylist()) if symbol == "A"]
    for label, name in zip(LABELS, weights, strict=True):
        # the same by the loops of the book, over the moments of a symbol
        column = whole[label.column].take(rows).to_pylist()
        end = np.arange(141) + label.horizon.total_seconds()
        if isinstance(label, Barriers):
            ends = whole[f"{label.column}_end"].take(rows).to_pylist()
            end = np.array([nan if e is None else (e - T0).total_seconds() for e in ends])
        given = [i for i in range(141) if column[i] is not None]
        count = [sum(j <= at <= end[j] for j in given) for at in range(141)]
        expected = {i: np.mean([1 / count[at] for at in range(i, 141) if at <= end[i]]) for i in given}
        assert whole[name].take(rows).to_pylist() == [
            pytest.approx(expected[i], rel=1e-12) if i in expected else None for i in range(141)
        ]
        assert 60 < len(given) < 141
    # who trades at once pays the spread of 2 cents twice over both sides
    long, short = (whole[label.column].to_numpy() for label in LABELS[1:3])
    assert np.nanmax(long + short) == pytest.approx(-2 * 0.02 / 100, rel=0.2)


def test_a_price_of_the_future_changes_labels_and_no_feature(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    put_market(database, 120)
    before = labelled(store, 90)
    database.execute("TRUNCATE microstructure")
    put_market(database, 120, changed_from=80, factor=1.5)
    after = labelled(store, 90)
    features = ["symbol", "event_timestamp", *json.loads(before.schema.metadata[b"features"])]
    until = 2 * 80  # rows of two symbols up to second 79, at which the price of 80 is not known
    assert before.select(features)[:until] == after.select(features)[:until]
    for label in LABELS:
        one, other = before[label.column].to_pylist(), after[label.column].to_pylist()
        far = 2 * (80 - int(label.horizon.total_seconds()))
        assert one[:far] == other[:far]
        assert one[:until] != other[:until]
