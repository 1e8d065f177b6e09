"""What the simulated venue tells of contracts."""

from __future__ import annotations

from ingest.messages.check import check_derivatives, check_liquidation
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.simulate import history

T0 = 1_754_611_200_000
HOUR = 3_600_000
SETTLED = 28_800_000


def test_the_mark_comes_every_second_with_index_and_funding_and_open_interest_every_ten() -> None:
    told = [
        m for _, m in history(T0, T0 + HOUR, symbols=["SIM-BTC"], kinds=["derivatives"]) if isinstance(m, Derivatives)
    ]
    for message in told:
        check_derivatives(message)
    marks = [m for m in told if m.mark is not None]
    assert [m.timestamp for m in marks] == list(range(T0, T0 + HOUR, 1000))
    assert all(m.next_funding_time == (m.timestamp // SETTLED + 1) * SETTLED for m in marks)
    basis = [1e4 * (m.mark - m.index) / m.index for m in marks]  # type: ignore[operator]
    assert max(map(abs, basis)) <= 12.1
    assert max(basis) - min(basis) > 0.1
    assert len({m.funding_rate for m in marks}) > 100
    interest = [m for m in told if m.open_interest is not None]
    assert len(interest) == 360
    assert all(m.mark is None for m in interest)
    assert len({m.open_interest for m in interest}) > 300


def test_liquidations_come_some_times_a_minute_near_the_price_of_both_sides() -> None:
    both = list(history(T0, T0 + HOUR, symbols=["SIM-ETH"], kinds=["derivatives", "liquidation"]))
    forced = [m for _, m in both if isinstance(m, Liquidation)]
    index = {m.timestamp // 1000: m.index for _, m in both if isinstance(m, Derivatives) and m.index}
    assert 200 < len(forced) < 800
    for message in forced:
        check_liquidation(message)
        assert abs(message.price / index[message.timestamp // 1000] - 1) < 0.002
    assert {m.side for m in forced} == {"buy", "sell"}
