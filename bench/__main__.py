"""Run the benchmarks named on the command line, or all of them, one after the other."""

import pkgutil
import runpy
import sys

import bench

NAMES = sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if not m.name.startswith("_"))

if __name__ == "__main__":
    wanted = sys.argv[1:] or NAMES
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    sys.argv[1:] = []  # a benchmark has arguments of its own
    for name in wanted:
        runpy.run_module(f"bench.{name}", run_name="__main__")
