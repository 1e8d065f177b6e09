"""Find the symbols that a text names, by cashtag, hashtag, or a word of an alias table.

The table (``symbols.toml``, or a user's own) gives each symbol its names. The spelling of a name says how it is matched:

- ``bitcoin`` (no capital): in any case, as a word, ``#bitcoin`` or ``$bitcoin``;
- ``SOL`` (with a capital): as a word in exactly this case, as ``#SOL`` or ``$SOL`` in any case;
- ``$LINK``: only with its ``$`` or ``#``, in any case;
- ``LINK?``: as ``LINK``, but only where the post is about this market, because the name is also a word or a company's ticker;
- ``$SOL?``: as a cashtag only there, whatever other spellings of the name say.

A name with ``?`` counts

- in a pair (``LINK/USDT``), or in a list beside a name that is sure (``BTC, ETH, LINK``);
- as a cashtag, unless the post is about shares (words of ``[against] "*"``, or several cashtags that no name has);
- as a hashtag or a word, if the post has a sure name or a word of ``[context]``. A word in capitals does not count among words in capitals.

A name that has a list of its own in ``[against]`` does not count where the post has a word of that list, except in a list, or as a cashtag
or a pair if the post has a sure name.

A name never matches inside a word, a link or a mention. Characters of scripts without spaces between words do not count as part of a word.
Where names overlap, the longest one matches: "bitcoin cash", "bitcoin-cash" and "#BitcoinCash" name BCHUSDT only, and "Bitcoin SV", of
``[other]``, names nothing.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from transforms.sentiment.text import CHARACTERS_MAX, LINK, MENTION

_IN_WORD = r"[^\W\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
_NOISE = re.compile(rf"{LINK}|{MENTION}", re.IGNORECASE)
_PAIR = r"[/_:\-]?(?:usdt|usdc|busd|fdusd|usd|eur|perp)|[/_](?:krw|jpy|gbp|try)|(?=[/_](?:btc|eth|bnb)\b)|btc|eth|\.x"
_SEPARATOR = re.compile(r"[\s\-_]+")
_BETWEEN = re.compile(r"[\s,;/|&+·•()]*(?:(?:and|or|vs\.?)\s+)?")  # what stands between the names of a list
_MARK = re.compile(r"[,;/|&+·•]")
_CASHTAG = re.compile(r"\$[a-z]{2,5}\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Aliases:
    """An alias table.

    Attributes
    ----------
    names : mapping of str to iterable of str
        Names by symbol.
    other : iterable of str
        Longer names of other things.
    about, trading : iterable of str
        Words that show that a post is about this market, and words that do so if the post is not about shares.
    against : mapping of str to iterable of str
        By name, in lower case, words that show that a post is not about its symbol; ``*`` shows that it is about shares.
    """

    names: Mapping[str, Iterable[str]]
    other: Iterable[str] = ()
    about: Iterable[str] = ()
    trading: Iterable[str] = ()
    against: Mapping[str, Iterable[str]] = field(default_factory=dict)


class _Name(NamedTuple):
    """A name of the table: its symbol, None for another thing, and its spellings (None is any case), sure ones and those with ``?``."""

    symbol: str | None
    sure: list[str | None]
    unsure: list[str | None]


class _Found(NamedTuple):
    """A name in a text."""

    start: int
    end: int
    tag: str
    raw: str
    is_pair: bool
    key: str
    name: _Name

    def is_spelled(self, spellings: Sequence[str | None]) -> bool:
        """Return whether it is written in one of these spellings."""
        return None in spellings or self.raw in spellings

    def is_sure(self) -> bool:
        """Return whether it needs no market."""
        if self.tag == "$" and "" in self.name.unsure:
            return False
        return bool(self.name.sure) and (bool(self.tag) or self.is_spelled(self.name.sure))


class SymbolFinder:
    """The names of an alias table, compiled for the search in texts.

    Raises
    ------
    ValueError
        A name is empty, or stands for two symbols.

    Examples
    --------
    >>> finder = SymbolFinder(ALIASES)
    >>> finder.find("$btc and Ethereum, not BTCs")
    ['BTCUSDT', 'ETHUSDT']
    >>> finder.find("a link near the dot"), finder.find("BTC, LINK, DOT"), finder.find("Bitcoin SV")
    ([], ['BTCUSDT', 'LINKUSDT', 'DOTUSDT'], [])
    """

    def __init__(self, aliases: Aliases) -> None:
        self._names: dict[str, _Name] = {_key(name): _Name(None, [], []) for name in aliases.other}
        written = set(aliases.other)
        for symbol, names in aliases.names.items():
            for name in names:
                written.add(self._add(unicodedata.normalize("NFKC", name), symbol))
        choice = "|".join(re.escape(n).replace(r"\ ", r"[\s\-_]*") for n in sorted(written, key=len, reverse=True))
        name = rf"(?<!{_IN_WORD})(?<![$#])([$#]?)({choice or '(?!)'})({_PAIR})?(?!{_IN_WORD})"
        self._pattern = re.compile(name, re.IGNORECASE)
        self._about, self._trading = _any_of(aliases.about), _any_of(aliases.trading)
        self._against = {_key(name): _any_of(words) for name, words in aliases.against.items()}
        self._shares = self._against.pop("*", _any_of(()))

    def _add(self, name: str, symbol: str) -> str:
        bare = name.rstrip("?").lstrip("$").strip()
        if not bare:
            raise ValueError(f"an alias of {symbol} is empty")
        entry = self._names.setdefault(_key(bare), _Name(symbol, [], []))
        if entry.symbol != symbol:
            raise ValueError(f"alias {bare!r} stands for both {entry.symbol} and {symbol}")
        spelling = "" if name.startswith("$") else None if bare == bare.lower() else bare
        (entry.unsure if name.endswith("?") else entry.sure).append(spelling)
        return bare.lower()

    def find(self, text: str) -> list[str]:
        """Return the symbols that ``text`` names, each once, in the order in which they come."""
        text = _NOISE.sub(" ", unicodedata.normalize("NFKC", text[:CHARACTERS_MAX])[:CHARACTERS_MAX])
        found = [
            _Found(*m.span(), m[1], m[2], m[3] is not None, key, self._names[key])
            for m in self._pattern.finditer(text)
            if (key := _key(m[2])) in self._names
        ]
        keys = {f.key for f in found} & self._against.keys()
        against = {key: self._against[key].search(text) is not None for key in keys}
        denied = [against.get(f.key, False) for f in found]
        counts = [f.is_sure() and not no for f, no in zip(found, denied, strict=True)]
        if not all(counts):
            counts = self._weigh(text, found, denied, counts)
        symbols = (f.name.symbol for f, yes in zip(found, counts, strict=True) if yes)
        return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))

    def symbol_of(self, name: str) -> str | None:
        """Return the symbol of a name that stands alone, as in a post's list of symbols; None for what is no name of the table.

        >>> SymbolFinder(ALIASES).symbol_of("$link"), SymbolFinder(ALIASES).symbol_of("BTC-USD")
        ('LINKUSDT', None)
        """
        bare = unicodedata.normalize("NFKC", name).strip().lstrip("$#")
        entry = self._names.get(_key(bare))
        return entry.symbol if entry is not None else None

    def _weigh(self, text: str, found: list[_Found], denied: list[bool], sure: list[bool]) -> list[bool]:
        """Return which names count, given which are sure and which have a word against them."""
        is_named = any(sure)
        is_about = is_named or self._about.search(text) is not None
        is_shares = self._shares.search(text) is not None or len(set(_CASHTAG.findall(text))) > len(found) + 1
        is_market = is_about or (not is_shares and self._trading.search(text) is not None)
        is_calm = _is_calm(text, {f.raw for f in found})
        listed = _listed(text, found, sure, is_calm)
        counts = list(sure)
        for i, f in enumerate(found):
            if sure[i] or f.name.symbol is None:
                continue
            spelled = bool(f.tag) or f.is_spelled(f.name.sure + f.name.unsure)
            if listed[i] and spelled:
                counts[i] = True
            elif f.is_pair or f.tag == "$":
                counts[i] = is_named if denied[i] else f.is_pair or is_about or not is_shares
            elif not denied[i] and f.name.unsure:
                counts[i] = is_market and spelled and (bool(f.tag) or is_calm or not f.raw.isupper())
        return counts


def _listed(text: str, found: list[_Found], sure: list[bool], is_calm: bool) -> list[bool]:
    """Return of each name whether it stands in a list: three names in a row, or names with commas or the like between, one of them sure.

    Two symbols in capitals with a comma or "and" between are a list too, if other words are not in capitals.
    """
    listed = [False] * len(found)
    start = 0
    for i in range(1, len(found) + 1):
        if i < len(found) and _BETWEEN.fullmatch(text, found[i - 1].end, found[i].start):
            continue
        row = found[start:i]
        between = " ".join(text[a.end : b.start] for a, b in pairwise(row))
        is_marked = _MARK.search(between) is not None
        is_tickers = is_calm and (is_marked or "and" in between) and all(f.raw.isupper() and f.name.symbol for f in row)
        if (any(sure[start:i]) and (is_marked or len(row) >= 3)) or (
            is_tickers and len({f.name.symbol for f in row}) > 1
        ):
            listed[start:i] = [True] * (i - start)
        start = i
    return listed


def _is_calm(text: str, names: set[str]) -> bool:
    """Return whether most words beside ``names`` are not in capitals: then a word in capitals is a ticker."""
    words = [word for word in _WORD.findall(text) if word not in names]
    return 2 * sum(map(str.isupper, words)) < len(words)


def _key(name: str) -> str:
    """Return what is the same in all ways to write a name.

    >>> _key("Bitcoin-Cash") == _key("bitcoin cash") == _key("BitcoinCash")
    True
    """
    return _SEPARATOR.sub("", name.lower())


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    choice = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.compile(rf"\b(?:{choice})\b" if choice else r"(?!)", re.IGNORECASE)


def parse_aliases(text: str) -> Aliases:
    """Return the alias table of a TOML text: a line a symbol, ``BTCUSDT = ["btc", "bitcoin"]``, and perhaps tables as in ``symbols.toml``.

    Raise ``ValueError`` if the text is not TOML, or a value is not a list of names.
    """
    read = tomllib.loads(text)
    tables = {name: read.pop(name) for name in ("other", "context", "against") if isinstance(read.get(name), dict)}
    other, context, against = (_lists(tables.get(name, {})) for name in ("other", "context", "against"))
    return Aliases(_lists(read), other.get("names", ()), context.get("about", ()), context.get("trading", ()), against)


def _lists(table: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    for name, words in table.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f'{name} needs a list of names, such as ["btc", "bitcoin"]')
    return {name: tuple(words) for name, words in table.items()}  # type: ignore[arg-type]  # checked above


ALIASES = parse_aliases(Path(__file__).with_name("symbols.toml").read_text(encoding="utf-8"))
"""The table used where none is configured."""
