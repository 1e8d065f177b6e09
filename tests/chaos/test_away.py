"""Away for a second, with processes and servers: not one sound message is refused; the longer cases are ``tests/chaos/away.py``."""

from __future__ import annotations

from collections import Counter
from math import log

from ingest import settings
from tests.chaos import away, away_followers
from tests.chaos.tape import INSTRUMENTS
from transforms.catalog import CONTEXT, MICROSTRUCTURE


def test_feeds_go_on_while_the_router_and_redis_are_away_and_nothing_is_refused() -> None:
    assert away.run("router:1+redis:1", seed=3, before_s=0.5, after_s=1.5) == []


def test_a_row_that_knows_more_than_its_leader_had_told_is_found() -> None:
    mids = [100.0, 101.0, 103.0, 104.0, 104.0]
    rows: away.Bits = {}
    for second, mid in enumerate(mids):
        cells = [None if name != "mid_price" else mid.hex() for name in MICROSTRUCTURE.names]
        rows[MICROSTRUCTURE.name, "LIVE-0", second * 1_000_000] = [list(cells)]

    def told(value: float | None) -> Counter[str]:
        of_context = [None if name != "return_leader_1s" or value is None else value.hex() for name in CONTEXT.names]
        row: away.Bits = {(CONTEXT.name, "LIVE-1", 3_000_000): [list(of_context)]}
        wrong, ages = away_followers.wrong({**rows, **row}, conf)
        assert len(wrong) == ages["of no such second"]
        return ages

    conf = settings.load({"TFS_INSTRUMENTS": str(INSTRUMENTS)})
    assert told(log(104) - log(103)) == {away_followers.NEWEST: 1}
    assert told(log(103) - log(101)) == {away_followers.OLDER: 1}
    assert told(None) == {away_followers.NOTHING: 1}
    assert told(0.0) == {"of no such second": 1}, "the return of the second after it"
    assert away_followers.wrong(rows, conf)[0] == ["no row of context"]
