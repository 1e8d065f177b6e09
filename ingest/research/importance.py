"""Permutation importance on purged folds: what a model's predictions lose where a feature's values are shuffled.

A model is trained on each purged fold's training rows and predicts the test rows; its score is the rank correlation of
prediction and return. The importance of a feature is how much of the score is lost when its values are shuffled among
the test rows (Breiman 2001, Random forests). Features that say the same share an importance, so a cluster's is also
taken, of all its features shuffled together (Lopez de Prado 2020, Machine learning for asset managers, 6.5).

The estimator is the ridge regression of this module, or any class with ``fit`` and ``predict``, such as those of
scikit-learn, which is no dependency: a hundred megabytes for what the twenty lines of `Ridge` do, and who prefers
another estimator has its package already.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from feature_repo.training.splits import PurgedKFold
from ingest.research.frame import Floats, Frame, ResearchError
from ingest.research.ranks import spearman

FOLDS: Final = 5
REPEATS: Final = 3
ROWS_MAX: Final = 100_000
"""Rows that the models are given. Of more only every second, third, ... moment counts."""
LEAST: Final = 50
"""Rows that a fold's training and test set need each."""


class Estimator(Protocol):
    """What is asked of a model."""

    def fit(self, x: Floats, y: Floats) -> Any:
        """Train on (n, k) values and n returns."""

    def predict(self, x: Floats) -> Floats:
        """Return the expected returns."""


@dataclass
class Ridge:
    """Ridge regression of standardised features. The penalty is a hundredth of the evidence of the rows, so that
    equal features share their weight."""

    penalty: float = 0.01
    weights: Floats | None = None
    bias: float = 0.0

    def fit(self, x: Floats, y: Floats) -> Ridge:
        """Solve the normal equations."""
        self.bias = float(y.mean())
        gram = x.T @ x + self.penalty * len(y) * np.eye(x.shape[1])
        self.weights = np.asarray(np.linalg.solve(gram, x.T @ (y - self.bias)), np.float64)
        return self

    def predict(self, x: Floats) -> Floats:
        """Return the expected returns."""
        if self.weights is None:
            raise ResearchError("the model is not trained")
        return np.asarray(x @ self.weights + self.bias, np.float64)


@dataclass(frozen=True, slots=True)
class Importances:
    """By fold.

    Attributes
    ----------
    score : ndarray of shape (folds,)
        The rank correlation of prediction and return.
    lost : ndarray of shape (folds, groups)
        How much of it is lost where the features of a group are shuffled, the mean of some repeats.
    """

    score: Floats
    lost: Floats


def estimator_of(text: str) -> Callable[[], Estimator]:
    """Return what makes the estimator that is named: ``ridge``, or ``package.module:Class``.

    Raises
    ------
    ResearchError
    """
    if text == "ridge":
        return Ridge
    module, _, name = text.partition(":")
    try:
        made: Callable[[], Estimator] = getattr(importlib.import_module(module), name)
        one = made()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ResearchError(f"no estimator {text!r:.80}, write ridge or package.module:Class: {error}") from error
    if not (callable(getattr(one, "fit", None)) and callable(getattr(one, "predict", None))):
        raise ResearchError(f"the estimator {text!r:.80} has no fit or no predict")
    return made


def importances(
    frame: Frame,
    horizon: int,
    groups: Sequence[Sequence[int]],
    used: Sequence[int],
    make: Callable[[], Estimator] = Ridge,
    *,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Importances | None:
    """Return what each group of features is worth to a model of the features `used`, or None where the frame has too
    few rows for the folds.

    The model is given values that are standardised by the training rows of their symbol and kept within five
    deviations; a null is 0. The embargo after each test set is one horizon.
    """
    y = frame.returns[horizon]
    place = {feature: column for column, feature in enumerate(used)}
    columns = [[place[feature] for feature in group] for group in groups]
    moments = np.unique(frame.t_us)
    some = np.isin(frame.t_us, moments[:: max(1, -(-len(y) // ROWS_MAX))])
    rows = np.flatnonzero(~np.isnan(y) & some)
    start = frame.t_us[rows]
    if len(np.unique(start)) < folds * LEAST:
        return None
    ahead = timedelta(microseconds=horizon)
    scores, lost = [], []
    generator = np.random.default_rng(seed)
    for train, test in PurgedKFold(folds, start, start + horizon, embargo=ahead).split():
        if min(len(train), len(test)) < LEAST:
            return None
        past, future = rows[train], rows[test]
        x = _standard(frame, used, past)
        model = make()
        model.fit(x[past], y[past])
        given = x[future]
        score = _score(model, given, y[future])
        scores.append(score)
        lost.append([score - _shuffled(model, given, y[future], group, repeats, generator) for group in columns])
    return Importances(np.array(scores), np.array(lost))


def _shuffled(
    model: Estimator, x: Floats, y: Floats, group: Iterable[int], repeats: int, generator: np.random.Generator
) -> float:
    columns = list(group)
    kept = x[:, columns].copy()
    scores = []
    for _ in range(repeats):
        x[:, columns] = kept[generator.permutation(len(x))]
        scores.append(_score(model, x, y))
    x[:, columns] = kept
    return float(np.mean(scores))


def _score(model: Estimator, x: Floats, y: Floats) -> float:
    found = spearman(np.asarray(model.predict(x), np.float64).ravel(), y)
    return 0.0 if np.isnan(found) else found  # a model that says the same of every row knows nothing


def _standard(frame: Frame, used: Sequence[int], past: NDArray[np.int64]) -> Floats:
    """Return the values used, in deviations from the mean of their symbol's training rows."""
    found = np.zeros((len(frame.t_us), len(used)))
    trained = np.zeros(len(frame.t_us), bool)
    trained[past] = True
    for symbol in frame.symbols:
        x = frame.x[symbol][:, list(used)]
        own = x[trained[symbol]]
        known = ~np.isnan(own)
        n = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, own, 0.0).sum(axis=0) / n
        deviation = np.sqrt((np.where(known, own - mean, 0.0) ** 2).sum(axis=0) / n)
        usable = deviation > 1e-12 * (1.0 + np.abs(mean))
        with np.errstate(invalid="ignore", divide="ignore"):
            standard = np.clip((x - mean) / np.where(usable, deviation, np.inf), -5.0, 5.0)
        found[symbol] = np.nan_to_num(standard)
    return found
