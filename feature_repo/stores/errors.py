"""The one root of all errors that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user of the program can mend: a setting, an option, a file, an address, a server.

    The message says what is wrong, where, and what to do; it holds no password. The command line prints it without a trace
    and exits with code 2. Any other exception is a fault of this program and shows its trace.
    """
