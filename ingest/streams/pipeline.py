"""The pipeline of a cluster's client, and its part for one server.

redis-py's own sends a command again whose reply was lost, and so may write twice. It also asks a server which word of a command is its key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis import exceptions
from redis.commands.core import CoreCommands

Command = tuple[tuple[Any, ...], dict[str, Any]]
"""The words of a command, and redis-py's options for its reply."""


class Part:
    """The commands of a pipeline for one server, on a connection of their own."""

    def __init__(self, client: redis.Redis, commands: Sequence[Command]) -> None:
        self._client = client
        self._commands = commands
        self._connection: Any = None
        self._error: Exception | None = None
        self._is_read = False

    def write(self) -> None:
        """Send the commands. An error is what ``read`` returns for each of them."""
        try:
            self._connection = self._client.connection_pool.get_connection()
            self._connection.send_packed_command(self._connection.pack_commands([args for args, _ in self._commands]))
        except exceptions.RedisError as error:
            self._error = error

    def read(self) -> list[Any]:
        """Return the replies."""
        found: list[Any] = []
        for args, options in self._commands:
            if self._error is None:
                try:
                    found.append(self._client.parse_response(self._connection, args[0], **options))  # type: ignore[no-untyped-call]
                    continue
                except exceptions.ResponseError as error:
                    found.append(error)
                    continue
                except exceptions.RedisError as error:
                    self._error = error
            found.append(self._error)
        self._is_read = self._error is None
        return found

    def release(self) -> None:
        """Give the connection back; close it first where replies may still be on their way."""
        if self._connection is not None:
            if not self._is_read:
                self._connection.disconnect()
            self._client.connection_pool.release(self._connection)


class Pipeline(CoreCommands):
    """Commands that a cluster is sent together, by a function that returns the replies."""

    _event_dispatcher: Any = None  # redis-py's own metrics, which nobody reads

    def __init__(self, send: Callable[..., list[Any]]) -> None:
        self._send = send
        self._commands: list[Command] = []

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands.clear()

    def execute_command(self, *args: Any, **options: Any) -> Pipeline:
        """Keep a command until ``execute``."""
        self._commands.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True, *wait: Any) -> list[Any]:
        """Send the commands and return their replies; raise the first error among them, or return it where that is not wanted.

        The words of ``wait``, if there are any, are a command that each server is sent behind its own.
        """
        commands, self._commands = self._commands, []
        if not commands:
            return []
        found = self._send(commands, (wait, {})) if wait else self._send(commands)
        if raise_on_error:
            for reply in found:
                if isinstance(reply, Exception):
                    raise reply
        return found
