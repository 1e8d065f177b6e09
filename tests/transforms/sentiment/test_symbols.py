"""Symbols found in texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.sentiment.symbols import ALIASES, Aliases, SymbolFinder, parse_aliases

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
        ("bitcoin-cash, #BitcoinCash", ["BCHUSDT"]),
        ("XBTUSD, dotusdt, near/usd and $ETH.X", ["BTCUSDT", "DOTUSDT", "NEARUSDT", "ETHUSDT"]),
        (
            "BTC, ETH, BNB, SOL, ADA, XRP, DOT",
            ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT", "DOTUSDT"],
        ),
        ("BTC NEAR LINK", ["BTCUSDT", "NEARUSDT", "LINKUSDT"]),
        ("Bitcoin slips, UNI and ATOM rally", ["BTCUSDT", "UNIUSDT", "ATOMUSDT"]),
        ("#btc #eth #link #dot", ["BTCUSDT", "ETHUSDT", "LINKUSDT", "DOTUSDT"]),
        ("Ether, Ripple, Polygon and Avalanche: coins of the day", ["ETHUSDT", "XRPUSDT", "MATICUSDT", "AVAXUSDT"]),
        ("Mega bullish on DOT", ["DOTUSDT"]),
        ("$LINK up today", ["LINKUSDT"]),
        ("Holding LINK and DOT since 2020", ["LINKUSDT", "DOTUSDT"]),
        ("ethbtc at its lows", ["ETHUSDT"]),
        ("$SOL and $LTC ETF filings, staking included", ["SOLUSDT", "LTCUSDT"]),
        ("$SOL/USDT long, $BTC short, stocks are shut", ["SOLUSDT", "BTCUSDT"]),
        ("$SOL $BTC, no stocks for me", ["SOLUSDT", "BTCUSDT"]),
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
        "Bitcoin SV, Bitcoin Gold, ETH Zurich",
        "$SOL - ReneSola names new CEO",
        "$SOL EPS beats by $0.01, beats on revenue",
        "$LTC - results of the third quarter",
        "$LTC Properties declares a dividend",
        "$CUI $APT $FRTA among Industrial gainers",
        "Interlink Electronics $LINK reports earnings",
        "#uni #near #dot #link",
        "DOGE cuts federal contracts",
        "an avalanche of ripple effects in a polygon of ether",
    ],
)
def test_no_match_inside_a_word_a_link_a_mention_or_in_everyday_words(text: str) -> None:
    assert FINDER.find(text) == []


@pytest.mark.parametrize("text", ["WBTC supply shrinks", "Wrapped Bitcoin supply shrinks", "wrapped-ether depegs"])
def test_a_wrapped_coin_is_another_token_by_its_name_as_by_its_ticker(text: str) -> None:
    assert FINDER.find(text) == []


def test_a_word_in_capitals_among_words_in_capitals_is_no_ticker() -> None:
    assert FINDER.find("BITCOIN NEAR ATH") == ["BTCUSDT"]
    assert FINDER.find("CLICK THE LINK FOR FREE BTC") == ["BTCUSDT"]


LABELLED = [line.split("\t") for line in Path(__file__).with_name("labelled_posts.tsv").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("half", [0, 1])
def test_most_symbols_of_labelled_posts_are_found_and_few_others(half: int) -> None:
    """Every other pair of lines was used to choose words of the table, the others only to measure."""
    right = wrong = missed = 0
    for labels, text in (line for i, line in enumerate(LABELLED) if i // 2 % 2 == half):
        told, found = {f"{label}USDT" for label in labels.split()}, set(FINDER.find(text))
        right, wrong, missed = right + len(told & found), wrong + len(found - told), missed + len(told - found)
    assert right / (right + wrong) > 0.95, "precision"
    assert right / (right + missed) > 0.97, "recall"


def test_a_table_of_ones_own_may_demand_context() -> None:
    finder = SymbolFinder(
        parse_aliases(
            'AAPL = ["Apple?", "$AAPL"]\nMSFT = ["microsoft"]\n[context]\nabout = ["iphone"]\n[other]\nnames = ["apple pie"]'
        )
    )
    assert finder.find("Apple and Microsoft") == ["AAPL", "MSFT"]
    assert finder.find("Apple sold fewer iPhones: iPhone sales fell") == ["AAPL"]
    assert finder.find("An Apple a day") == finder.find("Apple pie recipe of a Microsoftie, iphone") == []
    assert finder.find("aapl $aapl") == ["AAPL"]


def test_a_capital_makes_a_word_exact_and_a_cashtag_any_case() -> None:
    assert FINDER.find("SOL") == ["SOLUSDT"]
    assert FINDER.find("sol") == []
    assert FINDER.find("$sol") == ["SOLUSDT"]
    assert FINDER.find("$near $LINK") == ["NEARUSDT", "LINKUSDT"]


def test_the_table_is_configurable() -> None:
    finder = SymbolFinder(parse_aliases('"BINANCE:BTC-USDT" = ["BTC", "digital gold"]\nX = ["$x.y"]'))
    assert finder.find("Digital Gold, $X.Y, xay") == ["BINANCE:BTC-USDT", "X"]
    assert SymbolFinder(Aliases({})).find("$BTC") == []


@pytest.mark.parametrize("text", ["A = 1", 'A = ["b", 2]', "A = "])
def test_a_table_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"A needs a list|Invalid|invalid"):
        parse_aliases(text)


def test_a_name_of_two_symbols_or_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="both A and B"):
        SymbolFinder(Aliases({"A": ["btc"], "B": ["BTC"]}))
    with pytest.raises(ValueError, match="empty"):
        SymbolFinder(Aliases({"A": ["$"]}))


def test_a_hostile_text_is_read_in_part_only() -> None:
    assert FINDER.find("x " * 50_000 + "$BTC") == []
    assert FINDER.find("$BTC " * 20_000) == ["BTCUSDT"]
