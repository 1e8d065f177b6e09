"""The types of the commands' arguments: what they accept and what they refuse."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.cli import arguments
from ingest.cli.arguments import (
    address,
    count,
    duration,
    duration_ms,
    duration_or_seconds_ms,
    moment,
    moment_ms,
    names,
    non_negative,
    pause_s,
    price_step,
    share,
)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("1s", 1), ("5m", 300), ("2h", 7200), ("1d", 86400)])
def test_durations_are_numbers_with_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)
    assert duration_ms(text) == seconds * 1000


@pytest.mark.parametrize(
    ("text", "seconds"), [("4h30m", 16_200), ("90", 90), ("90s", 90), ("1d", 86_400), ("1d2h3m4s", 93_784), ("0", 0)]
)
def test_units_may_follow_each_other_and_a_bare_number_may_be_seconds(text: str, seconds: int) -> None:
    assert duration_or_seconds_ms(text) == seconds * 1000


@pytest.mark.parametrize(
    ("of", "text"),
    [
        *((duration_or_seconds_ms, text) for text in ("", "4x", "h", "-5", "1.5h", "30m4h", "9" * 30)),
        *((duration, text) for text in ("0s", "-1s", "1", "s", "1w", "1.5s")),
        *((duration_ms, text) for text in ("", "250", "-1s")),
        *((count, text) for text in ("0", "-1")),
        *((share, text) for text in ("0", "1", "nan")),
        *((non_negative, text) for text in ("-1", "nan", "inf")),
        *((pause_s, text) for text in ("0", "3601", "nan")),
        *((price_step, text) for text in ("BTCUSDT", "BTCUSDT=0", "=1", "A=x", "A=inf")),
        *((address, text) for text in ("localhost", ":80", "localhost:", "localhost:x")),
        (moment, "yesterday"),
        (moment_ms, "2026-11-20T00:00:00.0001"),
    ],
)
def test_what_makes_no_sense_is_refused(of: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        of(text)


def test_what_makes_sense_is_taken() -> None:
    assert count("3") == 3
    assert share("0.5") == 0.5
    assert non_negative("0") == 0.0
    assert pause_s("0.1") == 0.1
    assert names("") == names(",") == []
    assert price_step("A=B=0.5") == ("A=B", 0.5)
    assert address("[::1]:80") == ("[::1]", 80)
    assert moment_ms("2026-11-20T00:00:00.001") == datetime(2026, 11, 20, 0, 0, 0, 1000, UTC)
    assert arguments.day("2024-08-08") == datetime(2024, 8, 8, tzinfo=UTC)
