"""The example model: a split that leaks nothing, a score that finds what is there and nothing where nothing is."""

from __future__ import annotations

import doctest
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.messages.kinds import Tick
from ingest.publish.publisher import Publisher
from ingest.simulate import history

T0 = 1_700_000_000_000
HORIZON = timedelta(seconds=10)


def frame(example, rows: int, signal: float, seed: int = 1):
    """A row a second: ten features of noise, a label that the first one tells of by so much, and every fifth value missing."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 10))
    y = signal * x[:, 0] + generator.normal(size=rows)
    x[generator.random(x.shape) < 0.2] = np.nan
    return example.Frame(np.arange(rows, dtype=np.int64) * 1_000_000, x, y, tuple(f"f{i}" for i in range(10)))


def test_what_can_be_predicted_is_found_and_scored_beyond_its_error(train_model) -> None:
    model, score = train_model.train(frame(train_model, 6000, signal=0.5), HORIZON)
    # the label's variance is 0.25 + 1; a fifth of the feature is missing: 0.8 * 0.25 / 1.25 = 0.16 can be had
    assert score.gain == pytest.approx(0.16, abs=0.03)
    assert score.gain > 5 * score.standard_error
    assert int(model.used[np.argmax(np.abs(model.weights))]) == 0
    assert "more than chance" in str(score)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_noise_is_not_sold_as_a_signal(train_model, seed) -> None:
    _, score = train_model.train(frame(train_model, 3000, signal=0.0, seed=seed), HORIZON)
    assert score.gain < 2 * score.standard_error
    assert "nothing that chance" in str(score)


def test_a_label_that_leaks_over_the_split_is_not_in_the_training_set(train_model) -> None:
    whole = frame(train_model, 1000, signal=0.0)

    @given(share=st.floats(0.05, 0.95), horizon_s=st.integers(1, 120))
    def holds(share: float, horizon_s: int) -> None:
        past, future = train_model.split(whole, share, timedelta(seconds=horizon_s))
        assert len(future.t_us) > 0
        if len(past.t_us):
            assert past.t_us[-1] + horizon_s * 1_000_000 < future.t_us[0]
            assert future.t_us[0] - past.t_us[-1] <= (horizon_s + 2) * 1_000_000, "no more is thrown away than must be"

    holds()


def test_the_future_changes_nothing_in_the_model(train_model) -> None:
    whole = frame(train_model, 1200, signal=0.5)
    model, _ = train_model.train(whole, HORIZON)
    changed = train_model.Frame(whole.t_us, whole.x.copy(), whole.y.copy(), whole.names)
    changed.x[800:], changed.y[800:] = 77.0, -5.0  # the last third
    other, _ = train_model.train(changed, HORIZON)
    assert model.weights.tobytes() == other.weights.tobytes()
    assert model.bias == other.bias


def test_empty_and_constant_features_are_left_out_and_unlabelled_rows_dropped(train_model) -> None:
    n = 300
    table = pa.table(
        {
            "symbol": ["A"] * n,
            "event_timestamp": pa.array(range(n), pa.int64()).cast(pa.timestamp("us", "UTC")),
            "good": np.random.default_rng(1).normal(size=n),
            "constant": np.full(n, 4.2),
            "empty": pa.nulls(n, pa.float64()),
            "label": pa.array([None if i == 7 else float(i % 3) for i in range(n)], pa.float64()),
        }
    )
    found = train_model.frame_of(table, "label")
    assert len(found.y) == n - 1
    assert train_model.fit(found, 1.0).used.tolist() == [0]


def test_too_few_rows_are_an_error(train_model) -> None:
    with pytest.raises(ValueError, match="too few"):
        train_model.train(frame(train_model, 200, signal=0.0), HORIZON)


def test_its_example_gives_what_it_says(train_model) -> None:
    failed, tried = doctest.testmod(train_model)
    assert (failed, tried) == (0, 4)


def test_a_model_is_served_what_it_was_trained_on(
    train_model, serve_model, store, pipeline, capsys, monkeypatch, tmp_path
) -> None:
    seconds = 420
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for kind, message in history(T0, T0 + seconds * 1000, symbols=("SIM-BTC",), seed=5, kinds=("book", "trade")):
            publisher.publish(kind, message, recorded=True)
        publisher.publish("tick", Tick(T0 + seconds * 1000, "SIM-BTC"), recorded=True)
    pipeline.run()
    monkeypatch.setattr(train_model, "FeatureStore", lambda **_: store)
    end = datetime.fromtimestamp(T0 / 1000 + seconds, UTC).isoformat()
    span = ["--hours", str(seconds / 3600), "--end", end]
    saved = tmp_path / "model.json"
    assert train_model.main(["--symbols", "SIM-BTC", "--horizon", "5", *span, "--save", str(saved)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\d{2,} of \d{2,} features used", out)
    assert "R² against the training mean" in out

    model = train_model.Saved.read(saved)
    now = datetime.fromtimestamp(T0 / 1000 + seconds, UTC)
    entities = pd.DataFrame({"symbol": ["SIM-BTC"], "event_timestamp": [now]})
    row = store.get_historical_features(entities, store.get_feature_service(model.service)).to_df()
    trained_on = row[list(model.features)].to_numpy(dtype=np.float64)
    store._get_provider().online_store.clock = lambda: int(now.timestamp() * 1e6)
    served, absent = serve_model.predictions(store, model, ["SIM-BTC", "NEVER"])
    assert served[:2] == ("SIM-BTC", model.model.predict(trained_on)[0])  # the same bits
    assert served[2] > 0.5
    assert absent == ("NEVER", None, 0.0)


def test_a_saved_model_predicts_the_same_bits(train_model, tmp_path) -> None:
    whole = frame(train_model, 600, signal=0.5)
    model = train_model.fit(whole, 10.0)
    names = tuple(whole.names[i] for i in model.used)
    train_model.Saved("signal_v1", "label", names, model).write(tmp_path / "model.json")
    again = train_model.Saved.read(tmp_path / "model.json")
    assert (again.service, again.label, again.features) == ("signal_v1", "label", names)
    assert again.model.predict(whole.x[:, model.used]).tobytes() == model.predict(whole.x).tobytes()
