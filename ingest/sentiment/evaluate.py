"""How good a model is on labelled texts: pure functions of labels and probabilities.

Labels are indices in ``labels.LABELS``: 0 positive, 1 negative, 2 neutral. A text without a score counts as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingest.sentiment.model.labels import LABELS, Probabilities, meaning

BINS = 10
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")
_SIGNS = {"-1": "negative", "0": "neutral", "1": "positive"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measures of an evaluation."""

    n: int
    unscored: int  # texts that the model gave no score
    accuracy: float  # share of texts whose likeliest label is the true one
    macro_f1: float  # mean of the F1 of the labels that occur among the true ones
    f1: tuple[float, ...]  # of each label, 0 for a label that is neither true nor predicted
    ece: float  # see ``calibration_error``
    confusion: tuple[tuple[int, ...], ...]  # counts, [true][predicted]; the fourth column counts texts without a score


def evaluate(truth: Sequence[int], scores: Sequence[Probabilities | None]) -> Evaluation:
    """Compare scores with true labels. Raise ``ValueError`` if there are no labels, or another number of scores.

    >>> evaluate([0, 1], [(0.8, 0.1, 0.1), (0.6, 0.3, 0.1)]).accuracy
    0.5
    """
    if not truth or len(truth) != len(scores):
        raise ValueError(f"{len(truth)} labels for {len(scores)} scores: as many of each are needed, and one at least")
    k = len(LABELS)
    confusion = [[0] * (k + 1) for _ in range(k)]
    for label, score in zip(truth, scores, strict=True):
        confusion[label][k if score is None else likeliest(score)] += 1
    f1 = []
    for i in range(k):
        predicted_and_true = sum(row[i] for row in confusion) + sum(confusion[i])
        f1.append(2 * confusion[i][i] / predicted_and_true if predicted_and_true else 0.0)
    present = [i for i in range(k) if sum(confusion[i])]
    return Evaluation(
        n=len(truth),
        unscored=sum(row[k] for row in confusion),
        accuracy=sum(confusion[i][i] for i in range(k)) / len(truth),
        macro_f1=sum(f1[i] for i in present) / len(present),
        f1=tuple(f1),
        ece=calibration_error(truth, scores),
        confusion=tuple(map(tuple, confusion)),
    )


def likeliest(score: Probabilities) -> int:
    """Return the label of the largest probability, the first of equal ones."""
    return max(range(len(score)), key=score.__getitem__)


def calibration_error(truth: Sequence[int], scores: Sequence[Probabilities | None]) -> float:
    """Return the expected calibration error over the scored texts, NaN if nothing was scored.

    It is the mean distance of confidence and accuracy over 10 bins of confidence, weighted by their texts (Naeini, Cooper, Hauskrecht
    2015).

    >>> round(calibration_error([0, 0], [(0.9, 0.1, 0.0), (0.3, 0.7, 0.0)]), 12)
    0.4
    """
    counts, right, confidence = [0] * BINS, [0] * BINS, [0.0] * BINS
    for label, score in zip(truth, scores, strict=True):
        if score is not None:
            bin_ = min(int(max(score) * BINS), BINS - 1)
            counts[bin_] += 1
            right[bin_] += likeliest(score) == label
            confidence[bin_] += max(score)
    n = sum(counts)
    return sum(abs(r - c) for r, c in zip(right, confidence, strict=True)) / n if n else float("nan")


def label_indices(values: Sequence[object], names: Mapping[str, str]) -> list[int]:
    """Return the meaning of the labels of a file.

    These names, in any case, have a meaning: positive, bullish, pos; negative, bearish, neg; neutral, neu. Numbers have one only as
    signs: if -1 occurs, and nothing but -1, 0 and 1. Other numbers do not mean the same in every file.

    Parameters
    ----------
    values : sequence
        Labels as they stand in the file: names or numbers.
    names : mapping
        The meaning of labels without one: ``{"0": "bearish"}``.

    Raises
    ------
    ValueError
        A label has no meaning; the message says how to give it one.

    Examples
    --------
    >>> label_indices([1, -1, 0], {})
    [0, 1, 2]
    """
    known: dict[str, int] = {}
    unknown: set[str] = set()
    found = {_text(v) for v in values}
    names = {**(_SIGNS if "-1" in found <= _SIGNS.keys() else {}), **names}
    for text in found:
        label = meaning(names.get(text, text))
        if label is None:
            unknown.add(text)
        else:
            known[text] = label
    if unknown:
        shown = ", ".join(repr(u[:40]) for u in sorted(unknown)[:5])
        raise ValueError(
            f"label {shown} means nothing here; say what it is, such as --labels={sorted(unknown)[0][:40]}=positive"
        )
    return [known[_text(v)] for v in values]


def is_missing(label: object) -> bool:
    """Return whether a row has no label.

    >>> is_missing(None), is_missing(float("nan")), is_missing(" "), is_missing(0)
    (True, True, True, False)
    """
    return label is None or label != label or not str(label).strip()


def _text(value: object) -> str:
    """Return a label as text. 1.0, as a column with gaps writes 1, and +1 become 1."""
    text = str(value).strip()
    return str(int(float(text))) if _WHOLE.fullmatch(text) else text
