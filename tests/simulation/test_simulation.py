"""Schedules of the whole protocol: every seed holds what docs/protocol.md promises."""

from __future__ import annotations

import pytest

pytest.importorskip("greenlet", reason="greenlet is not installed; it comes with the extra dev")
pytest.importorskip("lupa", reason="lupa is not installed; it comes with the extra dev")

from tests.simulation.plan import draw
from tests.simulation.run import run

# an owner stores rows and does not commit, and the next one makes no such row, or another
LEFT_ONLINE = (2866, 30701, 31396, 51780, 514740, 520458, 528671)
# time must not pass for quiet symbols before what an outage kept back is written
NOT_YET_WRITTEN = (50180, 52172, 52202, 1034579)
# a worker that starts during an outage, or at its end, must know of it
OUTAGES = (52731, 52894)
# a tick on its way must not enter a Redis that came back older
DECIDED_BEFORE = (65922,)
# a book and a newer trade of one millisecond, in two topics, whose order is not known
AT_ONCE = (61242,)
# a clock that is behind gives a row, and the other one after a failover, the same time of creation
CREATED_AT_ONCE = (1472, 2398, 203012)
# entries of a row that was served, the scorer's group, a log and an offset between two commands of a part that starts, an id that is
# given again
LOST_IN_A_FAILOVER = (100632, 100902, 310026, 417552, 518922, 707032)
# the clock of Redis is set back; in the second seed while a post waits that a scorer was given which died
CLOCK_SET_BACK = (104322, 801778)
# a symbol starts anew with other kernels, and leaves before its state is saved
LEAVES_ANEW = (621083,)
# kernels begin anew of which neighbours' rows are made, while rows of others wait for these
ANEW_WHILE_ROWS_WAIT = (3000795,)
SEEDS = (
    *range(1, 201),
    *LEFT_ONLINE,
    *NOT_YET_WRITTEN,
    *OUTAGES,
    *LOST_IN_A_FAILOVER,
    *CLOCK_SET_BACK,
    *LEAVES_ANEW,
    *ANEW_WHILE_ROWS_WAIT,
    *CREATED_AT_ONCE,
    *AT_ONCE,
    *DECIDED_BEFORE,
)


def test_two_hundred_schedules_hold_every_promise() -> None:
    failed = {seed: found for seed in SEEDS if (found := run(draw(seed)).violations)}
    assert failed == {}
