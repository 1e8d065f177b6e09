"""Away for a second, with processes and servers: not one sound message is refused; the longer cases are ``tests/chaos/away.py``."""

from __future__ import annotations

from tests.chaos import away


def test_feeds_go_on_while_the_router_and_redis_are_away_and_nothing_is_refused() -> None:
    assert away.run("router:1+redis:1", seed=3, before_s=0.5, after_s=1.5) == []
