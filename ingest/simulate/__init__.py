"""A made-up market and what is said of it, for machines with no recording and no internet."""

from ingest.simulate.history import history, live
from ingest.simulate.run import simulate

__all__ = ["history", "live", "simulate"]
