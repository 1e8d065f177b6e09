"""Make a failing schedule smaller: drop faults and messages as long as it still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.schedule import Plan

Fails = Callable[[Plan], bool]


def shrink(plan: Plan, fails: Fails) -> Plan:
    """Return a smaller schedule that fails; each part of it is needed, as far as it was tried."""
    for _ in range(2):
        plan = _drop(plan, lambda p: p.faults, lambda p, some: p.without(faults=some), fails)
        plan = _drop(plan, lambda p: p.sent, lambda p, some: p.without(sent=some), fails)
    return plan


def _drop(
    plan: Plan, items: Callable[[Plan], Sequence[Any]], without: Callable[[Plan, Sequence[Any]], Plan], fails: Fails
) -> Plan:
    """Drop halves, then quarters, then single items."""
    size = max(len(items(plan)) // 2, 1)
    while items(plan):
        first = 0
        while first < len(items(plan)):
            smaller = without(plan, items(plan)[first : first + size])
            if fails(smaller):
                plan = smaller
            else:
                first += size
        if size == 1:
            break
        size //= 2
    return plan
