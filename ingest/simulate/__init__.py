"""A simulated market and posts about it, for machines without recordings or internet."""

from ingest.simulate.history import history, live
from ingest.simulate.run import simulate

__all__ = ["history", "live", "simulate"]
