"""Two versions of the code, as processes: one takes over from the other and both are killed; longer in ``tests/chaos/hand_over.py``."""

from __future__ import annotations

from tests.chaos import hand_over


def test_another_version_of_a_kernel_takes_over_while_both_versions_are_killed_and_no_value_is_lost() -> None:
    arguments = {"rate": 40, "n_symbols": 2, "kernel": "trade_rate", "seed": 1, "before_s": 3.0}
    assert hand_over.run(1, 2, **arguments, numba="0") == []
