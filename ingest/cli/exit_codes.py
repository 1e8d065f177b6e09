"""The exit codes of every command. ``docs/operations.md`` has the same table, and a test holds each command against it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended. The same failure gives the same code in every command."""

    DONE = 0  # the command did what it was asked to do
    NO = 1  # it ran, and the answer is no or something was left undone: a check failed, a letter is not there, no server is up
    USER_ERROR = 2  # the user can mend it: an option, a setting, a file, an address, a server that is away
    WAITING = (
        3  # ``check consistency`` alone: nothing differs, but some rows had not reached the offline store when it ended
    )
    INTERRUPTED = 130  # Ctrl-C
