"""Order flow imbalance, by hand, at the edges of its windows and around holes in the feed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from transforms.microstructure.ofi import lots

BIDS, ASKS = [(99.0, 5.0)], [(101.0, 7.0)]

# e = Q_b 1{P_b >= P_b'} - Q_b' 1{P_b <= P_b'} - Q_a 1{P_a <= P_a'} + Q_a' 1{P_a >= P_a'}; before: bid 5 at 99, ask 7 at 101
MOVES = [
    ("the bid rises", [(99.5, 2.0)], ASKS, 2.0 - 7.0 + 7.0),
    ("the bid falls", [(98.5, 2.0)], ASKS, -5.0 - 7.0 + 7.0),
    ("the bid grows in place", [(99.0, 6.0)], ASKS, 6.0 - 5.0 - 7.0 + 7.0),
    ("the bid shrinks in place", [(99.0, 1.0)], ASKS, 1.0 - 5.0 - 7.0 + 7.0),
    ("the ask falls", BIDS, [(100.5, 3.0)], 5.0 - 5.0 - 3.0),
    ("the ask rises", BIDS, [(101.5, 3.0)], 5.0 - 5.0 + 7.0),
    ("the ask grows in place", BIDS, [(101.0, 9.0)], 5.0 - 5.0 - 9.0 + 7.0),
    ("the ask shrinks in place", BIDS, [(101.0, 4.0)], 5.0 - 5.0 - 4.0 + 7.0),
    ("nothing changes", BIDS, ASKS, 0.0),
    ("both rise", [(99.5, 2.0)], [(101.5, 3.0)], 2.0 + 7.0),
    ("both fall", [(98.5, 2.0)], [(100.5, 3.0)], -5.0 - 3.0),
    ("the bid rises, the ask falls", [(99.5, 2.0)], [(100.5, 3.0)], 2.0 - 3.0),
    ("the bid falls, the ask rises", [(98.5, 2.0)], [(101.5, 3.0)], -5.0 + 7.0),
]


@pytest.mark.parametrize(("bids", "asks", "flow"), [m[1:] for m in MOVES], ids=[m[0] for m in MOVES])
def test_flow_between_two_books_by_hand(new_feed: Any, bids: Any, asks: Any, flow: float) -> None:
    row = new_feed().book(10, BIDS, ASKS).book(10.5, bids, asks).row(11)
    assert row["ofi_1s"] == flow


@pytest.mark.parametrize(("bids", "asks", "flow"), [m[1:] for m in MOVES], ids=[m[0] for m in MOVES])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_flow_at_a_deeper_level_is_the_same_by_that_level(
    new_feed: Any, bids: Any, asks: Any, flow: float, k: int
) -> None:
    better_bids = [(100.0 - 0.01 * i, 1.0) for i in range(k - 1)]
    better_asks = [(100.1 + 0.01 * i, 1.0) for i in range(k - 1)]
    feed = new_feed().book(1, better_bids + BIDS, better_asks + ASKS).book(10.5, better_bids + bids, better_asks + asks)
    row = feed.row(11)
    assert row[f"mlofi_l{k}"] == flow
    assert row["mlofi_l1"] == 0.0
    assert [row[f"mlofi_l{i}"] for i in range(k + 1, 6)] == [None] * (5 - k)


def test_level_one_of_mlofi_is_the_ten_second_flow(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS).book(5, [(99.0, 8.0)], ASKS).row(11)
    assert row["ofi_10s"] == row["mlofi_l1"] == 3.0


def test_windows_are_open_on_the_left_and_closed_on_the_right(new_feed: Any) -> None:
    feed = new_feed().book(1, [(99.0, 1.0)], ASKS)
    sizes = {10.0: 11.0, 10.000001: 111.0, 11.0: 1111.0}  # flows of 10, 100 and 1000
    for t, q in sizes.items():
        feed.book(t, [(99.0, q)], ASKS)
    row = feed.row(11)
    assert row["ofi_1s"] == 1100.0
    assert row["ofi_10s"] == 1110.0
    assert feed.row(12)["ofi_1s"] == 0.0
    assert feed.row(20)["ofi_10s"] == 1100.0
    assert feed.row(21)["ofi_10s"] == 0.0
    assert feed.row(61)["ofi_60s"] == 1110.0
    assert feed.row(70)["ofi_60s"] == 1100.0
    assert feed.row(71)["ofi_60s"] == 0.0


def test_windows_slide_by_buckets_of_a_tenth_of_a_second(new_feed: Any) -> None:
    feed = new_feed(bucket_us=100_000).book(1, [(99.0, 1.0)], ASKS).book(2.35, [(99.0, 4.0)], ASKS)
    assert feed.row(2.4)["ofi_1s"] == 3.0
    assert feed.row(3.3)["ofi_1s"] == 3.0
    assert feed.row(3.4)["ofi_1s"] == 0.0
    assert feed.row(12.3)["ofi_10s"] == 3.0
    assert feed.row(12.4)["ofi_10s"] == 0.0


@pytest.mark.parametrize(("name", "w"), [("ofi_1s", 1), ("ofi_10s", 10), ("ofi_60s", 60), ("mlofi_l1", 10)])
def test_flow_is_null_until_the_window_is_covered(new_feed: Any, name: str, w: int) -> None:
    feed = new_feed().book(5, BIDS, ASKS).book(5.25, [(99.0, 8.0)], ASKS)
    assert feed.row(5 + w - 1)[name] is None
    assert feed.row(5 + w)[name] == 3.0


def test_flow_is_null_while_there_was_only_one_book(new_feed: Any) -> None:
    feed = new_feed().book(5, BIDS, ASKS)
    assert feed.row(7)["ofi_1s"] is None
    assert feed.book(7.5, BIDS, ASKS).row(8)["ofi_1s"] == 0.0
    assert feed.invalid(8.5).book(8.75, BIDS, ASKS).row(10)["ofi_1s"] is None


def test_flow_does_not_bridge_a_gap(new_feed: Any) -> None:
    feed = new_feed().book(1, BIDS, ASKS).book(60.5, [(99.0, 8.0)], ASKS)
    assert feed.row(61)["ofi_60s"] == 3.0
    feed.invalid(61.5)
    assert all(feed.row(62)[f"ofi_{w}s"] is None for w in (1, 10, 60))
    # 100 more stand at the bid after the gap: how much of it came and went is not known
    feed.book(63.0, [(99.0, 108.0)], ASKS).book(63.5, [(99.0, 109.0)], ASKS)
    row = feed.row(64)
    assert (row["ofi_1s"], row["ofi_10s"], row["ofi_60s"]) == (1.0, None, None)
    assert (feed.row(72)["ofi_10s"], feed.row(73)["ofi_10s"]) == (None, 1.0)
    assert (feed.row(122)["ofi_60s"], feed.row(123)["ofi_60s"]) == (None, 1.0)


def test_deeper_levels_do_not_bridge_a_gap_either(new_feed: Any) -> None:
    bids, asks = [(99.0 - i, 5.0) for i in range(5)], [(101.0 + i, 7.0) for i in range(5)]
    feed = new_feed().book(1, bids, asks).book(2, bids, asks)
    assert feed.row(11)["mlofi_l5"] == 0.0
    feed.invalid(11.5)
    feed.book(12, [(p, 50.0) for p, _ in bids], asks).book(12.5, [(p, 51.0) for p, _ in bids], asks)
    assert [feed.row(21)[f"mlofi_l{k}"] for k in (1, 2, 3, 4, 5)] == [None] * 5
    assert [feed.row(22)[f"mlofi_l{k}"] for k in (1, 2, 3, 4, 5)] == [1.0] * 5


def test_a_level_missing_from_one_book_makes_its_windows_null_and_no_other(new_feed: Any) -> None:
    two_bids, two_asks = [*BIDS, (98.0, 2.0)], [*ASKS, (102.0, 2.0)]
    feed = new_feed().book(1, two_bids, two_asks).book(11, [BIDS[0], (98.0, 3.0)], two_asks)
    assert feed.row(11)["mlofi_l2"] == 1.0
    feed.book(11.5, BIDS, two_asks)  # the second bid is gone
    row = feed.row(12)
    assert row["mlofi_l2"] is None
    assert row["mlofi_l1"] == 0.0
    feed.book(12.5, two_bids, two_asks).book(12.75, [BIDS[0], (98.0, 7.0)], two_asks)
    assert feed.row(22)["mlofi_l2"] is None
    assert feed.row(23)["mlofi_l2"] == 0.0  # (13, 23]: nothing happened
    feed.book(23.5, two_bids, two_asks)
    assert feed.row(24)["mlofi_l2"] == -5.0


def test_sizes_are_summed_as_whole_lots(new_feed: Any) -> None:
    sizes = [0.1, *((0.3, 0.2, 0.1)[i % 3] for i in range(10))]
    feed = new_feed(digits=1)
    for i, q in enumerate(sizes):
        feed.book(1 + i / 10, [(99.0, q)], ASKS)
    # a sum of doubles would be off, and by how much would depend on where it began
    assert sum(q - before for before, q in pairwise(sizes)) != 0.2
    assert feed.row(2)["ofi_1s"] == 0.2


@pytest.mark.parametrize(("size", "digits", "whole"), [(0.29, 2, 29), (0.57, 2, 57), (4.35, 2, 435)])
def test_a_size_is_its_nearest_number_of_lots(size: float, digits: int, whole: int) -> None:
    assert int(size * 10**digits) == whole - 1  # cutting off would lose one
    assert lots(size, 10.0**digits) == whole


def test_books_of_one_time_follow_each_other(new_feed: Any) -> None:
    feed = new_feed().book(1, BIDS, ASKS).book(2, [(99.0, 6.0)], ASKS).book(2, [(99.5, 1.0)], ASKS)
    assert feed.row(2)["ofi_1s"] == 1.0 + 1.0
