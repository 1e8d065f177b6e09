"""Entities: what features describe."""

from feast import Entity, ValueType

symbol = Entity(
    name="symbol",
    join_keys=["symbol"],
    value_type=ValueType.STRING,
    description="A traded instrument, as its venue names it: BTCUSDT, BINANCE:BTC-USDT.",
    owner="market-data",
    tags={"domain": "trading"},
)
