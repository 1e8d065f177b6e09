"""Prepare a text for a sentiment model.

Links become ``http`` and mentions ``@user``, as in the corpora that models of tweets were trained on. HTML entities are decoded,
compatibility forms are unified (NFKC), and control characters dropped. Cashtags and hashtags stay. Uncased BERT has no emoji in its
vocabulary, so it gets their Unicode names; RoBERTa models read emoji as bytes and get them unchanged. Characters outside ASCII stay.

Example:

>>> pieces("@bob $BTC &gt; 60k 🚀 https://t.co/x", "bert")
['@user $BTC > 60k rocket http']
>>> pieces("$BTC 🚀", "roberta")
['$BTC 🚀']

A text of nothing but links, mentions and punctuation says nothing:

>>> pieces("@bob https://t.co/x", "bert")
[]
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Literal

Kind = Literal["bert", "roberta"]
"""``bert`` gets emoji as words, ``roberta`` unchanged."""

CHARACTERS_MAX = 20_000
"""Characters of a text that are read: a text from outside must not take long."""
TWEET_CHARACTERS = 600
"""A longer text is taken for news, and scored sentence by sentence."""
PIECES_MAX = 32
"""Pieces of one text that are scored at most."""
_SHORT = 24
"""A shorter sentence is joined to the one before it."""

LINK = r"(?:https?://|www\.)\S+"
MENTION = r"(?<![\w@])@\w+"
_LINK = re.compile(LINK, re.IGNORECASE)
_MENTION = re.compile(MENTION)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff\ufff9-\ufffb\ud800-\udfff]")
_EMOJI_RANGES = r"\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
_EMOJI = re.compile(f"[{_EMOJI_RANGES}]")
_JOINERS = re.compile(r"[\u200d\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")
_SAID = re.compile(rf"@user\b|\bhttp\b|([\w{_EMOJI_RANGES}])")
"""A mention or a link, which say nothing, or, as the group, one character that says something."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z])|(?<=[。！？])\s*|\n+")


def pieces(text: str, kind: Kind) -> list[str]:
    """Return the parts of a text whose scores are averaged: a tweet as a whole, news by sentences, none where the text says nothing.

    There are at most ``PIECES_MAX`` pieces of at most ``TWEET_CHARACTERS`` characters.
    """
    unified = _unify(text, kind)
    whole = " ".join(unified.split())
    if len(whole) <= TWEET_CHARACTERS:
        return [whole] if whole else []
    out: list[str] = []
    for sentence in _SENTENCE_END.split(unified):
        rest = " ".join(sentence.split())
        short = bool(out and rest) and min(len(out[-1]), len(rest)) < _SHORT
        if short and len(out[-1]) + len(rest) < TWEET_CHARACTERS:
            out[-1] += " " + rest
            continue
        while rest and len(out) < PIECES_MAX:
            cut = _cut(rest)
            out.append(rest[:cut])
            rest = rest[cut:].lstrip()
        if len(out) == PIECES_MAX:
            break
    return out


def _cut(text: str) -> int:
    """Return where to end a piece: at the last space that fits."""
    if len(text) <= TWEET_CHARACTERS:
        return len(text)
    space = text.rfind(" ", 1, TWEET_CHARACTERS)
    return space if space > 0 else TWEET_CHARACTERS


def _unify(text: str, kind: Kind) -> str:
    """Return ``text`` with everything replaced except white space, or an empty text where it says nothing.

    Most texts need few of the steps, and a look is faster than a replacement that finds nothing: plain ASCII has one form and no emoji.
    """
    text = text[:CHARACTERS_MAX]
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)[:CHARACTERS_MAX]
    if not text.isprintable():  # no control character is printable
        text = _CONTROL.sub(lambda m: "\n" if m[0] in "\n\r\u2028\u2029" else " ", text)
    if "://" in text or "." in text:
        text = _LINK.sub("http", text)
    if "@" in text:
        text = _MENTION.sub("@user", text)
    if kind == "bert" and not text.isascii():
        text = _EMOJI.sub(_emoji_words, _JOINERS.sub("", text))
    return text if any(m[1] for m in _SAID.finditer(text)) else ""


def _emoji_words(match: re.Match[str]) -> str:
    """Return the name of an emoji, or the letter of one half of a flag."""
    emoji = match[0]
    if "\U0001f1e6" <= emoji <= "\U0001f1ff":
        return chr(ord(emoji) - 0x1F1E6 + ord("a"))
    name = unicodedata.name(emoji, "")
    return f" {name.lower()} " if name else emoji
