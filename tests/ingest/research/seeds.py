"""Does the ranking find what is there and nothing else? A planted, two leaked and some noisy features, seed after seed.

Run by hand on frames of a usual length, with a signal as small as those of markets::

    python -m tests.ingest.research.seeds --seeds 100 --rows 20000 --told 0.08

It prints a JSON object: in how many seeds the planted feature was first, in how many it was chosen, which features of the future were
not flagged, which features without a signal were chosen or flagged, and the planted feature's coefficient.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.research.ranking import rank
from tests.ingest.research.frames import Walk, frame

PLANTED = "planted"
LEAKED = ("leaked", "next_price")
NOISE = ("noise", "heavy", "slow", "walk", "sparse", "flag", "trend")
HORIZON = 5


def features_of(walk: Walk) -> dict[str, NDArray[np.float64]]:
    """A feature that tells a little, two that know the future, and noise of several kinds.

    ``leaked`` is the label with as much noise as leaves 60 % of its variance told, ``next_price`` the price one row too early.
    """
    rng = walk.generator
    label = walk.coming(HORIZON)
    slow = np.convolve(rng.standard_normal(walk.rows + 99), np.exp(-np.arange(100) / 30), "valid")
    return {
        PLANTED: walk.told[walk.at],
        "leaked": label / label.std() + 0.8 * walk.noise(),
        "next_price": walk.price(later=1),
        "noise": walk.noise(),
        "heavy": rng.standard_t(2, walk.rows),
        "slow": slow,
        "walk": np.cumsum(walk.noise()),
        "sparse": np.where(rng.random(walk.rows) < 0.05, walk.noise(), 0.0),
        "flag": (slow > slow.std()).astype(float),
        "trend": np.cumsum(np.abs(walk.noise())),
        "mid_price": walk.price(),
    }


def ranked(seed: int, rows: int, told: float) -> dict[str, Any]:
    """Rank the features of one seed."""
    walk = Walk(seed, rows, told=told)
    return rank(frame(features_of(walk), {HORIZON: walk.coming(HORIZON)}))


def count(seeds: Sequence[int], rows: int, told: float) -> dict[str, Any]:
    """Rank the features of each seed, and count what the module says."""
    first = chosen = 0
    missed: Counter[str] = Counter()
    wrong: list[tuple[int, str, str]] = []
    coefficients = []
    for seed in seeds:
        found = ranked(seed, rows, told)["features"]
        verdicts = {one["name"]: one["verdict"] for one in found}
        first += found[0]["name"] == PLANTED
        chosen += verdicts[PLANTED] == "chosen"
        missed.update(name for name in LEAKED if verdicts[name] != "looks ahead")
        wrong += [(seed, name, verdicts[name]) for name in NOISE if verdicts[name] != "no evidence"]
        coefficients += [of["ic"]["mean"] for one in found if one["name"] == PLANTED for of in one["horizons"].values()]
    return {
        "seeds": len(seeds),
        "rows": rows,
        "planted_first": first,
        "planted_chosen": chosen,
        "planted_ic": round(float(np.mean(coefficients)), 4),
        "leaks_missed": dict(missed),
        "noise_not_refused": wrong,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; the exit code is 1 where noise was chosen, or a leak was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--told", type=float, default=0.08, help="how much of a deviation the signal moves each price")
    args = parser.parse_args(argv)
    found = count(range(args.seeds), args.rows, args.told)
    print(json.dumps(found))
    return int(bool(found["leaks_missed"] or found["noise_not_refused"] or found["planted_first"] < args.seeds))


if __name__ == "__main__":
    sys.exit(main())
