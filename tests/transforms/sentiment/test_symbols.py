"""Symbols found in texts."""

from __future__ import annotations

import pytest

from transforms.sentiment.symbols import ALIASES, SymbolFinder, parse_aliases

FINDER = SymbolFinder(ALIASES)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("$BTC up", ["BTCUSDT"]),
        ("$btc up", ["BTCUSDT"]),
        ("#BTC, #eth.", ["BTCUSDT", "ETHUSDT"]),
        ("Bitcoin and ETHEREUM; bitcoin again", ["BTCUSDT", "ETHUSDT"]),
        ("eth before btc", ["ETHUSDT", "BTCUSDT"]),
        ("ETH/BTC BTC-USD BTC's", ["ETHUSDT", "BTCUSDT"]),
        ("ＢＴＣ in full-width letters", ["BTCUSDT"]),
        ("买BTC吧", ["BTCUSDT"]),
        ("比特币价格", ["BTCUSDT"]),
        ("비트코인은 오른다", ["BTCUSDT"]),
        ("Bitcoin  Cash", ["BCHUSDT"]),
        ("bitcoin cash and bitcoin", ["BCHUSDT", "BTCUSDT"]),
    ],
)
def test_a_named_symbol_is_found_once_and_in_order(text: str, symbols: list[str]) -> None:
    assert FINDER.find(text) == symbols


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mBTC BTC2 BTCs BTC_ 0.5BTC",
        "method something ethics",
        "@bitcoin says https://bitcoin.org www.bitcoin.org/eth",
        "near the dot, a link, un sol, et unis, atom",
        "LINK NEAR DOT",
        "$AAPL",
    ],
)
def test_no_match_inside_a_word_a_link_a_mention_or_in_everyday_words(text: str) -> None:
    assert FINDER.find(text) == []


def test_a_capital_makes_a_word_exact_and_a_cashtag_any_case() -> None:
    assert FINDER.find("SOL") == ["SOLUSDT"]
    assert FINDER.find("sol") == []
    assert FINDER.find("$sol") == ["SOLUSDT"]
    assert FINDER.find("$near $LINK") == ["NEARUSDT", "LINKUSDT"]


def test_the_table_is_configurable() -> None:
    finder = SymbolFinder(parse_aliases('"BINANCE:BTC-USDT" = ["BTC", "digital gold"]\nX = ["$x.y"]'))
    assert finder.find("Digital Gold, $X.Y, xay") == ["BINANCE:BTC-USDT", "X"]
    assert SymbolFinder({}).find("$BTC") == []


@pytest.mark.parametrize("text", ["A = 1", 'A = ["b", 2]', "A = "])
def test_a_table_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"A needs a list|Invalid|invalid"):
        parse_aliases(text)


def test_a_name_of_two_symbols_or_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="both A and B"):
        SymbolFinder({"A": ["btc"], "B": ["BTC"]})
    with pytest.raises(ValueError, match="empty"):
        SymbolFinder({"A": ["$"]})


def test_a_hostile_text_is_read_in_part_only() -> None:
    assert FINDER.find("x " * 50_000 + "$BTC") == []
    assert FINDER.find("$BTC " * 20_000) == ["BTCUSDT"]
