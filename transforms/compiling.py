"""Compiling of all kernels ahead of the first message."""

from __future__ import annotations

from transforms.context.layout import Neighbours
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US
from transforms.limits import MAX_LEVELS


def warm_up() -> None:
    """Compile every kernel, or load it from the cache, so that the first message does not wait for it."""
    engine = Engine(Instrument(), SECOND_US, Neighbours(("A", "B"), 0, 1, (1,)))
    levels = [(100.0 - i, 1.0) for i in range(2)]
    for t_us in (1, SECOND_US + 1):
        engine.book(t_us, levels, [(200.0 + i, 1.0) for i in range(2)])
        engine.book(t_us, levels, [(200.0 + i, 1.0) for i in range(MAX_LEVELS + 1)])
        engine.trade(t_us, 100.0, 1.0, 0)
        engine.tell_contract(t_us, mark=100.0, open_interest=1.0)
        engine.contract.liquidate(t_us, 100.0, 1.0, 1)
        engine.emit(SECOND_US)
    engine.lose_book(2 * SECOND_US)
    engine.lose_trades(2 * SECOND_US, 2 * SECOND_US)
    engine.contract.lose(2 * SECOND_US)
    if engine.context is not None:
        engine.context.hear("A", SECOND_US, 100.0, 1.0, 1.0)
        engine.context.next_row(2 * SECOND_US)
    engine.emit(2 * SECOND_US)
