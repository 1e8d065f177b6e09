"""What a model loses without a feature."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.research import importance
from ingest.research.frame import ResearchError
from ingest.research.importance import Ridge, estimator_of, importances
from tests.ingest.research.frames import SECOND, frame


def _frame(rows: int = 1000):
    rng = np.random.default_rng(1)
    a, b, noise = rng.normal(size=(3, rows))
    return frame({"a": a, "again": a + 0.01 * b, "noise": noise}, {1: a + rng.normal(size=rows)})


def test_what_tells_is_missed_and_noise_is_not() -> None:
    found = importances(_frame(), SECOND, [[0], [1], [2], [0, 1]], [0, 1, 2])
    assert found is not None
    alone, again, noise, both = found.lost.mean(axis=0)
    score = float(found.score.mean())
    assert score == pytest.approx(0.69, abs=0.05)  # Spearman's of normal values whose correlation is 1 / sqrt 2
    assert both == pytest.approx(score, abs=0.05), "the model has nothing else"
    assert 0.05 < alone < score - 0.1, "the other one says the same"
    assert 0.05 < again < score - 0.1
    assert abs(noise) < 0.02


def test_no_training_row_knows_a_price_of_the_test_set() -> None:
    seen = []

    class Spy(Ridge):
        def fit(self, x, y):
            seen.append(x[:, 0])
            return super().fit(x, y)

    rows, horizon = 1000, 20
    one = frame({"row": np.arange(rows, dtype=float)}, {horizon: np.random.default_rng(2).normal(size=rows)})
    importances(one, horizon * SECOND, [[0]], [0], Spy)
    # Of 1000 rows 200 are the test set. Before it the 19 are missing whose labels end after its first row; after it the 39 that start
    # before its last label, 20 rows after its last row, is known and the embargo of 20 is over.
    before, after = 19, 39
    assert [len(x) for x in seen] == [800 - after, *[800 - before - after] * 3, 800 - before]


def test_an_estimator_is_named_by_its_package() -> None:
    assert estimator_of("ridge") is Ridge
    assert estimator_of("ingest.research.importance:Ridge") is Ridge
    for text in ("sklearn", "json:dumps", "json:JSONDecoder", "ingest.research.importance:Nothing"):
        with pytest.raises(ResearchError, match="estimator"):
            estimator_of(text)


def test_few_rows_have_no_importance() -> None:
    assert importances(_frame(200), SECOND, [[0]], [0]) is None


def test_a_long_frame_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "ROWS_MAX", 500)
    fitted = []

    class Spy(Ridge):
        def fit(self, x, y):
            fitted.append(len(y))
            return super().fit(x, y)

    assert importances(_frame(), SECOND, [[0]], [0], Spy) is not None
    assert max(fitted) <= 400
