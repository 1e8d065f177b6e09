"""The rows of sentiment and social, against hand calculations and against a slow second implementation."""

from __future__ import annotations

import math
import struct
from statistics import fmean, pstdev, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.catalog import SENTIMENT, SOCIAL
from transforms.instrument import Instrument
from transforms.kernel import HOUR_US, MINUTE_US, SECOND_US
from transforms.sentiment import kernel
from transforms.sentiment.simhash import simhash
from transforms.sentiment.state import REMEMBERED_US, Post, State

T0 = 1_717_200_000 * SECOND_US  # 2024-06-01 00:00 UTC


def new() -> State:
    return kernel.init(Instrument(), SECOND_US)


def post(name: str, positive: float = 0.0, negative: float = 0.0, **other: Any) -> Post:
    return Post(name, positive=positive, negative=negative, neutral=1.0 - positive - negative, **other)


def sentiment(state: State, t_us: int) -> dict[str, float]:
    out = [0.0] * len(SENTIMENT.features)
    kernel.emit_sentiment(state, t_us, out)
    return dict(zip(SENTIMENT.names, out, strict=True))


def social(state: State, t_us: int) -> dict[str, float]:
    out = [0.0] * len(SOCIAL.features)
    kernel.emit_social(state, t_us, out)
    return dict(zip(SOCIAL.names, out, strict=True))


def bits(row: dict[str, float]) -> bytes:
    return struct.pack(f"<{len(row)}d", *row.values())


def test_before_the_first_post_only_counts_are_known() -> None:
    state = new()
    assert kernel.last_event_us(state) == 0
    assert {k for k, v in sentiment(state, T0).items() if v == v} == {"tweet_count"}
    known = {k: v for k, v in social(state, T0).items() if v == v}
    assert known == dict.fromkeys(
        ("social_volume_5m", "social_volume_1h", "social_velocity", "social_acceleration", "unique_authors_1h"), 0.0
    )


def test_means_over_five_minutes() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5, 0.25))
    kernel.step_post(state, T0 + 200 * SECOND_US, post("b", 0.125, 0.75))
    row = sentiment(state, T0 + 200 * SECOND_US)
    # s is 0.25 and -0.625, c is 0.5 and 0.75; the newer half began 150 s before
    assert row["sentiment_compound"] == (0.25 - 0.625) / 2
    assert row["sentiment_positive"] == (0.5 + 0.125) / 2
    assert row["sentiment_negative"] == (0.25 + 0.75) / 2
    assert row["sentiment_neutral"] == (0.25 + 0.125) / 2
    assert row["sentiment_confidence"] == (0.5 + 0.75) / 2
    assert row["sentiment_volatility"] == 0.875 / 2
    assert row["sentiment_momentum"] == -0.625 - 0.25
    assert row["tweet_count"] == 2
    assert row["sentiment_compound_1h"] == row["sentiment_compound"]
    assert row["bullishness_1h"] == 0.0  # ln((1 + 1)/(1 + 1))
    # the first weighs 0.5 * 2^(-200 s/900 s)
    weight = 0.5 * 2 ** (-200 / 900)
    assert row["sentiment_ew_15m"] == pytest.approx((0.25 * weight - 0.625 * 0.75) / (weight + 0.75), rel=1e-14)
    assert math.isnan(row["sentiment_engagement_1h"])


def test_a_window_is_open_on_the_left_and_closed_on_the_right() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5))
    edge = T0 + 5 * MINUTE_US
    assert sentiment(state, T0)["tweet_count"] == 1
    assert sentiment(state, edge - 1)["tweet_count"] == 1
    assert sentiment(state, edge)["tweet_count"] == 0
    assert math.isnan(sentiment(state, edge)["sentiment_compound"])
    assert social(state, edge)["social_volume_1h"] == 1
    assert social(state, T0 + HOUR_US)["social_volume_1h"] == 0
    assert math.isnan(sentiment(state, T0 + HOUR_US)["sentiment_compound_1h"])
    assert sentiment(state, T0 + HOUR_US)["sentiment_ew_15m"] == 0.5


def test_one_post_has_no_volatility_and_one_half_no_momentum() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5))
    row = sentiment(state, T0)
    assert math.isnan(row["sentiment_volatility"])
    kernel.step_post(state, T0 + 1, post("b", 0.25))
    row = sentiment(state, T0 + 1)
    assert row["sentiment_volatility"] == 0.125
    assert math.isnan(row["sentiment_momentum"])


def test_bullishness_counts_the_likeliest_label() -> None:
    state = new()
    for i, (p, n) in enumerate([(0.6, 0.1), (0.5, 0.2), (0.4, 0.1), (0.1, 0.8), (0.45, 0.45)]):
        kernel.step_post(state, T0 + i, post(str(i), p, n))
    assert sentiment(state, T0 + 9)["bullishness_1h"] == math.log(3 / 2)


def test_a_post_without_a_score_counts_for_social_only() -> None:
    state = new()
    kernel.step_post(state, T0, Post("a", author="x"))
    row = sentiment(state, T0)
    assert row["tweet_count"] == 0
    assert all(math.isnan(v) for k, v in row.items() if k != "tweet_count")
    assert social(state, T0)["social_volume_5m"] == 1


def test_a_post_delivered_again_is_counted_once() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5, author="x"))
    kernel.step_post(state, T0 + SECOND_US, post("b", 0.25, author="x"))
    before = bits(sentiment(state, T0 + MINUTE_US)), bits(social(state, T0 + MINUTE_US))
    kernel.step_post(state, T0 + MINUTE_US, post("a", 0.5, author="x"))
    assert (bits(sentiment(state, T0 + MINUTE_US)), bits(social(state, T0 + MINUTE_US))) == before
    assert kernel.last_event_us(state) == T0 + MINUTE_US
    assert sentiment(state, T0 + 5 * MINUTE_US)["tweet_count"] == 1  # it left when its first delivery did


@pytest.mark.parametrize("hours", [3, 30, 28 * 24 - 1])
def test_likes_that_a_crawler_reads_again_hours_later_make_no_second_post(hours: int) -> None:
    state = new()
    n = 3000
    for i in range(n):  # more than an hour may hold of one crawler's page
        assert kernel.step_post(state, T0 + i, post(str(i), 0.5, written_us=T0))
    state = kernel.from_bytes(*kernel.to_bytes(state))
    for i in range(n):
        again = post(str(i), 0.5, likes=7, written_us=T0)
        assert kernel.step_post(state, T0 + hours * HOUR_US + i, again)
    assert kernel.step_post(state, T0 + hours * HOUR_US + n, post("new", 0.25))
    assert social(state, T0 + hours * HOUR_US + n)["social_volume_1h"] == 1


def test_a_post_written_before_the_ids_that_are_remembered_is_told_apart_and_not_counted() -> None:
    state = new()
    assert kernel.step_post(state, T0, post("a", 0.5, written_us=T0))
    assert not kernel.step_post(state, T0 + REMEMBERED_US, post("b", 0.5, written_us=T0))
    assert kernel.step_post(state, T0 + REMEMBERED_US, post("c", 0.5, written_us=T0 + 1))
    kernel.step_post(state, T0 + 30 * 24 * HOUR_US, post("a", 0.5, written_us=T0))
    assert social(state, T0 + 30 * 24 * HOUR_US)["social_volume_1h"] == 0


def test_a_flood_of_posts_is_remembered_up_to_a_bound_and_what_is_forgotten_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr("transforms.sentiment.state.GONE_MAX", 100)
    state = new()
    for i in range(500):
        kernel.step_post(state, T0 + i * 10 * MINUTE_US, post(str(i), 0.5, written_us=T0 + i * 10 * MINUTE_US))
    assert len(state.gone) <= 100
    end = T0 + 500 * 10 * MINUTE_US
    results = [kernel.step_post(state, end, post(str(i), 0.5, written_us=T0 + i * 10 * MINUTE_US)) for i in range(500)]
    assert results == [False] * results.count(False) + [True] * results.count(True)
    assert 80 <= results.count(True) <= 110
    assert social(state, end)["social_volume_1h"] == 5  # of the last hour; no post counts a second time


def withdrawn() -> tuple[State, State, int]:
    """Return a state that never had post 3, one from which it was withdrawn, and the time of the last post."""
    text = simhash("the exchange lists three more coins next week")
    told = [
        (0, post("0", 0.5, author="x", simhash=text, likes=3)),
        (1, post("1", 0.25, author="y")),
        (2, Post("2", author="z", simhash=text)),
        (3, post("3", 0.1, 0.8, author="bad", simhash=simhash("a hacked account says sell everything"), likes=9)),
        (4, post("4", 0.2, 0.7, author="x", simhash=simhash("A hacked account says: sell everything!"))),
        (5, post("5", 0.3, 0.1, author="bad2")),
    ]
    kept, taken = new(), new()
    for minute, p in told:
        if p.id != "3":
            kernel.step_post(kept, T0 + minute * MINUTE_US, p)
        kernel.step_post(taken, T0 + minute * MINUTE_US, p)
    taken = kernel.from_bytes(*kernel.to_bytes(taken))
    social(taken, T0 + 5 * MINUTE_US)
    sentiment(taken, T0 + 5 * MINUTE_US)
    kernel.withdraw_post(taken, T0 + 5 * MINUTE_US, "3")
    return kept, kernel.from_bytes(*kernel.to_bytes(taken)), T0 + 5 * MINUTE_US


def test_a_withdrawn_post_counts_nowhere_as_if_it_had_not_been_posted() -> None:
    """Not for means, authors, engagement or duplicates: the fourth post repeated it, and is the first of its text now."""
    kept, taken, t_us = withdrawn()
    for at in (t_us, t_us + MINUTE_US, t_us + 40 * MINUTE_US, t_us + 3 * HOUR_US):
        assert bits(sentiment(taken, at)) == bits(sentiment(kept, at))
        assert bits(social(taken, at)) == bits(social(kept, at))
    assert sentiment(taken, t_us)["tweet_count"] == 3
    for state in (kept, taken):
        kernel.step_post(state, t_us + 2 * HOUR_US, post("6", 0.5))
    assert bits(sentiment(taken, t_us + 2 * HOUR_US)) == bits(sentiment(kept, t_us + 2 * HOUR_US))


def test_a_withdrawn_post_that_is_delivered_again_stays_withdrawn() -> None:
    _, taken, t_us = withdrawn()
    assert kernel.knows(taken, "3")
    kernel.step_post(taken, t_us + 1, post("3", 0.1, 0.8))
    assert social(taken, t_us + 1)["social_volume_1h"] == 5
    kernel.withdraw_post(taken, t_us + 1, "3")
    assert social(taken, t_us + 1)["social_volume_1h"] == 5
    assert not kernel.knows(taken, "never seen")
    kernel.withdraw_post(taken, t_us + 1, "comes later")
    kernel.step_post(taken, t_us + 2, post("comes later", 0.1, 0.8))
    assert social(taken, t_us + 2)["social_volume_1h"] == 5


def test_a_post_withdrawn_weeks_later_leaves_the_volumes_of_its_hour() -> None:
    def after_weeks(withdraw: bool, also: int) -> float:
        state = new()
        kernel.step_post(state, T0 - 2 * HOUR_US, Post("first"))
        for week in range(4):
            for i in range(2 + week + (also if week == 1 else 0)):
                kernel.step_post(state, T0 + week * 168 * HOUR_US - 9, Post(f"{week} {i}"))
        if withdraw:
            kernel.withdraw_post(state, T0 + 3 * 168 * HOUR_US, "1 0")
        return social(state, T0 + 3 * 168 * HOUR_US)["social_volume_z"]

    assert after_weeks(True, 1) == after_weeks(False, 0) != after_weeks(False, 1)


def test_an_edit_to_an_empty_text_removes_the_score_and_keeps_the_post() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.75, simhash=7))
    kernel.step_post(state, T0 + 1, post("b", 0.5, simhash=7))  # a near-duplicate of the first
    kernel.step_post(state, T0 + 2, Post("a"))
    row = sentiment(state, T0 + 2)
    assert (row["sentiment_compound"], row["tweet_count"], row["sentiment_ew_15m"]) == (0.5, 1, 0.5)
    assert social(state, T0 + 2)["social_volume_1h"] == 2 and social(state, T0 + 2)["duplicate_share_1h"] == 0


def test_engagement_counts_from_its_observation_on() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5, likes=3, reposts=2, replies=0))  # 0.5 ln 8
    kernel.step_post(state, T0 + 1, post("b", 0.0, 0.75, likes=1))  # 0.75 ln 2, replies and reposts not known
    row = sentiment(state, T0 + 1)
    a, b = 0.5 * math.log(8), 0.75 * math.log(2)
    assert row["sentiment_engagement_1h"] == (a * 0.5 - b * 0.75) / (a + b)
    kernel.step_post(state, T0 + MINUTE_US, post("b", 0.0, 0.75, reposts=7))  # now 1 + 1 + 14
    b = 0.75 * math.log(16)
    assert sentiment(state, T0 + MINUTE_US)["sentiment_engagement_1h"] == (a * 0.5 - b * 0.75) / (a + b)


def test_engagement_of_any_size_is_understood() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.5, likes=10**30, reposts=10**30, replies=-5))
    assert sentiment(state, T0)["sentiment_engagement_1h"] == 0.5
    assert kernel.from_bytes(*kernel.to_bytes(state)).posts == state.posts


def test_an_edited_post_has_its_new_score_from_then_on() -> None:
    state = new()
    kernel.step_post(state, T0, post("a", 0.75))
    kernel.step_post(state, T0 + SECOND_US, post("a", 0.0, 0.5))
    row = sentiment(state, T0 + SECOND_US)
    assert (row["sentiment_compound"], row["tweet_count"]) == (-0.5, 1)
    assert row["sentiment_ew_15m"] == -0.5


def test_near_duplicates_count_once_for_sentiment_and_each_for_social() -> None:
    text = "the exchange lists three more coins next week"
    state = new()
    for i, positive in enumerate((0.5, 0.25, 0.125)):
        kernel.step_post(state, T0 + i * MINUTE_US, post(str(i), positive, simhash=simhash(text)))
    kernel.step_post(state, T0 + 3 * MINUTE_US, post("x", 0.75, simhash=simhash("gold slipped as the dollar rose")))
    kernel.step_post(state, T0 + 3 * MINUTE_US, post("y", 0.0, simhash=simhash(text) ^ 0b111))
    row = sentiment(state, T0 + 3 * MINUTE_US)
    assert row["sentiment_compound"] == (0.5 + 0.75) / 2
    assert row["sentiment_compound_1h"] == (0.5 + 0.75) / 2
    assert row["tweet_count"] == 5
    assert social(state, T0 + 3 * MINUTE_US)["duplicate_share_1h"] == 3 / 5
    # once the first copy has left the five minutes, the second is the first of its window
    row = sentiment(state, T0 + 5 * MINUTE_US)
    assert row["sentiment_compound"] == (0.25 + 0.75) / 2
    assert row["sentiment_compound_1h"] == (0.5 + 0.75) / 2


def test_four_bits_apart_or_without_words_is_no_duplicate() -> None:
    state = new()
    for i, fingerprint in enumerate((0b1111 << 8, 1 << 40, 0, 0)):
        kernel.step_post(state, T0 + i, post(str(i), 0.5, simhash=fingerprint))
    assert social(state, T0 + 9)["duplicate_share_1h"] == 0.0


def test_a_scored_copy_of_an_unscored_post_counts() -> None:
    state = new()
    kernel.step_post(state, T0, Post("a", simhash=7))
    kernel.step_post(state, T0 + 1, post("b", 0.5, simhash=7))
    assert sentiment(state, T0 + 1)["sentiment_compound"] == 0.5
    assert social(state, T0 + 1)["duplicate_share_1h"] == 0.5


def test_social_volumes_and_authors() -> None:
    state = new()
    for minute, author in [(0, "x"), (1, "y"), (6, "x"), (7, None), (8, "z")]:
        kernel.step_post(state, T0 + minute * MINUTE_US, Post(str(minute), author=author))
    row = social(state, T0 + 9 * MINUTE_US)
    assert (row["social_volume_5m"], row["social_volume_1h"]) == (3, 5)
    assert row["social_velocity"] == 3 / 5
    assert row["social_acceleration"] == (3 - 2) / 5
    assert (row["unique_authors_1h"], row["author_ratio_1h"]) == (3, 3 / 4)


def test_volume_is_held_against_the_same_hours_of_the_weeks_before() -> None:
    state = new()
    counts = {
        0: 3,
        1: 1,
        2: 7,
        3: 4,
        4: 12,
    }  # posts of the hour that ends a week, two weeks, ... after the first full hour
    kernel.step_post(state, T0, Post("first"))
    n = 0
    for week, count in counts.items():
        end = T0 + HOUR_US + week * 168 * HOUR_US
        for i in range(count):
            n += 1
            kernel.step_post(state, end - 10 + i % 11, Post(str(n)))  # the last may stand on the edge
        z = social(state, end)["social_volume_z"]
        past = [math.log(1 + counts[w]) for w in range(week)][-4:]
        if len(past) < 2:
            assert math.isnan(z)
        else:
            expected = (math.log(1 + count) - fmean(past)) / stdev(past)
            assert z == pytest.approx(expected, rel=1e-13)
            assert social(state, end + HOUR_US - 1)["social_volume_z"] == z


def test_hours_all_alike_have_no_deviation() -> None:
    state = new()
    for week in range(4):
        kernel.step_post(state, T0 + week * 168 * HOUR_US, Post(str(week)))
    assert math.isnan(social(state, T0 + 3 * 168 * HOUR_US)["social_volume_z"])


def test_state_stays_bounded() -> None:
    state = new()
    n = 40 * 24 * 6  # 40 days of a post every ten minutes
    for i in range(n):
        kernel.step_post(state, T0 + i * 10 * MINUTE_US, post(str(i), 0.5, simhash=i * 0x9E3779B97F4A7C15 % 2**64))
    assert len(state.posts) == 6
    assert 28 * 24 * 6 - 6 <= len(state.gone) <= 29 * 24 * 6
    now, days = kernel.to_bytes(state)
    assert len(now) < 6000 and len(days) <= 12 * 29 * 24 * 6


def test_bytes_of_another_length_are_refused() -> None:
    data, days = kernel.to_bytes(new())
    for wrong in ((b"", days), (data[:-1], days), (data + b"\0", days), (data, days + b"\0")):
        with pytest.raises(ValueError, match="bytes, not"):
            kernel.from_bytes(*wrong)


def test_a_hostile_name_is_a_name() -> None:
    state = new()
    kernel.step_post(state, T0, Post("\ud83d" + "x" * 1_000_000, author="\0" * 1_000_000))
    assert sum(map(len, kernel.to_bytes(state))) < 4096


# --- a second implementation: every row from the list of all observations, in no hurry ---------------------------


def _near(a: int, b: int) -> bool:
    return bool(a) and bool(b) and bin(a ^ b).count("1") <= 3


def slow(observations: list[tuple[int, Post]], t_us: int) -> dict[str, float]:
    posts: dict[str, tuple[int, Post]] = {}
    for at, p in observations:
        if at > t_us:
            break
        if p.id in posts:
            first, old = posts[p.id]
            engagement = {
                k: getattr(old, k) if getattr(p, k) is None else getattr(p, k) for k in ("likes", "reposts", "replies")
            }
            score = p if p.positive is not None else old
            posts[p.id] = (
                first,
                old._replace(positive=score.positive, negative=score.negative, neutral=score.neutral, **engagement),
            )
        else:
            posts[p.id] = at, p
    ordered = list(posts.values())

    def window(width: int, scored: bool, distinct: bool) -> list[Post]:
        kept: list[Post] = []
        inside = [p for at, p in ordered if t_us - width < at and (not scored or p.positive is not None)]
        for i, p in enumerate(inside):
            if not (distinct and any(_near(p.simhash, q.simhash) for q in inside[:i])):
                kept.append(p)
        return kept

    def s(p: Post) -> float:
        assert p.positive is not None and p.negative is not None
        return p.positive - p.negative

    row: dict[str, float] = {}
    five = window(5 * MINUTE_US, True, True)
    if five:
        row["sentiment_compound"] = fmean(map(s, five))
    if len(five) > 1:
        row["sentiment_volatility"] = pstdev(map(s, five))
    row["tweet_count"] = len(window(5 * MINUTE_US, True, False))
    hour = window(HOUR_US, True, True)
    if hour:
        row["sentiment_compound_1h"] = fmean(map(s, hour))
    weights = [
        max(p.positive or 0, p.negative or 0, p.neutral or 0) * math.log(1 + (p.likes or 0) + 2 * (p.reposts or 0))
        for p in hour
    ]
    if sum(weights) > 0:
        row["sentiment_engagement_1h"] = sum(w * s(p) for w, p in zip(weights, hour, strict=True)) / sum(weights)
    everything = window(HOUR_US, False, False)
    row["social_volume_1h"] = len(everything)
    row["unique_authors_1h"] = len({p.author for p in everything if p.author is not None})
    if everything:
        row["duplicate_share_1h"] = 1 - len(window(HOUR_US, False, True)) / len(everything)
    return row


EIGHTHS = st.sampled_from([(0.5, 0.25), (0.125, 0.75), (0.25, 0.125), (0.0, 0.0), (0.875, 0.0)])


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Post]]:
    """Posts within some hours; an id may come again, and has the fingerprint and the having of a score that it had."""
    t_us, out = T0, []
    for _ in range(draw(st.integers(1, 25))):
        t_us += draw(st.sampled_from([0, 1, SECOND_US, MINUTE_US, 5 * MINUTE_US, 17 * MINUTE_US, HOUR_US]))
        number = draw(st.integers(0, 15))
        positive, negative = draw(EIGHTHS)
        scored = number % 5 > 0
        # families of fingerprints far apart, whose members are all near each other
        fingerprint = (
            0 if number == 7 else ((number % 3) * 0x5555555555555555 % 2**64) << 1 & (2**64 - 1) | 1 << (number % 2)
        )
        likes = draw(st.one_of(st.none(), st.integers(0, 100)))
        author = draw(st.sampled_from([None, "x", "y"]))
        p = Post(str(number), author, fingerprint, likes=likes)
        if scored:
            p = p._replace(positive=positive, negative=negative, neutral=1 - positive - negative)
        out.append((t_us, p))
    return out


@settings(max_examples=150)
@given(histories(), st.lists(st.integers(0, 24), max_size=4), st.integers(1, 7))
def test_it_agrees_with_the_slow_one_however_it_is_restarted_and_whenever_it_is_asked(
    history: list[tuple[int, Post]], restarts: list[int], every: int
) -> None:
    state, asked = new(), new()
    for i, (t_us, p) in enumerate(history):
        if i in restarts:
            state.packed = state.packed_days = None
            data = kernel.to_bytes(state)
            state = kernel.from_bytes(*data)
            state.packed = state.packed_days = None
            assert kernel.to_bytes(state) == data
        kernel.step_post(state, t_us, p)
        kernel.step_post(asked, t_us, p)
        last = i + 1 == len(history) or history[i + 1][0] > t_us
        if last and i % every == 0:
            sentiment(asked, t_us)
            social(asked, t_us)
    end = history[-1][0]
    for t_us in (end, end + 1, end + MINUTE_US, end + 5 * MINUTE_US, end + 50 * MINUTE_US, end + 2 * HOUR_US):
        row = sentiment(state, t_us) | social(state, t_us)
        assert bits(row) == bits(sentiment(asked, t_us) | social(asked, t_us))
        expected = slow(history, t_us)
        for name in (
            "sentiment_compound", "sentiment_volatility", "tweet_count", "sentiment_compound_1h",
            "sentiment_engagement_1h", "social_volume_1h", "unique_authors_1h", "duplicate_share_1h",
        ):  # fmt: skip
            if name in expected:
                assert row[name] == pytest.approx(expected[name], abs=1e-12), name
            else:
                assert math.isnan(row[name]), name


@settings(max_examples=50)
@given(histories())
def test_a_row_depends_on_its_window_not_on_the_start(history: list[tuple[int, Post]]) -> None:
    end = history[-1][0]
    ids_before = {p.id for t, p in history if t <= end - HOUR_US}
    recent = [(t, p) for t, p in history if t > end - HOUR_US]
    if ids_before & {p.id for _, p in recent}:
        recent = [(t, p) for t, p in recent if p.id not in ids_before]
        history = [(t, p) for t, p in history if t <= end - HOUR_US] + recent
    whole, part = new(), new()
    for t_us, p in history:
        kernel.step_post(whole, t_us, p)
    for t_us, p in recent:
        kernel.step_post(part, t_us, p)
    a, b = sentiment(whole, end) | social(whole, end), sentiment(part, end) | social(part, end)
    for row in (a, b):
        del row["sentiment_ew_15m"], row["social_volume_z"]
    assert bits(a) == bits(b)
