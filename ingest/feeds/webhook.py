"""Posts by HTTP: ``POST /posts`` with a bearer token, and one JSON object or JSON lines of ``social_data`` messages.

The answer is 202 with the counts when the posts are in Redis, 401 without the token, 408 for a body that comes too slowly, 413 for more
than ``BODY_MAX`` bytes, and 503 while Redis cannot be reached or too many callers with the token are served. A refused post is in the dead
letters and in the counts. The server is meant for the loopback or a private network: put a proxy with TLS before it.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.feeds.http_listener import Answer, Head, Limits, Listener
from ingest.messages.refusal import Reason
from ingest.publish.outlet import Outlet
from ingest.recordings import own
from ingest.recordings.lines import POST, Line, Output, Rejected

BODY_MAX = 1 << 20
LIMITS = Limits()
TOKEN_MIN = 16


class Webhook(Listener):
    """The server, with ``serve_forever`` and ``shutdown``.

    Parameters
    ----------
    address : tuple of str, int
        Host and port. Port 0 is any free port, see ``server_address``.
    token : str
        What a caller must send; at least 16 characters.
    max_future_ms : int
        How far a post may be stamped ahead of its arrival.
    limits : Limits
        How slow and how many callers may be.

    Raises
    ------
    UserError
        The token is too short.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str,
        outlet: Outlet,
        max_future_ms: int,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        limits: Limits = LIMITS,
    ) -> None:
        if len(token) < TOKEN_MIN:
            raise UserError(f"the token must have {TOKEN_MIN} characters at least")
        self._token = token.encode()
        self._outlet = outlet
        self._max_future_ms = max_future_ms
        self._clock_ns = clock_ns
        self._writing = threading.Lock()
        super().__init__(address, self._length_of_body, self._answer, limits)

    def _length_of_body(self, head: Head) -> int | Answer:
        """Return how long the body of an accepted request is, or why the request is refused."""
        length = head.headers.get("Content-Length", "")
        if head.method != "POST":
            return HTTPStatus.NOT_IMPLEMENTED, {"error": "posts are sent with POST"}
        if not self.allows(head.headers.get("Authorization", "")):
            return HTTPStatus.UNAUTHORIZED, {"error": "no token, or a wrong one"}
        if head.path != "/posts":
            return HTTPStatus.NOT_FOUND, {"error": "posts go to /posts"}
        if not (length.isascii() and length.isdigit() and len(length) < 20) or "Transfer-Encoding" in head.headers:
            return HTTPStatus.LENGTH_REQUIRED, {"error": "Content-Length is missing"}
        if int(length) > BODY_MAX:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"more than {BODY_MAX} bytes"}
        return int(length)

    def _answer(self, body: bytes) -> Answer:
        try:
            return HTTPStatus.ACCEPTED, self.publish(body)
        except redis.RedisError:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not taken: try again"}

    def allows(self, header: str) -> bool:
        """Return whether an ``Authorization`` header has the token, in the same time for every wrong one."""
        return hmac.compare_digest(header.encode("latin-1", "replace"), b"Bearer " + self._token)

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
