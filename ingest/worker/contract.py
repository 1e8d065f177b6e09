"""What a symbol does with messages about its contract: derivatives and liquidations.

They reach us by other ways than the market, some of them seconds slower. So none makes time pass, and one that comes behind the watermark
takes its place there: the rows that are written stay, and those from then on know what it says, as of its own time.
"""

from __future__ import annotations

from ingest.messages.check import check_derivatives, check_liquidation
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import time_us
from ingest.messages.refusal import Reason, Refused
from transforms.catalog import DERIVATIVES
from transforms.engine import Engine

OF_CONTRACT = (Derivatives, Liquidation)
BEHIND_US = DERIVATIVES.ttl_s * 1_000_000
"""How far behind the watermark such a message may come: what is older counts for no row."""


def accept(message: Derivatives | Liquidation, watermark_us: int) -> int:
    """Check a message, and return its place in the order of the symbol's messages; raise ``Refused`` if it is impossible or late."""
    t_us = time_us(message)
    if t_us < watermark_us - BEHIND_US:
        raise Refused(Reason.LATE, f"{(watermark_us - t_us) / 1000} ms behind the watermark")
    if isinstance(message, Derivatives):
        check_derivatives(message)
    else:
        check_liquidation(message)
    return max(t_us, watermark_us)


def apply(engine: Engine, message: Derivatives | Liquidation) -> None:
    """Give a message to the kernels; raise ``Refused`` for a liquidation that repeats one of the last."""
    t_us = time_us(message)
    if isinstance(message, Liquidation):
        side = 1 if message.side == "buy" else -1
        if not engine.contract.liquidate(t_us, message.price, message.size, side):
            raise Refused(Reason.DUPLICATE, f"a liquidation of {message.size} at {message.price} at this very time")
        return
    engine.tell_contract(
        t_us,
        mark=message.mark,
        index=message.index,
        funding_rate=message.funding_rate,
        settled_us=message.next_funding_time and message.next_funding_time * 1000,
        open_interest=message.open_interest,
    )
