"""Outputs of models, by name."""

from __future__ import annotations

import pytest

from ingest.sentiment.model.labels import ModelError, output_order


@pytest.mark.parametrize(
    ("model", "id2label", "order"),
    [
        ("ProsusAI/finbert", {0: "positive", 1: "negative", 2: "neutral"}, (0, 1, 2)),
        ("yiyanghkust/finbert-tone", {0: "Neutral", 1: "Positive", 2: "Negative"}, (1, 2, 0)),
        ("ElKulako/cryptobert", {0: "Bearish", 1: "Neutral", 2: "Bullish"}, (2, 0, 1)),
    ],
)
def test_known_models_are_read_in_their_own_order(
    model: str, id2label: dict[int, str], order: tuple[int, int, int]
) -> None:
    assert output_order(id2label) == order, model


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "'LABEL_0', which says nothing of sentiment"),
        ({0: "positive", 1: "negative", 2: "joy"}, "'joy', which says nothing"),
        ({0: "positive", 1: "negative"}, "needs the outputs positive, negative and neutral"),
        ({0: "positive", 1: "bullish", 2: "neutral"}, "two outputs of the model mean positive"),
        ({}, "it has none"),
        ({0: "positive", 1: "negative", 2: "neutral", 3: "neutral"}, "two outputs of the model mean neutral"),
    ],
)
def test_names_that_do_not_say_it_are_errors(id2label: dict[int, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        output_order(id2label)
