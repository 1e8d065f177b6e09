"""The fit of the microprice table: chains small enough to solve by hand, and a walk whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.microstructure.layout import IMBALANCE_BINS, SPREAD_BINS, TABLE_SIZE
from transforms.microstructure.microprice_fit import Fit, Floats, Ints

TICK = 0.01
FIRST_BOOK = 1_000_000
LAST, CENTRE = IMBALANCE_BINS - 1, IMBALANCE_BINS // 2


def fit(
    times_us: Ints, mid: Floats, imbalance: Floats, spread: Floats, tick: float, before_us: int, min_count: int = 100
) -> Floats:
    """The table from all books at once."""
    counted = Fit(tick, before_us)
    counted.add(times_us, mid, imbalance, spread)
    return counted.table(min_count)


def fitted(books: list[tuple[float, float]], before_us: int = 10**12, min_count: int = 1) -> Floats:
    """g of the one-tick column from (mid in ticks, imbalance) of each book, one a second."""
    mid = np.array([100 + TICK * m for m, _ in books])
    imbalance = np.array([i for _, i in books])
    times = FIRST_BOOK * np.arange(1, len(books) + 1)
    table = fit(times, mid, imbalance, np.full(len(books), TICK), TICK, before_us, min_count=min_count)
    assert table.shape == (TABLE_SIZE,)
    assert (table[0], table[1]) == (before_us, TICK)
    return table[2:].reshape(IMBALANCE_BINS, SPREAD_BINS)[:, 0]


def test_first_moves_by_hand() -> None:
    # From A (imbalance 1), mirror images counted: twice a tick up into C (imbalance 0), once to A' (-1) without a move.
    # g(C) = 0 by symmetry, g(A') = -g(A), so g(A) = 2/3*(1 + 0) - 1/3*g(A) = 1/2.
    g = fitted([(0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, 0)])
    assert g[LAST] == pytest.approx(0.5, abs=1e-12)
    assert g[0] == -g[LAST]
    assert g[CENTRE] == 0.0
    assert np.isnan(g[1:CENTRE]).all()


def test_moves_after_the_first_by_hand() -> None:
    # From A a tick up, half the times back into A: g(A) = 1 + g(A)/2 = 2
    g = fitted([(0, 0), (0, 1), (1, 1), (2, 0)])
    assert g[LAST] == pytest.approx(2.0, abs=1e-12)


def test_half_ticks_count_and_rounding_of_prices_does_not() -> None:
    # as the first case, half a tick at a time; the mid carries the rounding of (bid + ask)/2
    g = fitted([(0, 0), (1e-9, 1), (0.5, 0), (0.5, 1), (0.5 - 1e-9, -1), (0, 0)])
    assert g[LAST] == pytest.approx(0.25, abs=1e-12)


def test_a_walk_with_known_chances() -> None:
    # Each book: imbalance drawn anew from {-1, 0, 1}; the next mid rises a tick with chance 0.5 after 1, falls after -1,
    # stays after 0. What comes after the first step has mean 0, but for the chance of no move and a new draw, mean 0 too.
    # So g(1) = 0.5.
    rng = np.random.default_rng(5)
    imbalance = rng.integers(-1, 2, 200_000)
    steps = np.where(rng.random(200_000) < 0.5, imbalance, 0)
    mid = np.concatenate(([0], np.cumsum(steps)[:-1]))
    g = fitted(list(zip(mid.tolist(), imbalance.tolist(), strict=True)), min_count=100)
    assert g[LAST] == pytest.approx(0.5, abs=0.01)
    assert g[CENTRE] == 0.0


def test_books_from_the_given_time_on_change_nothing() -> None:
    # the past ends in A, so that one transition more would change g(A)
    past = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, 0.0), (0.0, 1.0)]
    future = [(9.0, 1.0), (3.0, 1.0), (-5.0, 0.0), (8.0, 1.0)]
    before = FIRST_BOOK * (len(past) + 1)  # the first book of the future stands at this very time
    np.testing.assert_array_equal(fitted(past + future, before), fitted(past, before))
    assert fitted(past + future, before + 1)[LAST] != fitted(past, before)[LAST]


def test_no_transition_into_or_out_of_an_unknown_book_is_counted() -> None:
    nan = float("nan")
    known = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, 0.0), (0.0, 1.0)]
    np.testing.assert_array_equal(fitted([*known, (nan, nan), (50.0, 1.0)]), fitted(known))
    assert fitted([*known, (50.0, 1.0)])[LAST] != fitted(known)[LAST]


def test_a_market_that_only_rises_teaches_nothing() -> None:
    # imbalance 1 and a tick up for ever: the sum has no limit
    assert np.isnan(fitted([(float(i), 1.0) for i in range(50)])).all()


def test_a_market_that_never_moves_teaches_nothing() -> None:
    assert np.isnan(fitted([(0.0, float(i % 2)) for i in range(50)])).all()


def test_no_books_make_a_table_of_nulls() -> None:
    assert np.isnan(fitted([])).all()


def test_a_bin_seen_too_seldom_is_null_and_still_counts_for_the_others() -> None:
    books = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, 0.0)]
    g = fitted(books, min_count=4)  # A was left 3 times with its mirror image, C 4 times
    assert np.isnan(g[LAST])
    assert g[CENTRE] == 0.0


def test_arguments_that_cannot_be_are_refused() -> None:
    one, two = np.zeros(1), np.zeros(2)
    with pytest.raises(ValueError, match="one length"):
        fit(np.array([1, 2]), two, one, two, TICK, 9)
    with pytest.raises(ValueError, match="go back"):
        fit(np.array([2, 1]), two, two, two, TICK, 9)
    with pytest.raises(ValueError, match="tick"):
        fit(np.array([1, 2]), two, two, two, 0.0, 9)


def walk(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, mids, imbalances and spreads of a random walk in which a hundredth of the books is unknown."""
    rng = np.random.default_rng(6)
    imbalance = rng.integers(-5, 6, n) / 5
    mid = 100 + TICK * np.cumsum(np.where(rng.random(n) < abs(imbalance) / 4, np.sign(imbalance), 0.0))
    mid[rng.random(n) < 0.01] = np.nan
    return FIRST_BOOK * np.arange(1, n + 1), mid, imbalance, TICK * rng.integers(1, 4, n)


def test_history_in_pieces_gives_the_same_table_to_the_bit() -> None:
    books = walk(20_000)
    whole = fit(*books, TICK, 10**12)
    assert np.isfinite(whole[2:]).sum() > 20
    pieces = Fit(TICK, 10**12)
    for some in zip(*(np.split(column, [1, 2, 2, 777, 5000, 19_999]) for column in books), strict=True):
        pieces.add(*some)
    assert pieces.table().tobytes() == whole.tobytes()
    assert pieces.books == np.isfinite(books[1]).sum()


def test_pieces_must_not_go_back_either() -> None:
    pieces = Fit(TICK, 10**12)
    pieces.add(*(column[5:6] for column in walk(9)))
    with pytest.raises(ValueError, match="go back"):
        pieces.add(*(column[4:5] for column in walk(9)))


def test_over_a_hole_in_the_history_no_transition_is_counted() -> None:
    # as the first case by hand, but an hour passes between the first two books from A to C: only the second is counted
    times = np.array([0, 1, 3602, 3603, 3604, 3605]) * FIRST_BOOK
    mid = np.array([0, 0, 1, 1, 1, 0.0]) * TICK + 100
    imbalance, spread = np.array([0, 1, 0, 1, -1, 0.0]), np.full(6, TICK)
    limited = Fit(TICK, 10**12, FIRST_BOOK)
    limited.add(times, mid, imbalance, spread)
    # from A: once (mirrored) a tick up into C, once to A' without a move: g(A) = (1 + 0 - g(A))/2 = 1/3
    assert limited.table(1)[2:].reshape(IMBALANCE_BINS, SPREAD_BINS)[LAST, 0] == pytest.approx(1 / 3, abs=1e-12)
