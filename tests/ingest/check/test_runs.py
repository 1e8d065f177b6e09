"""A run keeps what its symbol accepted, and no more."""

from ingest.check import lookahead, result, runs
from ingest.messages.kinds import Trade

from .conftest import CONF, MIDNIGHT


def test_a_message_that_came_too_late_is_no_data_of_the_truncated_run():
    late = Trade(MIDNIGHT + 100, "A", 9.0, 1.0, "buy", 77)
    feed = [("trade", Trade(MIDNIGHT + i * 400, "A", 10.0 + i % 3, 1.0, "buy", i)) for i in range(20)]
    feed.insert(10, ("trade", late))
    run = runs.run_whole("A", CONF, feed)
    assert late not in [one.message for one in run.accepted]
    assert not result.failed(lookahead.lookahead({"A": feed}, CONF))
