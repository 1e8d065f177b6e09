"""The settings in the checkpoint come back as they were."""

from __future__ import annotations

import pytest

from ingest import settings
from ingest.settings import Settings
from ingest.worker import basis
from transforms.instrument import Instrument

OTHER = Settings(
    allowed_lateness_ms=7,
    max_age_ms=8000,
    symbols=frozenset({"B", "A", "Ü:x"}),
    instruments={
        "A": Instrument(size_digits=3, contract_size=1, session_timezone="America/New_York"),
        "B": Instrument(),
    },
)


@pytest.mark.parametrize("saved", [OTHER, settings.load({})], ids=["all changed", "the project's own"])
def test_what_rows_depend_on_comes_back_and_nothing_else(saved: Settings) -> None:
    today = Settings(partitions=9, log_level="ERROR", allowed_lateness_ms=1)
    found = basis.decode(basis.encode(saved), today)
    for name in basis.NAMES:
        assert getattr(found, name) == getattr(saved, name), name
    assert (found.partitions, found.log_level) == (9, "ERROR")
    assert basis.encode(found) == basis.encode(saved)


def test_equal_settings_are_equal_bytes_whatever_their_order() -> None:
    again = Settings(
        allowed_lateness_ms=7,
        max_age_ms=8000,
        symbols=frozenset({"Ü:x", "A", "B"}),
        instruments=dict(reversed(OTHER.instruments.items())),
    )
    assert basis.encode(again) == basis.encode(OTHER)


@pytest.mark.parametrize("data", [None, b"", b"[]", b'{"symbols": 3}', b"\xff"])
def test_what_is_not_there_or_cannot_be_read_leaves_the_settings_of_today(data: bytes | None) -> None:
    assert basis.decode(data, OTHER) == OTHER
