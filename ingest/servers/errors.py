"""What can go wrong with the embedded servers."""

from __future__ import annotations

from feature_repo.stores.errors import UserError


class ServersError(UserError, RuntimeError):
    """The embedded servers cannot do what was asked; the message says why and what to do."""


class StartError(ServersError):
    """A server ended before it answered; the message holds the end of its log."""
