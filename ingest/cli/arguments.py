"""What the commands' options may be, and the one way to make a command's parser.

A type turns the text of an argument into a value or raises ``argparse.ArgumentTypeError``. argparse then prints the option and the
message, and exits with code 2.
"""

from __future__ import annotations

import argparse
import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

_T = TypeVar("_T")
_Run = Callable[[argparse.Namespace], int | None]
_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?(?:(\d{1,9})ms)?")
_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1000, 1)


def make_parser(
    subparsers: Any, name: str, run: _Run | None, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """Add the parser of a command to those of ``python -m ingest``, or of an action to those of its command.

    `run` is given the parsed arguments and returns the exit code; without one it is ``DONE``. `run` is None where actions of the command
    run. The `epilog` (examples and exit codes) is printed as it is written.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=description, description=description, epilog=epilog, formatter_class=raw
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _checked(convert: Callable[[str], _T], holds: Callable[[_T], bool], message: str) -> Callable[[str], _T]:
    def checked(text: str) -> _T:
        value = convert(text)
        if not holds(value):
            raise ArgumentTypeError(message)
        return value

    checked.__name__ = convert.__name__  # argparse prints it where convert fails: "invalid int value"
    return checked


count = _checked(int, lambda number: number >= 1, "must be 1 or more")
non_negative = _checked(float, lambda number: 0.0 <= number < math.inf, "must be 0 or more")
share = _checked(float, lambda number: 0.0 < number < 1.0, "must lie between 0 and 1")
pause_s = _checked(float, lambda seconds: 0.1 <= seconds <= 3600, "must be from 0.1 to 3600")


def names(text: str) -> list[str]:
    """Return the names of a comma-separated list, each once.

    >>> names("BTCUSDT,ETHUSDT,,BTCUSDT")
    ['BTCUSDT', 'ETHUSDT']
    """
    return list(dict.fromkeys(name for name in text.split(",") if name))


def duration_ms(text: str) -> int:
    """Return the milliseconds of a duration; every number has its unit, the largest first.

    >>> duration_ms("250ms"), duration_ms("5m"), duration_ms("4h30m"), duration_ms("0s")
    (250, 300000, 16200000, 0)
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ArgumentTypeError(f"{text!r:.40} is no duration; write 250ms, 90s, 5m, 4h30m or 1d")
    return sum(int(part or 0) * unit_ms for part, unit_ms in zip(match.groups(), _UNITS_MS, strict=True))


def duration_or_seconds_ms(text: str) -> int:
    """Return the milliseconds of a duration; a bare number is seconds.

    >>> duration_or_seconds_ms("90"), duration_or_seconds_ms("4h30m")
    (90000, 16200000)
    """
    return duration_ms(f"{text}s" if text.isdecimal() else text)


def duration(text: str) -> timedelta:
    """Return a duration above 0.

    >>> duration("90s")
    datetime.timedelta(seconds=90)
    """
    milliseconds = duration_ms(text)
    if not milliseconds:
        raise ArgumentTypeError(f"{text!r:.40} must be longer than 0")
    return timedelta(milliseconds=milliseconds)


def moment(text: str) -> datetime:
    """Return the time of a date (its 00:00 UTC) or of an ISO time, which is UTC where it names no zone.

    >>> moment("2026-11-20").isoformat(), moment("2026-11-20T12:00+01:00").isoformat()
    ('2026-11-20T00:00:00+00:00', '2026-11-20T11:00:00+00:00')
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r:.40} is no date; write 2026-11-20") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def moment_ms(text: str) -> datetime:
    """Return a time as `moment` does, of whole milliseconds."""
    at = moment(text)
    if at.microsecond % 1000:
        raise ArgumentTypeError(f"{text!r:.40} is finer than a millisecond")
    return at


def day(text: str) -> datetime:
    """Return the 00:00 UTC of a date such as 2024-08-08."""
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def price_step(text: str) -> tuple[str, float]:
    """Return the symbol and the step of ``SYMBOL=STEP``.

    >>> price_step("BTCUSDT=0.01")
    ('BTCUSDT', 0.01)
    """
    symbol, _, step = text.rpartition("=")
    try:
        value = float(step)
    except ValueError:
        value = 0.0
    if not symbol or not 0.0 < value < math.inf:
        raise ArgumentTypeError("write SYMBOL=STEP, a positive step, as in BTCUSDT=0.01")
    return symbol, value


def address(text: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``.

    >>> address("127.0.0.1:8800")
    ('127.0.0.1', 8800)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ArgumentTypeError("must be HOST:PORT, such as 127.0.0.1:8800")
    return host, int(port)
