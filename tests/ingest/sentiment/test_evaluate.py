"""Metrics, against hand calculations."""

from __future__ import annotations

import math

import pytest

from ingest.sentiment.evaluate import calibration_error, evaluate, label_indices

P, N, U = (0.75, 0.25, 0.0), (0.0, 0.75, 0.25), (0.25, 0.0, 0.75)


def test_accuracy_f1_and_confusion() -> None:
    found = evaluate([0, 0, 0, 1, 1, 2], [P, P, N, N, None, U])
    assert (found.n, found.unscored) == (6, 1)
    assert found.accuracy == 4 / 6
    assert found.confusion == ((2, 1, 0, 0), (0, 1, 0, 1), (0, 0, 1, 0))
    # F1 is 2 right / (said + true): 2*2/(2 + 3), 2*1/(2 + 2), 2*1/(1 + 1)
    assert found.f1 == (0.8, 0.5, 1.0)
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 1.0) / 3, rel=1e-15)


def test_a_label_that_no_text_has_is_not_in_the_mean() -> None:
    assert evaluate([0, 1], [P, N]).macro_f1 == 1.0
    assert evaluate([0, 0], [P, U]).macro_f1 == pytest.approx(2 / 3)


def test_calibration_is_the_distance_of_confidence_and_accuracy() -> None:
    # bin of 0.75: confidence 0.75, right 1 of 4; bin of 1: confidence 1, right 1 of 1; weighted by 4/5 and 1/5
    assert calibration_error([0, 1, 1, 1, 2], [P, P, P, P, (0.0, 0.0, 1.0)]) == pytest.approx(0.8 * 0.5)
    assert math.isnan(calibration_error([0], [None]))


def test_as_many_labels_as_scores_are_needed() -> None:
    for truth, scores in ([], []), ([0], []):
        with pytest.raises(ValueError, match="as many of each"):
            evaluate(truth, scores)


def test_labels_are_names_or_numbers_with_a_mapping() -> None:
    assert label_indices(["Positive", "bearish", " neutral "], {}) == [0, 1, 2]
    assert label_indices([0, 1, 2], {"0": "bearish", "1": "bullish", "2": "neutral"}) == [1, 0, 2]
    for values in ([0.0, 1.0], ["0.0", "1."], ["00", "+1"]):
        assert label_indices(values, {"0": "negative", "1": "positive"}) == [1, 0]


def test_signs_are_labels_where_a_minus_tells_that_they_are() -> None:
    assert label_indices([-1, 0, 1], {}) == [1, 2, 0]
    assert label_indices(["+1", "-1"], {}) == [0, 1]
    assert label_indices([1.0, -1.0, 0.0], {}) == [0, 1, 2]
    assert label_indices([-1, 1], {"-1": "positive", "1": "negative"}) == [0, 1]
    for values in ([0, 1], [-1, 0, 1, 2]):
        with pytest.raises(ValueError, match="means nothing here"):
            label_indices(values, {})


def test_a_label_that_means_nothing_is_an_error_that_says_how_to_map_it() -> None:
    with pytest.raises(ValueError, match=r"'7' means nothing here.*--labels=7=positive"):
        label_indices(["positive", 7], {})
