"""Posts by HTTP: ``POST /posts`` with a bearer token, and one JSON object or JSON lines of ``social_data`` messages.

The answer is 202 with the counts when the posts are in Redis, 401 without the token, 413 for more than ``BODY_MAX`` bytes, and 503 while
Redis cannot be reached or too many callers are served. A refused post is in the dead letters and in the counts. The server is meant for
the loopback or a private network: put a proxy with TLS before it.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.messages.refusal import Reason
from ingest.publish.outlet import Outlet
from ingest.recordings import own
from ingest.recordings.lines import POST, Line, Output, Rejected

BODY_MAX = 1 << 20
CALLERS_MAX = 32
SILENT_S = 10.0  # how long a caller may be silent
TOKEN_MIN = 16
_LOG = logging.getLogger(__name__)


class Webhook(ThreadingHTTPServer):
    """The server, with ``serve_forever`` and ``shutdown`` of the standard library.

    Parameters
    ----------
    address : tuple of str, int
        Host and port. Port 0 is any free port, see ``server_address``.
    token : str
        What a caller must send; at least 16 characters.
    max_future_ms : int
        How far a post may be stamped ahead of its arrival.

    Raises
    ------
    UserError
        The token is too short.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        outlet: Outlet,
        max_future_ms: int,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if len(token) < TOKEN_MIN:
            raise UserError(f"the token must have {TOKEN_MIN} characters at least")
        self._token = token.encode()
        self._outlet = outlet
        self._max_future_ms = max_future_ms
        self._clock_ns = clock_ns
        self._writing = threading.Lock()
        self._callers = threading.BoundedSemaphore(CALLERS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a caller in a thread, or turn it away if there are too many."""
        if self._callers.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        _turn_away(request)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a caller, then free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._callers.release()

    def allows(self, header: str) -> bool:
        """Return whether an ``Authorization`` header has the token, in the same time for every wrong one."""
        return hmac.compare_digest(header.encode(errors="replace"), b"Bearer " + self._token)

    def publish(self, body: bytes) -> dict[str, Any]:
        """Publish the posts of a body; return how many were accepted, and refused by reason."""
        now_ns = self._clock_ns()
        texts = [body] if _is_one(body) else body.split(b"\n")
        lines = [Line("webhook", i, now_ns, text.strip(), False) for i, text in enumerate(texts, 1) if text.strip()]
        outputs = [self._parse(line) for line in lines]
        with self._writing:
            self._outlet.counts.lines += len(lines)
            self._outlet.write(outputs)
        refused = Counter(str(out.reason) for out in outputs if isinstance(out, Rejected))
        return {"accepted": len(outputs) - refused.total(), "refused": dict(refused)}

    def _parse(self, line: Line) -> Output:
        output = own.parse(line, self._max_future_ms, received_ms=line.received_ms)
        if isinstance(output, Rejected) or output.kind == POST:
            return output
        return Rejected(line, Reason.WRONG_TYPE, "the webhook takes posts, nothing else")


def _is_one(body: bytes) -> bool:
    """Return whether a body is one JSON value, perhaps over several lines."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _turn_away(request: socket) -> None:
    try:
        request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    except OSError:
        _LOG.debug("a caller that was turned away had already gone")


class _Handler(BaseHTTPRequestHandler):
    server: Webhook
    timeout = SILENT_S
    server_version, sys_version = "tfs", ""

    def do_POST(self) -> None:  # the standard library's name
        """Answer a request with posts."""
        length = self.headers.get("Content-Length", "")
        if not self.server.allows(self.headers.get("Authorization", "")):
            self._answer(401, {"error": "no token, or a wrong one"})
        elif self.path != "/posts":
            self._answer(404, {"error": "posts go to /posts"})
        elif not (length.isascii() and length.isdigit() and len(length) < 20):
            self._answer(411, {"error": "Content-Length is missing"})
        elif int(length) > BODY_MAX:
            self._answer(413, {"error": f"more than {BODY_MAX} bytes"})
        else:
            self._publish(self.rfile.read(int(length)), int(length))

    def _publish(self, body: bytes, length: int) -> None:
        if len(body) < length:
            self._answer(400, {"error": "the body is cut off"})
            return
        try:
            self._answer(202, self.server.publish(body))
        except redis.RedisError:
            self._answer(503, {"error": "not taken: try again"})

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a request holds what came from outside. Counts and dead letters report it."""
