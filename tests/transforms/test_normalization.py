"""The view ``normalized``: the kernel by hand and by its definition, and its rows beside those of the raw views."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from math import fsum, inf, isnan, nan, sqrt
from pathlib import Path

import pytest

from tests.transforms import normalization_session
from transforms import normalization
from transforms.catalog import (
    FEATURE_VECTOR_V1,
    MICROSTRUCTURE,
    NORMALIZED,
    RAW_VIEWS,
    RESCALED,
    SOCIAL,
    TECHNICAL,
    VIEWS,
    view_of,
)
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import COMPILED, HOUR_US, SECOND_US, from_bytes, to_bytes, vector, zeros
from transforms.sentiment.state import Post

T0 = 1_700_000_000 * SECOND_US
SPREAD = FEATURE_VECTOR_V1.index("spread_pct")


class Hand:
    """The normaliser, fed one raw feature."""

    def __init__(self, feature: str = "spread_pct") -> None:
        self.state = normalization.init()
        self.t_us = T0
        self._view = view_of(feature)
        self._slot = self._view.index[feature]
        self._element = FEATURE_VECTOR_V1.index(feature)

    def at(self, t_us: int) -> float:
        """The element at ``t_us``, without a new row."""
        self.t_us = t_us
        out = zeros(len(NORMALIZED.features))
        normalization.emit(self.state, t_us, out)
        return float(out[self._element])

    def see(self, x: float, after_us: int = SECOND_US) -> float:
        """A row with the feature at ``x``, so much later; the element normalised."""
        row = vector([nan] * len(self._view.features))
        row[self._slot] = x
        normalization.keep_row(self.state, self.t_us + after_us, RAW_VIEWS.index(self._view), row)
        return self.at(self.t_us + after_us)


def two_groups() -> Hand:
    """150 values near 0 in a microsecond each, and an hour later 150 near 2, so that the groups weigh 1/2 to 1."""
    hand = Hand()
    for centre in (0.0, 2.0):
        for i in range(150):
            assert isnan(hand.see(centre + 1e-9 * (i % 2), 1))
        hand.t_us += HOUR_US - 150
    return hand


@pytest.mark.parametrize(("x", "z"), [(4 / 3, 0.0), (2.0, 1 / sqrt(2)), (0.0, -sqrt(2)), (90.0, 3.0), (-90.0, -3.0)])
def test_z_by_hand_of_two_groups_an_hour_apart(x: float, z: float) -> None:
    # weights 1/3 on 0 and 2/3 on 2: the mean is 4/3, the variance 1/3*16/9 + 2/3*4/9 = 8/9
    assert two_groups().see(x, 0) == pytest.approx(z, abs=1e-6)


def test_x_counts_only_for_what_comes_after_it() -> None:
    hand = two_groups()
    assert hand.see(4 / 3, 0) == pytest.approx(0.0, abs=1e-6)
    # the weights were 150 (1/4 + 1/2) = 112.5; with the 1 of x the variance is 8/9*112.5/113.5, the mean stays
    assert hand.see(2.0, 1) == pytest.approx((2 - 4 / 3) / sqrt(8 / 9 * 112.5 / 113.5), abs=1e-6)


def test_a_value_that_stays_is_one_observation_and_keeps_its_z() -> None:
    hand = Hand("tweet_count")
    for i in range(150):
        for _ in range(2):
            assert isnan(hand.see(float(i % 7)))
    for i in range(150, 301):
        z = hand.see(float(i % 7))
    assert not isnan(z)
    assert [hand.see(float(300 % 7)) for _ in range(3)] == [z] * 3


def test_two_values_by_turns_of_hours_have_no_z() -> None:
    """A trade an hour: a thousand seconds of two values are two observations, not a distribution."""
    hand = Hand("tweet_count")
    for i in range(5000):
        assert isnan(hand.see(0.02 if i // 2500 else 0.01))


def test_what_is_older_than_a_day_and_an_hour_is_forgotten_to_the_last_bit() -> None:
    rng = random.Random(8)
    wild, fresh = Hand(), Hand()
    fresh.t_us = T0 + 3 * HOUR_US
    for _ in range(3 * 360):
        wild.see(rng.gauss(0, 1000.0), 10 * SECOND_US)
    for i in range(27 * 360):
        x = rng.gauss(0, 1.0)
        a, b = wild.see(x, 10 * SECOND_US), fresh.see(x, 10 * SECOND_US)
        assert a == b or i < 25 * 360
    assert not isnan(a)


def test_z_is_the_weighted_definition_at_irregular_times() -> None:
    rng = random.Random(5)
    hand = Hand()
    seen: list[tuple[int, float]] = []
    compared = 0
    for _ in range(1500):
        x = rng.lognormvariate(0, 1)
        z = hand.see(x, SECOND_US * rng.choice([1, 1, 1, 2, 17, 400]))
        if len(seen) >= 300:
            hour = -(-hand.t_us // HOUR_US)
            known = [(t, v) for t, v in seen if -(-t // HOUR_US) >= hour - 24]
            weights = [2.0 ** (-(hand.t_us - t) / HOUR_US) for t, _ in known]
            mean = fsum(w * v for w, (_, v) in zip(weights, known, strict=True)) / fsum(weights)
            squares = fsum(w * (v - mean) ** 2 for w, (_, v) in zip(weights, known, strict=True))
            expected = (x - mean) / sqrt(squares / fsum(weights))
            assert z == pytest.approx(min(max(expected, -3.0), 3.0), rel=1e-9)
            compared += 1
        else:
            assert isnan(z)
        seen.append((hand.t_us, x))
    assert compared == 1200


def test_the_first_z_follows_300_observations() -> None:
    hand = Hand()
    got = [hand.see(float(i % 2)) for i in range(301)]
    assert all(map(isnan, got[:300])) and not isnan(got[300])


def test_a_null_has_no_z_and_is_no_observation() -> None:
    hand = Hand()
    for i in range(299):
        hand.see(float(i % 2))
    for _ in range(50):
        assert isnan(hand.see(nan))
    assert isnan(hand.see(3.0))
    assert not isnan(hand.see(0.0))


def test_nulls_between_leave_only_their_time() -> None:
    some, none = Hand(), Hand()
    for i in range(400):
        some.see(float(i % 3))
        none.see(float(i % 3))
    for _ in range(5):
        some.see(nan)
    assert some.see(2.5) == none.see(2.5, 6 * SECOND_US)


def test_what_never_differed_has_no_z() -> None:
    hand = Hand("tweet_count")
    assert all(isnan(hand.see(0.1)) for _ in range(400))
    assert isnan(hand.see(0.2))


@pytest.mark.parametrize(("silence_us", "known"), [(4 * HOUR_US, True), (4 * HOUR_US + SECOND_US, False)])
def test_after_four_hours_of_silence_observations_are_counted_anew(silence_us: int, known: bool) -> None:
    hand = Hand()
    for i in range(400):
        hand.see(float(i % 2))
    assert isnan(hand.see(0.5, silence_us)) != known
    fresh = Hand()
    fresh.t_us = hand.t_us - SECOND_US
    fresh.see(0.5)
    for i in range(299):
        assert isnan(hand.see(i / 7 + 0.1)) != known
        fresh.see(i / 7 + 0.1)
    if not known:
        assert hand.see(40.0) == fresh.see(40.0)


def test_an_element_keeps_the_newest_row_of_its_view_for_the_views_ttl_and_is_null_past_it() -> None:
    hand = Hand("imbalance_l1")
    assert hand.see(0.25) == 0.25
    seen_us, ttl_us = hand.t_us, MICROSTRUCTURE.ttl_s * SECOND_US
    assert hand.at(seen_us + ttl_us) == 0.25
    assert isnan(hand.at(seen_us + ttl_us + SECOND_US))
    assert hand.see(-0.5) == -0.5


def test_before_any_row_every_element_is_null() -> None:
    out = zeros(len(NORMALIZED.features))
    normalization.emit(normalization.init(), T0, out)
    assert all(map(isnan, out))


@pytest.mark.parametrize(
    ("feature", "raw", "expected"),
    [
        ("imbalance_l5", -0.75, -0.75),
        ("vpin", 0.3, 0.3),
        ("rsi_14", 75.0, 0.5),
        ("rsi_14", 0.0, -1.0),
        ("sentiment_momentum", -2.0, -1.0),
        ("sentiment_negative", 0.9, 0.9),
        ("sentiment_volatility", 1.0, 1.0),
        ("market_hour", 0.0, -1.0),
        ("market_hour", 23.0, 1.0),
        ("day_of_week", 3.0, 0.0),
        ("day_of_week", 6.0, 1.0),
        ("volume_profile", 0.4, 0.4),
        ("imbalance_l1", 1.5, 1.0),
        ("rsi_14", -1.0, -1.0),
    ],
)
def test_bounded_features_are_rescaled_at_once_and_clipped(feature: str, raw: float, expected: float) -> None:
    assert Hand(feature).see(raw) == expected


def test_the_view_has_the_vectors_elements_in_order_under_names_of_their_own() -> None:
    expected = [f"{name}_n" if name in RESCALED else f"{name}_z" for name in FEATURE_VECTOR_V1]
    assert list(NORMALIZED.names) == expected
    others = [name for view in VIEWS for name in view.names if view is not NORMALIZED]
    assert not set(NORMALIZED.names) & set(others)


def test_every_rescaled_feature_is_bounded_and_no_unbounded_one_is() -> None:
    for name, feature in zip(FEATURE_VECTOR_V1, NORMALIZED.features, strict=True):
        raw = view_of(name).features[view_of(name).index[name]]
        bounded = raw.low > -inf and raw.high < inf
        assert bounded or name not in RESCALED
        assert -3 <= feature.low < feature.high <= 3
    assert set(FEATURE_VECTOR_V1) - set(RESCALED) == {
        "spread_pct", "tweet_count", "price_momentum_1m", "price_momentum_5m", "price_momentum_15m", "volatility_1m",
        "volatility_5m",
    }  # fmt: skip


def test_a_restart_from_bytes_at_any_point_changes_no_bit() -> None:
    seconds = normalization_session.seconds(2500)
    whole = normalization_session.Run()
    expected = whole.feed(seconds)
    values = [float(x) for row in expected for x in from_bytes(row)]
    assert 0.1 < sum(map(isnan, values)) / len(values) < 0.8
    for size in (1, 7, 64):
        run = normalization_session.Run()
        rows = []
        for i in range(0, len(seconds), size):
            rows += run.feed(seconds[i : i + size])
            run.state = from_bytes(to_bytes(run.state))
        assert rows == expected
        assert to_bytes(run.state) == to_bytes(whole.state)


def test_compiled_and_plain_give_the_same_bytes() -> None:
    pytest.importorskip("numba", reason="without numba there is one mode only")
    other = subprocess.run(
        [sys.executable, str(Path(normalization_session.__file__)), "2500"],
        env={**os.environ, "TFS_NUMBA": "0" if COMPILED else "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert other.stdout.split() == ["plain" if COMPILED else "compiled", normalization_session.digest(2500)]


def book(engine: Engine, t_us: int, i: int) -> None:
    mid = 100.0 + 0.1 * (i * 7 % 11)
    bids = [(mid - 0.1 * (k + i % 3), 1.0 + (i + k) % 5) for k in range(1, 11)]
    engine.book(t_us, bids, [(mid + 0.1 * k, 1.0 + (i + 2 * k) % 4) for k in range(1, 11)])


def rows_of(engine: Engine, t_us: int) -> dict[str, dict[str, float]]:
    return {view.name: dict(zip(view.names, map(float, row), strict=True)) for view, row in engine.emit(t_us)}


def test_on_a_fine_grid_it_is_given_at_whole_seconds_only() -> None:
    engine = Engine(Instrument(), SECOND_US // 10)
    given = []
    for i in range(1, 41):
        t_us = T0 + i * SECOND_US // 10
        book(engine, t_us, i)
        rows = rows_of(engine, t_us)
        assert "microstructure" in rows
        if "normalized" in rows:
            given.append(t_us - T0)
            assert rows["normalized"]["imbalance_l5_n"] == rows["microstructure"]["imbalance_l5"]
    assert given == [SECOND_US, 2 * SECOND_US, 3 * SECOND_US, 4 * SECOND_US]


def test_it_is_given_while_any_view_speaks_and_takes_of_the_silent_their_newest_row_within_its_ttl() -> None:
    engine = Engine(Instrument(), SECOND_US)
    engine.post(T0 + 1, Post("id", "a", 1, 0.7, 0.1, 0.2, 0, 0, 0, 0))
    book(engine, T0 + 1, 1)
    given, of_the_book = [], []
    for s in range(1, 3700):
        rows = rows_of(engine, T0 + s * SECOND_US)
        if "normalized" in rows:
            given.append(s)
            if not isnan(rows["normalized"]["imbalance_l1_n"]):
                of_the_book.append(s)
    # the book of second 0 gives rows up to second 10, and the row of second 10 counts up to second 20
    assert given == list(range(1, SOCIAL.ttl_s + 1))
    assert of_the_book == list(range(1, 21))


def test_a_silent_market_gives_no_row() -> None:
    engine = Engine(Instrument(), SECOND_US)
    assert engine.emit(T0) == []
    engine.trade(T0 + 1, 100.0, 1.0, 1)
    assert "normalized" in rows_of(engine, T0 + TECHNICAL.ttl_s * SECOND_US)
    assert engine.emit(T0 + (TECHNICAL.ttl_s + 1) * SECOND_US) == []


def test_rows_of_an_engine_are_the_definition_of_its_raw_rows_and_survive_restarts() -> None:
    whole, restarted = (Engine(Instrument(), SECOND_US) for _ in range(2))
    seen: list[tuple[int, float]] = []
    known = 0
    for s in range(1, 451):
        t_us = T0 + s * SECOND_US
        for engine in (whole, restarted):
            if s % 50:
                book(engine, t_us - 1, s * s)
            engine.trade(t_us - 1, 100.0 + s * 31 % 17 / 10, 1.0, 1)
        expected, got = rows_of(whole, t_us), restarted.emit(t_us)
        for view, row in got:
            assert to_bytes(row) == to_bytes(vector(list(expected[view.name].values())))
        if s % 37 == 0:
            saved = restarted.save()
            restarted = Engine(Instrument(), SECOND_US)
            restarted.restore(saved)
        x, z = expected["microstructure"]["spread_pct"], expected["normalized"]["spread_pct_z"]
        if seen and x == seen[-1][1]:
            continue
        if len(seen) >= 300:
            weights = [2.0 ** (-(t_us - t) / HOUR_US) for t, _ in seen]
            mean = fsum(w * v for w, (_, v) in zip(weights, seen, strict=True)) / fsum(weights)
            squares = fsum(w * (v - mean) ** 2 for w, (_, v) in zip(weights, seen, strict=True))
            assert z == pytest.approx(min(max((x - mean) / sqrt(squares / fsum(weights)), -3), 3), rel=1e-9)
            known += 1
        seen.append((t_us, x))
    assert known > 100
