"""Fingerprints of texts."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from transforms.sentiment.simhash import DISTANCE, distance, simhash

NEWS = (
    "The exchange said on Tuesday that it would list perpetual futures on three more coins next week, after volumes of"
    " its older contracts doubled within a month and rivals in Asia had lowered their fees to win back market makers"
)


def _by_definition(words: list[str]) -> int:
    """Majority of every bit over the shingles, written without tricks."""
    shingles = [" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))]
    hashes = [int.from_bytes(blake2b(s.encode(), digest_size=8).digest(), "little") for s in shingles]
    return sum(1 << bit for bit in range(64) if 2 * sum(h >> bit & 1 for h in hashes) > len(hashes))


@given(st.lists(st.text("abcdxyz", min_size=1, max_size=4), min_size=1, max_size=40))
def test_it_is_the_majority_of_each_bit_over_the_shingles(words: list[str]) -> None:
    words = ["w" + w for w in words]  # no word is the noise "rt"
    assert simhash(" ".join(words)) == (_by_definition(words) or 1)


def test_it_does_not_change_between_releases() -> None:
    assert simhash("bitcoin breaks sixty thousand") == _by_definition(["bitcoin", "breaks", "sixty", "thousand"])


def test_the_distance_is_the_number_of_bits_that_differ() -> None:
    assert distance(0b1010, 0b0110) == 2


def test_links_mentions_case_and_punctuation_do_not_count() -> None:
    assert simhash("RT @whale: BTC breaks 60k!!! https://a.b/c") == simhash("btc breaks 60K @you www.x.y")


def test_a_copy_with_a_short_tail_is_near_and_another_text_is_far() -> None:
    assert distance(simhash(NEWS), simhash(NEWS.replace("market makers", "market-makers!"))) == 0
    other = "Gold slipped as the dollar rose ahead of the payrolls report that economists expect to show slower hiring"
    assert distance(simhash(NEWS), simhash(other)) > 4 * DISTANCE


def test_a_text_without_words_has_no_fingerprint() -> None:
    assert [simhash(t) for t in ("", "🚀🚀", "https://a.b", "@bob", "!!!", "\ud83d")] == [0] * 6


def test_hostile_texts_have_one_too() -> None:
    assert 0 < simhash("a b " * 50_000) < 1 << 64
    assert 0 < simhash("\ud83d x") < 1 << 64
