"""relative_volume: a slot against the median of its days, by hand."""

from __future__ import annotations

import random
from math import isnan
from statistics import median

import pytest

from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import Vector, from_bytes, to_bytes, zeros
from transforms.technical import relative_volume

DAY = 86_400
START = DAY * 19_000


class Slots:
    """The kernel, fed whole slots; times in seconds."""

    def __init__(self) -> None:
        self.state: Vector = relative_volume.init(Instrument(), 1_000_000)
        self.trade(START - 1000, 1.0)  # so that no slot below is the first seen

    def trade(self, t: float, size: float) -> None:
        """Fold in a trade."""
        relative_volume.step_trade(self.state, round(t * 1e6), 100.0, size)

    def value(self, t: float) -> float | None:
        """relative_volume of the row of ``t``."""
        out = zeros(len(TECHNICAL.features))
        relative_volume.emit(self.state, round(t * 1e6), out)
        x = float(out[relative_volume.RELATIVE_VOLUME])
        return None if isnan(x) else x


@pytest.fixture
def slots() -> Slots:
    """A month that begins at a midnight."""
    return Slots()


NOON = 12 * 3600


def test_the_eighth_day_is_measured_against_the_median_of_seven(slots: Slots) -> None:
    for day, size in enumerate((5, 1, 9, 2, 8, 3, 7)):
        slots.trade(START + day * DAY + NOON + 10, size / 2)
        slots.trade(START + day * DAY + NOON + 300, size / 2)  # exactly at the slot's end: still of it
        assert slots.value(START + day * DAY + NOON + 300) is None
    slots.trade(START + 7 * DAY + NOON + 10, 10.0)
    assert slots.value(START + 7 * DAY + NOON + 299) is None  # not over yet, and the slot before has no trade
    assert slots.value(START + 7 * DAY + NOON + 300) == 10.0 / 5.0
    assert slots.value(START + 7 * DAY + NOON + 599) == 10.0 / 5.0
    assert slots.value(START + 7 * DAY + NOON + 600) is None


def test_of_an_even_number_of_days_the_median_is_the_mean_of_the_middle_two(slots: Slots) -> None:
    for day, size in enumerate((1, 1, 2, 2, 4, 4, 9, 9)):
        slots.trade(START + day * DAY + NOON + 10, size)
    slots.trade(START + 8 * DAY + NOON + 10, 6.0)
    assert slots.value(START + 8 * DAY + NOON + 300) == 6.0 / 3.0


def test_a_day_without_a_trade_in_the_slot_is_no_day_of_the_median(slots: Slots) -> None:
    for day in (0, 1, 3, 4, 5, 7, 8):
        slots.trade(START + day * DAY + NOON + 10, 2.0)
        slots.trade(START + day * DAY + NOON + 1000, 7.0)
    slots.trade(START + 9 * DAY + NOON + 10, 2.0)
    assert slots.value(START + 9 * DAY + NOON + 300) == 1.0
    # six days are not seven: the one of 28 days before has left
    slots.trade(START + 28 * DAY + NOON + 10, 2.0)
    assert slots.value(START + 28 * DAY + NOON + 300) == 1.0
    for day in (33, 34):
        slots.trade(START + day * DAY + NOON + 10, 2.0)
    assert slots.value(START + 34 * DAY + NOON + 300) is None


def test_the_slot_of_the_first_trade_seen_does_not_count() -> None:
    state = relative_volume.init(Instrument(), 1_000_000)
    out = zeros(len(TECHNICAL.features))
    for day in range(8):
        relative_volume.step_trade(state, (START + day * DAY + NOON + 200) * 1_000_000, 100.0, 1.0)
    relative_volume.emit(state, (START + 7 * DAY + NOON + 300) * 1_000_000, out)
    assert isnan(out[relative_volume.RELATIVE_VOLUME])  # six whole days before the eighth, not seven
    relative_volume.step_trade(state, (START + 8 * DAY + NOON + 200) * 1_000_000, 100.0, 3.0)
    relative_volume.emit(state, (START + 8 * DAY + NOON + 300) * 1_000_000, out)
    assert out[relative_volume.RELATIVE_VOLUME] == 3.0


def test_forty_random_days_are_the_definition_and_a_restart_changes_nothing(slots: Slots) -> None:
    rng = random.Random(9)
    history: dict[int, list[tuple[int, float]]] = {}
    times = sorted(rng.sample(range(START, START + 40 * DAY, 300), 6000))
    compared = 0
    for start in times:
        day, slot = divmod(start - START, DAY)
        size = rng.randrange(1, 50) / 10
        slots.trade(start + rng.randrange(1, 300_000) / 1000, size)
        past = [v for d, v in history.get(slot, []) if day - 28 <= d < day]
        expected = size / median(past) if len(past) >= 7 else None
        history.setdefault(slot, []).append((day, size))
        if rng.random() < 0.3:
            slots.state = from_bytes(to_bytes(slots.state))
        value = slots.value(start + 300)
        if expected is None:
            assert value is None
        else:
            assert value == pytest.approx(expected, rel=1e-15)
            compared += 1
    assert compared > 1000


def test_trades_change_only_the_head_between_two_closed_slots(slots: Slots) -> None:
    for day in range(9):
        slots.trade(START + day * DAY + NOON, 1.0)
    closed, rest = slots.state[relative_volume.CLOSED], list(slots.state[relative_volume.HEAD :])
    for i in range(100):
        slots.trade(START + 8 * DAY + NOON + 1 + i, 1.0)
        slots.value(START + 8 * DAY + NOON + 1 + i)
    before = slots.state[relative_volume.CLOSED]
    assert before == closed + 1  # the first of them closed the slot that ended at noon
    tail = list(slots.state[relative_volume.HEAD :])
    assert [i for i, (a, b) in enumerate(zip(rest, tail, strict=True)) if a != b] == [
        NOON // 300 * 28 - 28 + 19_008 % 28
    ]
