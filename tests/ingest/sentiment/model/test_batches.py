"""Batches of about as many tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.sentiment.model.batches import pad, plan

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 500))
def test_every_text_is_in_one_batch_and_no_batch_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(plan(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 500))
def test_a_batch_that_is_not_padded_is_filled_with_tokens(lengths: list[int], budget: int) -> None:
    batches = list(plan(lengths, budget, pads=False))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    sums = [sum(lengths[i] for i in batch) for batch in batches]
    assert all(total <= budget or len(batch) == 1 for total, batch in zip(sums, batches, strict=True))
    for total, following in zip(sums, batches[1:], strict=False):
        assert total + lengths[following[0]] > budget, "one more text would not have fitted"


@given(LENGTHS)
def test_a_padded_batch_holds_the_texts(lengths: list[int]) -> None:
    texts = [[i + 1] * n for i, n in enumerate(lengths)]
    ids, mask = pad(texts, 0)
    assert ids.shape == (len(texts), max(lengths))
    whole = np.ones(ids.shape, dtype=np.int64) if mask is None else mask
    assert [[int(x) for x in row[m == 1]] for row, m in zip(ids, whole, strict=True)] == texts
    assert (ids[whole == 0] == 0).all()
    assert (mask is None) == (len(set(lengths)) == 1)
