"""``python -m tests.simulation --seed N --count K``: run K schedules from seed N on, and show each that violates a promise.

A failing schedule is made smaller and printed: time, process, call, fault. ``--plants`` shows after how many schedules each deliberate bug
is found.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count

from tests.simulation.plan import draw
from tests.simulation.plants import PLANTS, Plant
from tests.simulation.run import run
from tests.simulation.schedule import Plan
from tests.simulation.shrink import shrink

CHUNK = 50


def main() -> int:
    """Return 1 where a schedule failed, or a plant was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="how many schedules")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--show", action="store_true", help="print every line of the schedule, whether it fails or not")
    parser.add_argument(
        "--plants", action="store_true", help="look for each deliberate bug, in at most 1,000 schedules"
    )
    parser.add_argument("--plant", choices=PLANTS, help="run with this bug")
    args = parser.parse_args()
    if args.plants:
        return _find_plants(args.seed)
    plant = PLANTS[args.plant] if args.plant else Plant("none", 0)
    if args.show:
        for seed in range(args.seed, args.seed + args.count):
            _print(draw(seed), plant, whole=True)
        return 0
    return _many(args.seed, args.count, args.jobs, plant)


def _many(first: int, n: int, jobs: int, plant: Plant) -> int:
    began, failed = time.perf_counter(), []
    chunks = [(seed, min(CHUNK, first + n - seed), plant.about) for seed in range(first, first + n, CHUNK)]
    with ProcessPoolExecutor(jobs, initializer=gc.freeze) as pool:
        for done, seeds in enumerate(pool.map(_failing, chunks), 1):
            failed += seeds
            if sys.stderr.isatty() or done * CHUNK % 5000 == 0:
                print(f"{min(done * CHUNK, n)} schedules, {len(failed)} failed", file=sys.stderr)
    for seed in failed[:3]:
        _print(draw(seed), plant)
    took = time.perf_counter() - began
    print(
        f"{n} schedules from seed {first}, {len(failed)} failed, {n / took:.0f} a second"
        + (f": {failed}" if failed else "")
    )
    return 1 if failed else 0


def _failing(chunk: tuple[int, int, str]) -> list[int]:
    first, n, about = chunk
    plant = next((one for one in PLANTS.values() if one.about == about), Plant("none", 0))
    with plant.planted() as rewrite:
        return [seed for seed in range(first, first + n) if run(draw(seed), rewrite).violations]


def _print(plan: Plan, plant: Plant, *, whole: bool = False) -> None:
    """Print a schedule, made smaller if it fails."""
    with plant.planted() as rewrite:
        if not whole:
            plan = shrink(plan, _fails_like(plan, rewrite))
        found, lines = run(plan, rewrite, keeps_lines=True)
    s = plan.settings
    print(
        f"seed {plan.seed}: lateness {s.allowed_lateness_ms} ms, idle after {s.idle_after_ms} ms, {', '.join(plan.processes)}"
    )
    for fault in plan.faults:
        print(f"    fault at {(fault.at_us % 1_000_000_000) / 1e6:.3f} s: {fault}")
    print(f"    {len(plan.sent)} messages")
    print(*lines, sep="\n")
    print(*(f"VIOLATION: {one}" for one in found), sep="\n")


def _fails_like(plan: Plan, rewrite: Callable[[str], str]) -> Callable[[Plan], bool]:
    """Return a function that tells whether a schedule fails, and keeps to the kind of violation of ``plan``."""
    kinds = {_kind(one) for one in run(plan, rewrite).violations}
    return lambda smaller: bool(kinds & {_kind(one) for one in run(smaller, rewrite).violations})


def _kind(violation: str) -> str:
    return " ".join(word for word in violation.split() if word.isalpha())[-40:]


def _find_plants(first: int) -> int:
    code = 0
    for name, plant in PLANTS.items():
        found = next(n for n in count(1) if n > 1000 or _finds(plant, first + n - 1))
        if found <= 1000:
            print(f"{found:4} schedules (seed {first + found - 1})  {name}: {plant.about}")
        elif _finds(plant, plant.seed):
            print(f"not in 1000, but by seed {plant.seed}  {name}: {plant.about}")
        else:
            code = 1
            print(f"NOT FOUND  {name}: {plant.about}")
    return code


def _finds(plant: Plant, seed: int) -> bool:
    """Return whether a schedule fails with a bug, and not without."""
    with plant.planted() as rewrite:
        found = run(draw(seed), rewrite).violations
    if not found or any(" ended with " in one for one in found):
        return False
    return not run(draw(seed)).violations


if __name__ == "__main__":
    sys.exit(main())
