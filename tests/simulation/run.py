"""Run a schedule and check it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation import oracle
from tests.simulation.schedule import Plan
from tests.simulation.site import Site
from tests.simulation.stand_ins import installed


class Result(NamedTuple):
    """The violations of a schedule, and its lines where they were asked for."""

    violations: list[str]
    lines: list[str]


def run(plan: Plan, rewrite: Callable[[str], str] = lambda script: script, *, keeps_lines: bool = False) -> Result:
    """Run a schedule; ``rewrite`` may change the text of scripts."""
    site = Site(plan, rewrite, keeps_lines=keeps_lines)
    with installed():
        site.run()
        found = oracle.violations(site)
    return Result(found, list(itertools.starmap(_line, site.world.lines)))


def _line(us: int, who: str, what: str) -> str:
    return f"{(us % 1_000_000_000) / 1e6:10.6f}  {who:10} {what}"
