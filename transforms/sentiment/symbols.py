"""Find the symbols that a text names, by cashtag, hashtag, or a word of an alias table.

The table gives each symbol its names. The spelling of a name says how it is matched:

- ``bitcoin`` (no capital): in any case, as a word, ``#bitcoin`` or ``$bitcoin``;
- ``BTC`` (with a capital): as a word in exactly this case, as ``#BTC`` or ``$BTC`` in any case; "sol", for example, is the sun in
  Spanish;
- ``$LINK``: only with its ``$`` or ``#``, in any case, for names that are words of everyday English.

A name never matches inside a word, a link or a mention. Characters of scripts without spaces between words do not count as part of a
word. Where names overlap, the longest one matches: "bitcoin cash" names BCHUSDT only.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping

from transforms.sentiment.text import CHARACTERS_MAX, LINK, MENTION

ALIASES: dict[str, tuple[str, ...]] = {
    "BTCUSDT": (
        "btc",
        "xbt",
        "btcusdt",
        "btcusd",
        "bitcoin",
        "比特币",
        "比特幣",
        "ビットコイン",
        "비트코인",
        "биткоин",
    ),
    "ETHUSDT": ("eth", "ethusdt", "ethusd", "ethereum", "以太坊", "イーサリアム", "이더리움", "эфириум"),
    "SOLUSDT": ("SOL", "solusdt", "solusd", "solana"),
    "BNBUSDT": ("bnb", "bnbusdt", "binance coin"),
    "XRPUSDT": ("xrp", "xrpusdt", "xrpusd"),
    "DOGEUSDT": ("doge", "dogeusdt", "dogecoin"),
    "ADAUSDT": ("$ADA", "adausdt", "cardano"),
    "AVAXUSDT": ("avax", "avaxusdt"),
    "DOTUSDT": ("$DOT", "dotusdt", "polkadot"),
    "LINKUSDT": ("$LINK", "linkusdt", "chainlink"),
    "LTCUSDT": ("ltc", "ltcusdt", "ltcusd", "litecoin"),
    "BCHUSDT": ("bch", "bchusdt", "bitcoin cash"),
    "ETCUSDT": ("$ETC", "etcusdt", "ethereum classic"),
    "TRXUSDT": ("trx", "trxusdt"),
    "MATICUSDT": ("matic", "maticusdt"),
    "SHIBUSDT": ("shib", "shibusdt", "shiba inu"),
    "UNIUSDT": ("$UNI", "uniusdt", "uniswap"),
    "ATOMUSDT": ("$ATOM", "atomusdt"),
    "NEARUSDT": ("$NEAR", "nearusdt"),
    "APTUSDT": ("$APT", "aptusdt", "aptos"),
}
"""The table used where none is configured."""

_IN_WORD = r"[^\W\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
_NOISE = re.compile(rf"{LINK}|{MENTION}", re.IGNORECASE)


class SymbolFinder:
    """The names of an alias table, compiled for the search in texts.

    Parameters
    ----------
    aliases : mapping of str to iterable of str
        Names by symbol.

    Raises
    ------
    ValueError
        A name is empty, or stands for two symbols.

    Examples
    --------
    >>> SymbolFinder(ALIASES).find("$btc and Ethereum, not BTCs")
    ['BTCUSDT', 'ETHUSDT']
    """

    def __init__(self, aliases: Mapping[str, Iterable[str]]) -> None:
        self._tagged: dict[str, str] = {}
        self._plain: dict[str, str] = {}
        self._exact: dict[str, str] = {}
        for symbol, names in aliases.items():
            for name in names:
                self._add(unicodedata.normalize("NFKC", name), symbol)
        names_all = sorted(self._tagged, key=len, reverse=True)
        choice = "|".join(re.escape(n).replace(r"\ ", r"\s+") for n in names_all) or r"(?!)"
        self._pattern = re.compile(rf"(?<!{_IN_WORD})(?<![$#])([$#]?)({choice})(?!{_IN_WORD})", re.IGNORECASE)

    def _add(self, name: str, symbol: str) -> None:
        bare = name.lstrip("$").strip()
        if not bare:
            raise ValueError(f"an alias of {symbol} is empty")
        folded = bare.lower()
        if self._tagged.setdefault(folded, symbol) != symbol:
            raise ValueError(f"alias {bare!r} stands for both {self._tagged[folded]} and {symbol}")
        if name.startswith("$"):
            return
        if bare == folded:
            self._plain[folded] = symbol
        else:
            self._exact[bare] = symbol

    def find(self, text: str) -> list[str]:
        """Return the symbols that ``text`` names, each once, in the order in which they come."""
        text = _NOISE.sub(" ", unicodedata.normalize("NFKC", text[:CHARACTERS_MAX])[:CHARACTERS_MAX])
        found: dict[str, None] = {}
        for tag, raw in self._pattern.findall(text):
            name = " ".join(raw.split())
            folded = name.lower()
            symbol = self._tagged.get(folded) if tag else self._plain.get(folded) or self._exact.get(name)
            if symbol is not None:
                found[symbol] = None
        return list(found)


def parse_aliases(text: str) -> dict[str, tuple[str, ...]]:
    """Return the alias table of a TOML text with one line a symbol, ``BTCUSDT = ["btc", "bitcoin"]``.

    Raise ``ValueError`` if the text is not TOML, or a value is not a list of names.
    """
    table: dict[str, tuple[str, ...]] = {}
    for symbol, names in tomllib.loads(text).items():
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(f'{symbol} needs a list of names, such as ["btc", "bitcoin"]')
        table[symbol] = tuple(names)
    return table
