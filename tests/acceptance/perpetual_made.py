"""Files of a made-up perpetual and its spot market in the forms of Tardis, of Binance's public data, and of raw captures of Binance."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

BEGIN_S = 1_700_005_400  # so that hours of funding and a minute begin within
SPAN_S = 3_760
PERPETUAL, SPOT = "BINANCE-FUTURES:BTCUSDT", "BTCUSDT"


def seconds(seed: int, span: int = SPAN_S) -> Iterator[tuple[int, random.Random, float, float]]:
    """Yield each second with a chance, the price of the spot market and that of the perpetual."""
    chance = random.Random(seed)
    spot, premium = 60_000.0, 5.0
    for second in range(BEGIN_S, BEGIN_S + span):
        spot *= 1 + chance.gauss(0, 1e-4)
        premium += chance.gauss(0, 1)
        yield second, chance, round(spot, 1), round(spot + premium + chance.gauss(0, 2), 1)


def of_tardis(folder: Path, seed: int = 3) -> list[Path]:
    """Ticker, liquidations, trades and quotes of the perpetual, and quotes of the spot market; some rows come late, and some twice."""
    ticker, forced, trades = [], [], []
    quotes: dict[str, list[str]] = {"binance-futures": [], "binance": []}
    interest, rate, number = 34_000.0, 1e-4, 0
    for second, chance, spot, price in seconds(seed):
        now = second * 1_000_000

        def stamp(exchange: str, begin: int = now, chance: random.Random = chance) -> str:
            at = begin + chance.randrange(1_000_000)
            late = chance.choice((700_000, 3_000_000)) if chance.random() < 0.02 else chance.randrange(2_000, 90_000)
            return f"{exchange},BTCUSDT,{at},{at + late}"

        if second % 700 > 80:  # else it says nothing for longer than its values count
            interest *= 1 + chance.gauss(0, 1e-4) * (second % 15 == 0)
            rate += chance.gauss(0, 1e-7)
            settled = (second // 28_800 + 1) * 28_800 * 1_000_000
            told = f"{settled},{rate:.8f},,{interest:.3f},{price},{spot},{price + 0.25:.2f}"
            ticker.append(f"{stamp('binance-futures')},{told if chance.random() < 0.9 else f',,,,{price},,'}\n")
        for exchange, mid in (("binance-futures", price), ("binance", spot)):
            if chance.random() < 0.95:
                sizes = chance.randrange(1, 900) / 100, chance.randrange(1, 900) / 100
                quotes[exchange].append(f"{stamp(exchange)},{sizes[0]},{mid + 0.1:.1f},{mid:.1f},{sizes[1]}\n")
        if chance.random() < 0.2 and second % 900 > 70:
            number += 1
            side = chance.choice(("buy", "sell"))
            trades.append(f"{stamp('binance-futures')},{number},{side},{price},0.{chance.randrange(1, 99):03}\n")
        if chance.random() < 0.03:
            row = (
                f"{stamp('binance-futures')},,{chance.choice(('buy', 'sell'))},{price},0.{chance.randrange(1, 99):03}\n"
            )
            forced += [row] * chance.choice((1, 1, 2))
    common = "exchange,symbol,timestamp,local_timestamp"
    of_quotes = f"{common},ask_amount,ask_price,bid_price,bid_amount\n"
    values = "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
    files = {
        "binance-futures_derivative_ticker_2023-11-14_BTCUSDT": [f"{common},{values}\n", *ticker],
        "binance-futures_liquidations_2023-11-14_BTCUSDT": [f"{common},id,side,price,amount\n", *forced],
        "binance-futures_trades_2023-11-14_BTCUSDT": [f"{common},id,side,price,amount\n", *trades],
        "binance-futures_quotes_2023-11-14_BTCUSDT": [of_quotes, *quotes["binance-futures"]],
        "binance_quotes_2023-11-14_BTCUSDT": [of_quotes, *quotes["binance"]],
    }
    for name, rows in files.items():
        rows[1:] = sorted(rows[1:], key=lambda row: int(row.split(",")[3]))  # Tardis writes rows as they were received
        (folder / f"{name}.csv").write_text("".join(rows))
    return sorted(folder.glob("binance*.csv"))


def of_binance(folder: Path, symbol: str = "BTCUSD_PERP", seed: int = 5) -> list[Path]:
    """The public files of a perpetual that is paid in coins: a rate, open interest, forced orders, quotes, trades and bars."""
    number = 0
    rows: dict[str, list[str]] = {
        "metrics": ["create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio\n"],
        "fundingRate": [
            "calc_time,funding_interval_hours,last_funding_rate\n",
            f"{BEGIN_S * 1000 + 400_007},8,0.00010000\n",
        ],
        "liquidationSnapshot": [
            "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
            "accumulated_fill_quantity\n"
        ],
        "bookTicker": [
            "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        ],
        "aggTrades": ["agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"],
        "markPriceKlines": [],
        "indexPriceKlines": ["open_time,open,high,low,close,ignore,close_time,ignore,ignore,ignore,ignore,ignore\n"],
    }
    for second, chance, spot, price in seconds(seed):
        ms = second * 1000 + chance.randrange(1000)
        sizes = chance.randrange(1, 9000), chance.randrange(1, 9000)
        rows["bookTicker"].append(f"{second},{price},{sizes[0]},{price + 0.1:.1f},{sizes[1]},{ms - 3},{ms}\n")
        if chance.random() < 0.2:
            number += 1
            maker = chance.choice(("true", "false"))
            rows["aggTrades"].append(f"{number},{price},{chance.randrange(1, 90)},{number},{number},{ms},{maker}\n")
        if chance.random() < 0.03:
            n = chance.randrange(1, 90)
            order = f"{ms},{chance.choice(('BUY', 'SELL'))},LIMIT,IOC,{n},{price + 99:.1f},{price},FILLED,1,{n}\n"
            rows["liquidationSnapshot"] += [order, order]
        if second % 300 == 0:
            at = datetime.fromtimestamp(second, UTC)
            rows["metrics"].append(
                f'{at:%Y-%m-%d %H:%M:%S},{symbol},{5_578_700 + chance.randrange(90_000)}.00000000,18265.1,""\n'
            )
        if second % 60 == 59 and second % 1800 > 200:
            for kind, close in (("markPriceKlines", price + 0.35), ("indexPriceKlines", spot)):
                begin = (second - 59) * 1000
                rows[kind].append(f"{begin},{close},{close},{close},{close:.8f},0,{begin + 59_999},0,60,0,0,0\n")
    paths = []
    for kind, lines in rows.items():
        name = f"{symbol}-1m" if kind.endswith("Klines") else f"{symbol}-{kind}"
        path = folder / "cm" / kind / f"{name}-2023-11-14.zip"
        path.parent.mkdir(parents=True)
        with ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}.csv", "".join(lines))
        paths.append(path)
    return paths


def captured(folder: Path, seed: int = 7, span: int = 460) -> list[Path]:
    """A raw capture of the perpetual and one of its spot market, whose clock is a second slow."""
    lines: dict[str, list[tuple[int, Any]]] = {"usdm": [], "spot": []}
    last = {"usdm": 100, "spot": 900}
    best: dict[str, tuple[str, str]] = {}
    for second, chance, spot, price in seconds(seed, span):
        for market, mid in (("usdm", price), ("spot", spot)):
            ms = second * 1000 + chance.randrange(900)
            at = (ms + chance.randrange(3, 70)) * 1_000_000
            if market not in best:
                best[market] = f"{mid:.2f}", f"{mid + 0.1:.2f}"
                levels = {side: [[one, "1.000"]] for side, one in zip(("bids", "asks"), best[market], strict=True)}
                lines[market].append((at, {"lastUpdateId": last[market], **levels}))
            new = f"{mid:.2f}", f"{mid + 0.1:.2f}"
            sides = [
                [*([[old, "0"]] if old != one else []), [one, f"{chance.randrange(1, 900) / 100}"]]
                for old, one in zip(best[market], new, strict=True)
            ]
            u = last[market]
            diff = {"e": "depthUpdate", "E": ms, "s": "BTCUSDT", "U": u + 1, "u": u + 4, "b": sides[0], "a": sides[1]}
            lines[market].append(
                (at, {"stream": "btcusdt@depth@100ms", "data": diff | ({"pu": u} if market == "usdm" else {})})
            )
            last[market], best[market] = u + 4, new
            if chance.random() < 0.4:
                trade = {
                    "e": "trade",
                    "E": ms,
                    "T": ms,
                    "s": "BTCUSDT",
                    "t": second,
                    "p": new[0],
                    "q": "0.01",
                    "m": True,
                }
                lines[market].append(
                    (
                        at + 999,
                        {"stream": "btcusdt@trade", "data": trade | {"X" if market == "usdm" else "M": "MARKET"}},
                    )
                )
        told: list[tuple[str, Any]] = [
            ("!markPrice@arr@1s", [_mark("ETHUSDT", second, 2000.0), _mark("BTCUSDT", second, spot)])
        ]
        if chance.random() < 0.1:
            order = {
                "s": "BTCUSDT",
                "S": chance.choice(("BUY", "SELL")),
                "q": "0.5",
                "p": f"{price + 9:.2f}",
                "T": second * 1000,
            }
            told.append(
                (
                    "!forceOrder@arr",
                    {"e": "forceOrder", "E": second * 1000 + 90, "o": order | {"ap": f"{price:.2f}", "z": "0.4"}},
                )
            )
        late = 4_000 if chance.random() < 0.03 else 120
        lines["usdm"] += [((second * 1000 + late) * 1_000_000, {"stream": name, "data": data}) for name, data in told]
        if second % 15 == 0:
            answer = {
                "symbol": "BTCUSDT",
                "openInterest": f"{34_000 + chance.gauss(0, 9):.3f}",
                "time": second * 1000 - 400,
            }
            lines["usdm"].append(((second * 1000 + 300) * 1_000_000, answer))
    paths = []
    for market, of in lines.items():
        path = folder / f"{market}_btcusdt.jsonl"
        slow = 1_000_000_000 if market == "spot" else 0
        path.write_text("".join(f"{at - slow} {json.dumps(line)}\n" for at, line in sorted(of, key=lambda one: one[0])))
        paths.append(path)
    return paths


def _mark(symbol: str, second: int, price: float) -> dict[str, Any]:
    told = {
        "e": "markPriceUpdate",
        "E": second * 1000,
        "s": symbol,
        "p": f"{price + 1:.8f}",
        "i": f"{price:.8f}",
        "r": "0.00010000",
    }
    return told | {"T": (second // 28_800 + 1) * 28_800_000}
