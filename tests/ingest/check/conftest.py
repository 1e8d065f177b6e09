"""A simulated market across midnight, as the checks read it."""

from dataclasses import replace

import pytest

from ingest import settings
from ingest.check import recording
from ingest.simulate import history

MIDNIGHT = 1_700_006_400_000
CONF = replace(settings.load({}), instruments={})


@pytest.fixture(scope="session")
def feeds() -> dict[str, list]:
    """A quarter of an hour of two symbols with posts."""
    stream = history(MIDNIGHT - 600_000, MIDNIGHT + 300_000, symbols=("SIM-BTC", "ODD"), seed=5)
    return recording.by_symbol(stream, CONF)
