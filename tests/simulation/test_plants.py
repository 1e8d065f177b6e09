"""The simulation finds deliberate bugs: each with the schedule that found it first."""

from __future__ import annotations

import pytest

pytest.importorskip("greenlet", reason="greenlet is not installed; it comes with the extra dev")
pytest.importorskip("lupa", reason="lupa is not installed; it comes with the extra dev")

from tests.simulation.plan import draw
from tests.simulation.plants import PLANTS
from tests.simulation.run import run


@pytest.mark.parametrize("name", PLANTS)
def test_a_deliberate_bug_is_found_and_the_schedule_is_sound_without_it(name: str) -> None:
    plant = PLANTS[name]
    with plant.planted() as rewrite:
        found = run(draw(plant.seed), rewrite).violations
    assert found
    assert not any(" ended with " in one for one in found), "the bug breaks a promise, not the code"
    assert run(draw(plant.seed)).violations == []
