"""The exit codes of every command. ``docs/operations.md`` has the same table, and a test holds each command against it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended. The same failure gives the same code in every command.

    Attributes
    ----------
    DONE
        The command did what it was asked to do.
    NO
        The command ran, and the answer is no or something was left undone: a check failed, a letter is not there, no server is up.
    USER_ERROR
        The user can mend it: an option, a setting, a file, an address, a server that is away.
    WAITING
        ``check consistency`` alone: nothing differs, but some rows had not reached the offline store when it ended.
    INTERRUPTED
        Ctrl-C.
    """

    DONE = 0
    NO = 1
    USER_ERROR = 2
    WAITING = 3
    INTERRUPTED = 130
