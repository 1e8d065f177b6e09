"""A simulated market across midnight, as the checks read it."""

from dataclasses import replace

import pytest

from ingest import settings
from ingest.check import recording
from ingest.messages.kinds import SocialPost
from ingest.simulate import history

MIDNIGHT = 1_700_006_400_000
CONF = replace(settings.load({}), instruments={})


@pytest.fixture(scope="session")
def messages() -> list:
    """A quarter of an hour of two symbols with posts, these first, as a recording gives them."""
    stream = list(history(MIDNIGHT - 600_000, MIDNIGHT + 300_000, symbols=("SIM-BTC", "ODD"), seed=5))
    posts = [message for _, message in stream if isinstance(message, SocialPost)]
    market = [(kind, message) for kind, message in stream if not isinstance(message, SocialPost)]
    return [*recording.scored(posts, CONF), *market]
