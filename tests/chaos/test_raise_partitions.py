"""The number of partitions is raised, as processes, while parts are killed; longer in ``tests/chaos/raise_partitions.py``."""

from __future__ import annotations

from tests.chaos import raise_partitions


def test_partitions_are_raised_while_parts_are_killed_and_every_row_is_that_of_an_uncut_run() -> None:
    assert raise_partitions.run([8, 16], 2, rate=200, n_symbols=12, seed=3, around_s=3.0) == []
