"""Imbalances and volumes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.instrument import Instrument
from transforms.kernel import vector, zeros
from transforms.microstructure import kernel
from transforms.microstructure.imbalance import IMBALANCE_L1, IMBALANCE_L3, IMBALANCE_L5, IMBALANCE_L10, IMBALANCE_RATIO

BIDS = [(100.0 - i, size) for i, size in enumerate((3.0, 1.0, 1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 1.0, 1.0, 9.0))]
ASKS = [(101.0 + i, size) for i, size in enumerate((1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 4.0))]


def test_imbalances_of_1_3_5_and_10_levels_by_hand(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS).row(1)
    assert row["imbalance_l1"] == (3 - 1) / (3 + 1)
    assert row["imbalance_l3"] == (5 - 4) / (5 + 4)
    assert row["imbalance_l5"] == (8 - 8) / (8 + 8)
    assert row["imbalance_l10"] == (16 - 16) / (16 + 16)
    # the ratio and the volumes count every level that is there, the eleventh bid too
    assert row["bid_volume"] == 25.0
    assert row["ask_volume"] == 16.0
    assert row["imbalance_ratio"] == (25 - 16) / (25 + 16)


def test_an_imbalance_is_null_where_either_side_has_fewer_levels(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS[:4]).row(1)
    assert row["imbalance_l3"] is not None
    assert row["imbalance_l5"] is None
    assert row["imbalance_l10"] is None
    row = new_feed().book(1, BIDS[:2], ASKS).row(1)
    assert row["imbalance_l1"] == 0.5
    assert row["imbalance_l3"] is None
    assert (row["bid_volume"], row["ask_volume"]) == (4.0, 16.0)
    assert row["imbalance_ratio"] == (4 - 16) / (4 + 16)


def test_levels_of_an_earlier_longer_book_are_not_counted(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS).book(2, BIDS[:1], ASKS[:1]).row(2)
    assert (row["bid_volume"], row["ask_volume"]) == (3.0, 1.0)
    assert row["imbalance_l3"] is None


def test_sizes_are_summed_from_the_best_level_outwards(new_feed: Any) -> None:
    sizes = (0.1, 0.2, 0.3)
    row = new_feed().book(1, [(9.0 - i, q) for i, q in enumerate(sizes)], [(10.0, 1.0)]).row(1)
    assert row["bid_volume"] == 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1


SIDES = st.lists(st.floats(min_value=1e-300, max_value=1e15), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(bids=SIDES, asks=SIDES)
def test_an_imbalance_lies_between_minus_one_and_one_whatever_the_sizes(bids: list[float], asks: list[float]) -> None:
    book = [0.0] * 87
    for i, q in enumerate(bids):
        book[i], book[20 + i] = 100.0 - i, q
    for i, q in enumerate(asks):
        book[40 + i], book[60 + i] = 101.0 + i, q
    state = kernel.init(Instrument(), 1_000_000)
    kernel.step_book(state, 1_000_000, vector(book), len(bids), len(asks))
    out = zeros(kernel.FEATURES)
    kernel.emit(state, 1_000_000, out)
    assert -1.0 <= out[IMBALANCE_RATIO] <= 1.0
    levels = min(len(bids), len(asks))
    for slot, k in ((IMBALANCE_L1, 1), (IMBALANCE_L3, 3), (IMBALANCE_L5, 5), (IMBALANCE_L10, 10)):
        assert -1.0 <= out[slot] <= 1.0 if k <= levels else out[slot] != out[slot]
