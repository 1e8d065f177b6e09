"""The meaning of a model's outputs, read by name because two models rarely agree on the order."""

from __future__ import annotations

from collections.abc import Mapping

from feature_repo.stores.errors import UserError

LABELS = ("positive", "negative", "neutral")
Probabilities = tuple[float, float, float]  # of the labels, in their order; they sum to 1

_MEANING = {
    "positive": 0, "pos": 0, "bullish": 0,
    "negative": 1, "neg": 1, "bearish": 1,
    "neutral": 2, "neu": 2,
}  # fmt: skip


class ModelError(UserError):
    """A sentiment model cannot be used; the message says why and what to do."""


def meaning(name: str) -> int | None:
    """Return the index in ``LABELS`` of the meaning of a label name in any case, None if it has none.

    >>> meaning("Bullish"), meaning("LABEL_0")
    (0, None)
    """
    return _MEANING.get(name.strip().lower())


def output_order(id2label: Mapping[int, str]) -> tuple[int, int, int]:
    """Return the outputs that mean positive, negative and neutral, given a model's ``config.id2label``.

    Raise ``ModelError`` if there are not three outputs, if a name is unknown, or if two names have one meaning.

    >>> output_order({0: "Neutral", 1: "Positive", 2: "Negative"})
    (1, 2, 0)
    """
    names = ", ".join(f"{i}: {name!r}" for i, name in sorted(id2label.items()))
    order: dict[int, int] = {}
    for output, name in id2label.items():
        label = meaning(str(name))
        if label is None:
            raise ModelError(
                f"output {output} of the model is called {name!r}, which says nothing of sentiment (outputs are"
                f" {names}); correct id2label in its config.json to positive, negative and neutral"
            )
        if label in order:
            raise ModelError(f"two outputs of the model mean {LABELS[label]} (outputs are {names}); three are needed")
        order[label] = int(output)
    if len(order) != len(LABELS) or sorted(order.values()) != [0, 1, 2]:
        raise ModelError(f"the model needs the outputs positive, negative and neutral; it has {names or 'none'}")
    return order[0], order[1], order[2]
