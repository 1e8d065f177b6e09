"""Sizes that are contracts: the features are those of the same sizes in base units."""

from __future__ import annotations

import random
from math import isnan

import pytest

from transforms.engine import Engine
from transforms.instrument import Instrument, known
from transforms.kernel import to_bytes

S = 1_000_000
MIDNIGHT = 1_700_006_400 * S
"""µs; a session begins."""


def test_a_coin_margined_contract_counts_in_coins_by_hand() -> None:
    engine = Engine(known("BTCUSD_PERP"), S)
    # 600 contracts of 100 USD at 60,000 are 1 BTC; depth is in USD
    engine.book(MIDNIGHT, [(60_000.0, 600.0), (59_000.0, 1.0)], [(60_006.0, 300.0), (61_000.0, 1.0)])
    engine.trade(MIDNIGHT, 60_000.0, 1_200.0, 1)
    rows = {view.name: dict(zip(view.names, map(float, row), strict=True)) for view, row in engine.emit(MIDNIGHT)}
    book, flow = rows["microstructure"], rows["order_flow"]
    assert book["depth_bid_10bps"] == pytest.approx(60_000.0, rel=1e-15)
    assert book["depth_ask_10bps"] == pytest.approx(30_000.0, rel=1e-15)
    assert book["bid_volume"] == pytest.approx(1.0 + 100 / 59_000, rel=1e-12)
    assert flow["cvd"] == 2.0
    assert flow["vwap_session"] == 60_000.0


@pytest.mark.parametrize(
    ("name", "size"), [("BTCUSD_PERP", 100.0), ("BTCUSD_240628", 100.0), ("ETHUSD_PERP", 10.0), ("BINANCE-DELIVERY:BNB-USD-24M28", 10.0)]
)  # fmt: skip
def test_coin_margined_contracts_of_binance_are_known_by_name(name: str, size: float) -> None:
    contract = known(name)
    assert (contract.contract_size, contract.inverse) == (size, True)
    assert contract.funding_hours == (8 if name.endswith("PERP") else 0)


@pytest.mark.parametrize(
    "name", ["BTCUSDT", "BTCUSD", "KRAKEN:BTC-USD", "OKX:BTC-USD-PERP", "BINANCE-FUTURES:BTCUSDT_240628", "X_PERP"]
)
def test_other_names_tell_nothing(name: str) -> None:
    assert known(name) == Instrument()


@pytest.mark.parametrize("symbol", ["BINANCE-FUTURES:BTCUSDT", "BINANCE-FUTURES:1000PEPEUSDC"])
def test_a_perpetual_of_binance_has_funding_and_sizes_in_base_units(symbol: str) -> None:
    assert known(symbol) == Instrument(funding_hours=8)


@pytest.mark.parametrize("levels", [5, 60])
@pytest.mark.parametrize("contract", [{"contract_size": 0.01}, {"contract_size": 100.0, "inverse": True}])
def test_every_feature_of_contracts_is_that_of_base_units(contract: dict[str, float], levels: int) -> None:
    """Books and trades of eleven minutes, once in contracts and once converted beforehand."""
    rng = random.Random(levels)
    ours = Engine(Instrument(vpin_bucket=3.0, **contract), S)  # type: ignore[arg-type]
    base = Engine(Instrument(vpin_bucket=3.0), S)

    def coins(n: float, price: float) -> float:
        return n * 100.0 / price if "inverse" in contract else n * 0.01

    price, seen = 60_000.0, set()
    for second in range(660):
        t_us = MIDNIGHT + second * S
        price += rng.choice((-0.5, 0.0, 0.5))
        for at_us in (t_us, t_us + S // 2):
            bids, asks = (
                [(price + sign * (0.5 + 7 * i), float(rng.randrange(1, 900))) for i in range(levels)]
                for sign in (-1, 1)
            )
            ours.book(at_us, bids, asks)
            base.book(at_us, *([(p, coins(q, p)) for p, q in side] for side in (bids, asks)))
            n, side = float(rng.randrange(1, 5000)), rng.choice((1, -1, 0))
            ours.trade(at_us + 1, price, n, side)
            base.trade(at_us + 1, price, coins(n, price), side)
        for (view, row), (_, expected) in zip(ours.emit(t_us + S), base.emit(t_us + S), strict=True):
            assert to_bytes(row) == to_bytes(expected), (view.name, second)
            seen |= {name for name, x in zip(view.names, row, strict=True) if not isnan(x)}
    assert seen >= {"bid_volume", "ofi_60s", "depth_bid_10bps"} - ({"depth_bid_10bps"} if levels == 5 else set())
    assert seen >= {"vpin", "kyle_lambda_5m", "cvd", "volume_profile"}
