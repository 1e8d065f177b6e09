"""A small HTTP server for one kind of request: ``POST`` with a short body, answered in JSON, one request a connection.

One thread reads the heads of all connections, so that a slow caller costs no thread and keeps nobody waiting. A head has a deadline and
bounds. Only a caller whose head is accepted (it has the token, and says how long its body is) gets one of a few threads, which read the
body and answer; the whole request has a deadline as well. While more connections wait than are kept, the oldest of them is closed.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import json
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

CHUNK = 1 << 16
LINGER_S = 1.0  # how long the rest of a refused request is read, so that its caller can read the answer
FULL_S = 0.1  # pause while the process has no file left for a caller
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
_EXPECTS = re.compile(rb"\nexpect:[ \t]*100-continue", re.IGNORECASE)
_LOG = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, Mapping[str, Any]]


@dataclass(frozen=True)
class Limits:
    """What a caller may take.

    Attributes
    ----------
    head_s, request_s : float
        From the connection until the whole head, and until the whole request.
    head_bytes, head_lines : int
        Of the request line and the headers together.
    waiting : int
        Connections whose head is not read yet.
    callers : int
        Accepted requests that are read and answered at once.
    """

    head_s: float = 5.0
    request_s: float = 30.0
    head_bytes: int = 16 << 10
    head_lines: int = 64
    waiting: int = 256
    callers: int = 32


@dataclass(frozen=True)
class Head:
    """The request line and the headers of a request."""

    method: str
    path: str
    headers: http.client.HTTPMessage


@dataclass
class _Caller:
    socket: socket.socket
    since_s: float
    until_s: float
    data: bytearray = field(default_factory=bytearray)
    is_refused: bool = False  # what else it sends is read and dropped


class Listener:
    """The server.

    Parameters
    ----------
    address : tuple of str, int
        Host and port. Port 0 is any free port, see ``server_address``.
    begin : callable
        Given a head, returns the number of bytes of the body to read, or an answer that refuses the request.
    finish : callable
        Given the body, returns the answer. It runs in several threads.
    limits : Limits
    """

    def __init__(
        self,
        address: tuple[str, int],
        begin: Callable[[Head], int | Answer],
        finish: Callable[[bytes], Answer],
        limits: Limits,
    ) -> None:
        self._begin = begin
        self._finish = finish
        self._limits = limits
        self._free = threading.BoundedSemaphore(limits.callers)
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._stopped.set()
        self._callers: dict[socket.socket, _Caller] = {}  # the oldest first
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=256)
        self._socket.setblocking(False)
        self.server_address: tuple[Any, ...] = self._socket.getsockname()

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Serve until `shutdown`; look for callers that are too late every `poll_interval` seconds."""
        self._stopped.clear()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                while not self._stopping.is_set():
                    for key, _ in selector.select(poll_interval):
                        if key.fileobj is self._socket:
                            self._accept(selector)
                        elif key.fileobj in self._callers:  # else it was dropped for a newer one just now
                            self._read(selector, self._callers[key.fileobj])
                    self._drop_late(selector)
                for caller in list(self._callers.values()):
                    self._drop(selector, caller)
        finally:
            self._stopped.set()

    def shutdown(self) -> None:
        """End `serve_forever`, and return once it has ended."""
        self._stopping.set()
        self._stopped.wait()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        while len(self._callers) >= self._limits.waiting:
            self._drop(selector, next(iter(self._callers.values())))
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # else the caller is gone already
                _LOG.warning("no caller can be accepted: %s", error.strerror)
                for caller in list(self._callers.values())[:1]:
                    self._drop(selector, caller)
                time.sleep(FULL_S)
            return
        connection.setblocking(False)
        now_s = time.monotonic()
        self._callers[connection] = _Caller(connection, now_s, now_s + self._limits.head_s)
        selector.register(connection, selectors.EVENT_READ)

    def _read(self, selector: selectors.BaseSelector, caller: _Caller) -> None:
        """Read what a caller sent; hand it on once its head is whole."""
        try:
            chunk = caller.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(selector, caller)
        elif not caller.is_refused:
            searched_from = max(0, len(caller.data) - 3)
            caller.data += chunk
            if (end := _HEAD_ENDS.search(caller.data, searched_from)) is not None:
                self._hand_on(selector, caller, end.end())
            elif len(caller.data) > self._limits.head_bytes:
                self._refuse(caller, _too_large())

    def _hand_on(self, selector: selectors.BaseSelector, caller: _Caller, begin: int) -> None:
        """Give a caller a thread, or refuse its request. Its body begins at byte `begin`."""
        decided = self._decide(bytes(caller.data[:begin]))
        if not isinstance(decided, int):
            self._refuse(caller, decided)
        elif not self._free.acquire(blocking=False):
            self._refuse(caller, (HTTPStatus.SERVICE_UNAVAILABLE, {"error": "too many callers: try again"}))
        else:
            selector.unregister(caller.socket)
            del self._callers[caller.socket]
            threading.Thread(target=self._serve, args=(caller, begin, decided), daemon=True).start()

    def _refuse(self, caller: _Caller, answer: Answer) -> None:
        with contextlib.suppress(OSError):
            caller.socket.send(_bytes_of(answer))  # into an empty buffer: it does not wait
            caller.socket.shutdown(socket.SHUT_WR)
        caller.is_refused, caller.until_s = True, time.monotonic() + LINGER_S

    def _decide(self, head: bytes) -> int | Answer:
        if len(head) > self._limits.head_bytes or head.count(b"\n") > self._limits.head_lines:
            return _too_large()
        first, _, rest = head.partition(b"\n")
        words = first.decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return HTTPStatus.BAD_REQUEST, {"error": "no HTTP request"}
        try:
            headers = http.client.parse_headers(io.BytesIO(rest))
        except http.client.HTTPException:
            return _too_large()
        return self._begin(Head(words[0], words[1], headers))

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now_s = time.monotonic()
        for caller in list(self._callers.values()):
            if now_s >= caller.until_s:
                self._drop(selector, caller)

    def _drop(self, selector: selectors.BaseSelector, caller: _Caller) -> None:
        selector.unregister(caller.socket)
        del self._callers[caller.socket]
        caller.socket.close()

    def _serve(self, caller: _Caller, begin: int, length: int) -> None:
        """Read the body of an accepted request and answer, in a thread."""
        try:
            with caller.socket as connection:
                until_s = caller.since_s + self._limits.request_s
                if _EXPECTS.search(caller.data, 0, begin):
                    connection.settimeout(self._limits.head_s)
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = caller.data[begin : begin + length]
                while len(body) < length and (left_s := until_s - time.monotonic()) > 0:
                    connection.settimeout(left_s)
                    try:
                        chunk = connection.recv(min(CHUNK, length - len(body)))
                    except TimeoutError:
                        break
                    if not chunk:
                        break
                    body += chunk
                answer = self._finish(bytes(body)) if len(body) == length else _cut_off(until_s)
                connection.settimeout(self._limits.head_s)
                connection.sendall(_bytes_of(answer))
        except OSError:
            _LOG.debug("a caller went away before it was answered")
        finally:
            self._free.release()


def _too_large() -> Answer:
    return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"error": "the head is too large"}


def _cut_off(until_s: float) -> Answer:
    if time.monotonic() < until_s:
        return HTTPStatus.BAD_REQUEST, {"error": "the body is cut off"}
    return HTTPStatus.REQUEST_TIMEOUT, {"error": "the body came too slowly"}


def _bytes_of(answer: Answer) -> bytes:
    status, content = answer
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body
