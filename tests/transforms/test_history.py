"""How far back kernels reach: what is derived, by hand, and that it is enough."""

from __future__ import annotations

import pytest

from tests.transforms.test_saved import at_the_cut, bits, changed, restored, undisturbed, values
from tests.transforms.two_days import CUT, END, MIDNIGHT, S, engine, play
from transforms import history
from transforms.catalog import view_of
from transforms.history import Need
from transforms.instrument import Instrument
from transforms.kernels import KERNEL, with_users

__all__ = ["changed"]  # a fixture
AT = CUT * S
HOUR, DAY = 3600 * S, 86_400 * S
YESTERDAY = MIDNIGHT + 86_400
"""Midnight before ``CUT``."""


def needs(names: set[str], at_us: int, instrument: Instrument, *, has_sides: bool = True) -> dict[str, Need]:
    """What kernels, and all that are made of them, need."""
    found: dict[str, Need] = {}
    for name in with_users(names):
        for kind, need in history.needs(name, at_us, instrument, has_sides=has_sides).items():
            found[kind] = found[kind] | need if kind in found else need
    return found


def test_a_minute_of_books_is_all_that_the_flow_of_the_book_needs() -> None:
    assert needs({"book_flow"}, AT, Instrument()) == {"book": Need(AT - 61 * S, before=2)}


def test_a_z_score_needs_a_day_and_an_hour_behind_what_it_is_made_of() -> None:
    assert needs({"volatility_5m_z"}, AT, Instrument()) == {"trade": Need(AT - (25 * 3600 + 1 + 302) * S)}
    assert needs({"volatility"}, AT, Instrument())["trade"] == needs({"volatility_5m_z"}, AT, Instrument())["trade"]


def test_a_session_is_read_from_its_beginning_and_the_trade_before() -> None:
    assert needs({"volume_profile"}, AT, Instrument()) == {"trade": Need(YESTERDAY * S)}
    new_york = Instrument(session_timezone="America/New_York", session_open="09:30")
    at_us = 1_710_000_000_000_000  # 2024-03-09, 16:00 UTC; the session began at 14:30
    assert needs({"volume_profile"}, at_us, new_york) == {"trade": Need(at_us - 90 * 60 * S)}


def test_the_days_of_vpin_and_the_bars_of_rsi() -> None:
    assert needs({"vpin"}, AT, Instrument())["trade"].since_us == AT - 32 * DAY
    assert needs({"bucket_volume"}, AT, Instrument()) == needs({"vpin"}, AT, Instrument())
    assert needs({"rsi"}, AT, Instrument()) == {"trade": Need(AT - 251 * 60 * S, bars=251, is_exact=False)}
    assert needs({"relative_volume"}, AT, Instrument()) == {"trade": Need(AT - 29 * DAY)}
    assert needs({"posts"}, AT, Instrument()).keys() == {"post"}
    assert needs({"social"}, AT, Instrument())["post"].since_us == AT - 29 * DAY


def test_books_are_read_for_as_long_as_sides_are_inferred_from_them() -> None:
    assert needs({"session"}, AT, Instrument()).keys() == {"trade"}
    found = needs({"session"}, AT, Instrument(), has_sides=False)
    assert found["book"] == found["trade"] == needs({"session"}, AT, Instrument())["trade"] | found["trade"]
    assert needs({"kyle"}, AT, Instrument()).keys() == {"book", "trade"}


def test_the_newest_table_is_all_that_is_read_of_tables() -> None:
    found = needs({"microprice_table"}, AT, Instrument())
    assert found == {"microprice": Need(AT), "book": Need(AT)}


@pytest.mark.parametrize(
    "kernel", ["book_flow", "trade_volume", "amihud", "roll", "effective_spread", "realized_spread", "kyle", "momentum", "volatility",
               "session", "volume_profile", "ranges", "bollinger", "vpin", "relative_volume"],
)  # fmt: skip
def test_a_kernel_that_was_given_what_it_needs_is_as_if_it_had_heard_everything(kernel: str, changed) -> None:
    parts, whole = at_the_cut(), undisturbed()
    changed(kernel)
    since = min(need.since_us for need in needs({kernel}, AT, Instrument()).values() if need.since_us > 0) // S
    if kernel in ("ranges", "bollinger"):
        since = CUT - 25 * 60  # a trade a minute: so many minutes make so many bars
    if kernel == "session":
        since = YESTERDAY  # and not the 32 days of what is made of it
    past = engine()
    play(past, max(since // 300 * 300 - 300, MIDNIGHT), CUT)  # with a trade before
    again = restored(parts)
    assert again.anew
    again.take_over(past, late_us=0)
    rows = play(again, CUT, END)
    for feature in KERNEL[kernel].features:
        view = view_of(feature).name
        ours, theirs = values(rows, feature, view), values(whole, feature, view)
        assert all(bits(x) == bits(theirs[second]) for second, x in ours.items()), feature
        assert any(x == x for x in theirs.values()) or feature in ("vpin", "vpin_bvc", "relative_volume")
