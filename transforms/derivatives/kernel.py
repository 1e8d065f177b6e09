"""The kernel of the ``derivatives`` view, made of one module a topic. A symbol has its state from its first message of these kinds on.

State: ``| what was told | open interest | liquidations |``; liquidations are last because their size depends on the grid.
"""

from __future__ import annotations

from math import isnan

from transforms.catalog import DERIVATIVES
from transforms.derivatives import basis, funding, liquidations, open_interest, told
from transforms.instrument import Instrument
from transforms.kernel import NAN, Vector, jit, zeros

FEATURES = len(DERIVATIVES.features)
INTEREST = told.SIZE
LIQUIDATIONS = INTEREST + open_interest.SIZE


def init(instrument: Instrument, bucket_us: int) -> Vector:
    """Return an empty state for rows at multiples of ``bucket_us``."""
    state = zeros(LIQUIDATIONS + liquidations.size(bucket_us))
    state[told.CONTRACT] = instrument.contract_size
    state[told.INVERSE] = float(instrument.inverse)
    state[told.FUNDING_HOURS] = float(instrument.funding_hours)
    return state


@jit
def step(state: Vector, t_us: int, mark: float, index: float, rate: float, settled_us: int, contracts: float) -> None:
    """Fold in a message of ``t_us``; a value that it does not tell is NaN, a time 0."""
    told.tell(state, t_us, mark, index, rate, settled_us)
    if not isnan(contracts):
        open_interest.tell(state, INTEREST, t_us, contracts)


@jit
def step_liquidation(state: Vector, bucket_us: int, t_us: int, price: float, contracts: float, side: int) -> bool:
    """Fold in a liquidation, as ``liquidations.add``."""
    return liquidations.add(state, LIQUIDATIONS, bucket_us, t_us, price, contracts, side)


@jit
def emit(state: Vector, bucket_us: int, t_us: int, last: float, minutes: float, out: Vector) -> None:
    """Write the row of grid time ``t_us``, from all messages at or before it.

    ``last`` is the price of the last trade, ``minutes`` are those to the next settlement of funding; NaN where they are not known.
    """
    for i in range(FEATURES):
        out[i] = NAN
    basis.emit(state, t_us, last, out)
    funding.emit(state, t_us, minutes, out)
    open_interest.emit(state, INTEREST, t_us, out)
    liquidations.emit(state, LIQUIDATIONS, bucket_us, t_us, out)
