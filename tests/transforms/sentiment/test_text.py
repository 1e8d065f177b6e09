"""What a model is given of a text."""

from __future__ import annotations

import html
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.sentiment.text import (
    _EMOJI_RANGES,
    _JOINERS,
    PIECES_MAX,
    TWEET_CHARACTERS,
    Kind,
    _emoji_words,
    pieces,
)


@pytest.mark.parametrize(
    ("text", "bert", "roberta"),
    [
        ("see https://t.co/x and WWW.a.b", "see http and http", "see http and http"),
        ("@Bob_1 and a@b.c", "@user and a@b.c", "@user and a@b.c"),
        ("S&amp;P &lt;3 &#36;BTC", "S&P <3 $BTC", "S&P <3 $BTC"),
        ("ＢＴＣ ﬁne ½", "BTC fine 1⁄2", "BTC fine 1⁄2"),
        ("$BTC #moon", "$BTC #moon", "$BTC #moon"),
        ("up 🚀🚀", "up rocket rocket", "up 🚀🚀"),
        ("👍🏽 📈", "thumbs up sign chart with upwards trend", "👍🏽 📈"),
        ("🇺🇸", "us", "🇺🇸"),
        ("a\x00b\x1b\tc\n d", "a b c d", "a b c d"),
        ("\ud83d up", "up", "up"),
        ("Señor 你好 صعود ₿", "Señor 你好 صعود ₿", "Señor 你好 صعود ₿"),
    ],
)
def test_a_text_is_prepared_for_its_kind_of_model(text: str, bert: str, roberta: str) -> None:
    assert pieces(text, "bert") == [bert]
    assert pieces(text, "roberta") == [roberta]


@pytest.mark.parametrize("text", ["", " \n\t", "@bob https://a.b", "!!! ...", "\x00\x01\x7f", "\u200b\ufeff", "#️⃣", "€"])
def test_a_text_that_says_nothing_is_empty(text: str) -> None:
    assert pieces(text, "bert") == []


def test_a_tweet_is_one_piece_whatever_its_sentences() -> None:
    assert pieces("Up. Down! And\nup?", "bert") == ["Up. Down! And up?"]
    assert len(pieces("x" * TWEET_CHARACTERS, "bert")) == 1


def test_news_is_split_at_the_ends_of_sentences() -> None:
    first = "The company said revenue rose 12.5 % to $3.4 bn in Q3. "
    second = "Its shares, listed in the U.S. since 2004, fell after hours!\n"
    assert pieces((first + second) * 6, "bert") == [first.strip(), second.strip()] * 6


def test_a_fragment_goes_with_the_sentence_before_it() -> None:
    sentence = "The central bank held its rate for the third time in a row this year. "
    assert pieces(sentence * 9 + "Why? " + sentence, "bert")[8] == sentence + "Why?"


def test_chinese_news_is_split_without_spaces() -> None:
    sentence = "比特币价格今天上涨了百分之十并且创下了历史新高这让很多人感到惊讶。"
    assert pieces(sentence * 20, "bert") == [sentence] * 20


def test_text_without_an_end_is_cut_and_no_text_gives_many_pieces() -> None:
    for text in ("a" * 100_000, "word " * 20_000, "🚀" * 100_000, "ﷺ" * 100_000, "No. " * 25_000):
        out = pieces(text, "bert")
        assert 1 <= len(out) <= PIECES_MAX
        assert max(map(len, out)) <= TWEET_CHARACTERS


def plainly(text: str, kind: Kind) -> str:
    """The text that the model gets, prepared without looking first whether a step is needed."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff\ufff9-\ufffb\ud800-\udfff]", " ", text)
    text = re.sub(r"(?<![\w@])@\w+", "@user", re.sub(r"(?:https?://|www\.)\S+", "http", text, flags=re.IGNORECASE))
    if kind == "bert":
        text = re.sub(f"[{_EMOJI_RANGES}]", _emoji_words, _JOINERS.sub("", text))
    said = re.sub(rf"(?:\bhttp\b|@user\b|[^\w{_EMOJI_RANGES}])+", "", text)
    return re.sub(r"\s+", " ", text).strip() if said else ""


PARTS = [
    "&", "&amp;", "&#36;", "@", "@user", "@bob", "http", "xhttp", "https://a.b", "HTTP://", "www.", "WWW.x", "://", ".", " ",
    "\t", "\n", "\x00", "\x1c", "\u2028", "\u3000", "\ud83d", "ﬁ", "Ｂ", "é", "比", "🚀", "👍🏽", "🇺🇸", "\ufe0f", "€", "½", "up", "_",
]  # fmt: skip


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=8).map("".join),
    st.sampled_from(["bert", "roberta"]),
)
def test_a_step_that_is_left_out_would_have_changed_nothing(text: str, kind: Kind) -> None:
    assert pieces(text, kind) == [plain for plain in [plainly(text, kind)] if plain]
