"""What chaos runs compare: a tape that differs from what was heard in any way is found."""

from __future__ import annotations

import pytest

from tests.chaos.listener import differences

HEARD = [(b"%d-0" % n, {b"kind": b"trade", b"data": b"%d" % n}) for n in range(1, 5)]


def test_equal_entries_have_no_difference() -> None:
    assert differences("events:{0}", list(HEARD), HEARD) == []


@pytest.mark.parametrize(
    "taped",
    [
        HEARD[:-1],
        HEARD[1:],
        [*HEARD, HEARD[-1]],
        [HEARD[1], HEARD[0], *HEARD[2:]],
        [*HEARD[:-1], (HEARD[-1][0], {b"kind": b"trade", b"data": b"5"})],
    ],
    ids=["the last is lost", "the first is lost", "one is there twice", "two are swapped", "one has other bytes"],
)
def test_a_tape_that_is_not_what_was_heard_is_found(taped: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    assert len(differences("events:{0}", taped, HEARD)) == 1
