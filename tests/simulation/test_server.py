"""The simulated server answers as the real one: whole schedules are given to both, command by command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

pytest.importorskip("greenlet", reason="greenlet is not installed; it comes with the extra dev")
pytest.importorskip("lupa", reason="lupa is not installed; it comes with the extra dev")

from ingest.streams import keys
from tests.simulation.plan import draw
from tests.simulation.scripts import script_name
from tests.simulation.site import Site
from tests.simulation.stand_ins import installed
from tests.simulation.stream import Stream

OF_THE_CLOCK = {b"TIME", b"PTTL", b"INFO", b"XLEN", "beat", "moved_until"}
"""Commands and scripts whose replies tell the time of the server, who was heard lately, or how much was trimmed."""
ESTIMATES = {b"lag", b"entries-read", b"length", b"first-entry"}
"""The real server does not know the first two where entries were deleted; the others tell how much it has trimmed."""
TRIMMED = (b"events:", b"features:")  # streams of which the real server may have less at their beginning
SIGNS = (b"sim:", b"members:", b"waiting:", keys.SIGNS_OF_LIFE.encode())  # keys that hold the time of the server
ENDLESS_MS = b"86400000"
UNORDERED = {b"HGETALL", b"HSCAN", b"XINFO"}  # replies of names and values
EVERY_KIND = range(1, 400)
"""Seeds among which schedules are looked for that have each kind of process."""


class Pair:
    """Gives each command of a simulation to the real server too, which is told the time of each entry and when a key ends."""

    def __init__(self, client: redis.Redis, site: Site) -> None:
        self._real = client.connection_pool.get_connection()
        about: Any = client.info("replication")
        self._names = [site.server.name, about["master_replid"].encode()]  # of the servers, with which tokens end
        self._site = site
        self.seen: set[Any] = set()

    def __call__(self, words: list[bytes], reply: Any) -> None:
        for key in self._site.server.expired():
            self._ask([b"DEL", key])
        found = self._ask(self._timed(words, reply))
        for key in self._site.server._expires if words[0] in (b"EVAL", b"EXPIRE") else ():
            self._ask([b"PERSIST", key])  # a key ends when its time has come in the simulation
        name = script_name(words[1]) if words[0] == b"EVAL" else words[0]
        self.seen.add(name)
        if name in OF_THE_CLOCK:
            assert isinstance(found, type(reply)), (words[:3], reply, found)
        elif isinstance(reply, Exception):
            assert str(reply).split()[0] in str(found), (words[:3], reply, found)
        else:
            self._compare(name in UNORDERED, reply, found, words)

    def _timed(self, words: list[bytes], reply: Any) -> list[bytes]:
        """Return a command that gives new entries ids of the simulated time, waits for none, and finds the server well as it was there."""
        if words[0] in (b"XREAD", b"XREADGROUP") and b"BLOCK" in words:
            at = words.index(b"BLOCK")
            return words[:at] + words[at + 2 :]
        new_id = b"%d-*" % self._site.server.now_ms()
        if words[0] == b"EVAL":
            if script_name(words[1]) == "pass_time":
                at = 4 + int(words[2])  # how much of the lease must be left: none ends here by itself
                words = [*words[:at], b"-1" if reply else ENDLESS_MS, *words[at + 1 :]]
            return [words[0], words[1].replace(b"'*'", b"'" + new_id + b"'"), *words[2:]]
        return [new_id if word == b"*" else word for word in words] if words[0] == b"XADD" else words

    def _ask(self, words: list[bytes]) -> Any:
        self._real.send_command(*(word.replace(*self._names) for word in words))
        try:
            return self._named_as_ours(self._real.read_response())
        except redis.ResponseError as error:
            return error

    def _named_as_ours(self, reply: Any) -> Any:
        if isinstance(reply, list):
            return [self._named_as_ours(item) for item in reply]
        return reply.replace(*reversed(self._names)) if isinstance(reply, bytes) else reply

    def _compare(self, is_unordered: bool, ours: Any, real: Any, words: list[bytes]) -> None:
        if is_unordered and isinstance(ours, list) and ours and isinstance(ours[-1], list):
            self._compare(True, ours[-1], real[-1], words)
        elif is_unordered and isinstance(ours, list):
            pairs = dict(zip(real[::2], real[1::2], strict=True))
            for name, value in zip(ours[::2], ours[1::2], strict=True):
                if name not in ESTIMATES:
                    self._compare(False, value, pairs[name], words)
        elif isinstance(ours, list):
            assert isinstance(real, list), (words[:3], ours, real)
            assert len(ours) == len(real), (words[:3], ours, real)
            for one, other in zip(ours, real, strict=True):
                self._compare(False, one, other, words)
        else:
            assert ours == real, (
                words[:1],
                script_name(words[1]) if len(words) > 1 else "",
                ours,
                str(real),
                [w[:60] for w in words[3:]],
            )

    def compare_keys(self) -> int:
        """Compare all that both hold; return how many keys that are."""
        n = 0
        for key in list(self._site.server._keys):
            value = self._site.server.get(key)
            if key.startswith(SIGNS) or value is None or value == {}:
                continue
            n += 1
            if isinstance(value, Stream):
                real = self._ask([b"XRANGE", key, b"-", b"+"])
                ours = [[name, fields] for name, fields in value.entries]
                self._compare(False, ours[-len(real) :] if real and key.startswith(TRIMMED) else ours, real, [key])
            elif isinstance(value, dict):
                found = self._ask([b"HGETALL", key])
                real = dict(zip(found[::2], found[1::2], strict=True))
                assert value == real, key
            else:
                assert self._ask([b"GET", key]) == value, key
        return n


def _seed_with(role: str) -> int:
    plans = map(draw, EVERY_KIND)
    return next(p.seed for p in plans if not p.is_split and any(name.startswith(role) for name in p.processes))


@pytest.mark.parametrize("role", ["producer", "scorer", "kafka"])
def test_the_real_server_gives_the_same_answers(redis_client: redis.Redis, role: str) -> None:
    plan = draw(_seed_with(role))
    plan = replace(plan, faults=tuple(fault for fault in plan.faults if fault.target != "server"))
    site = Site(plan, lambda script: script)
    site.server.trims = False
    site.network.executed = pair = Pair(redis_client, site)
    with installed():
        site.run()
    assert site.is_drained
    assert pair.compare_keys() > 10
    assert {"commit", "write", "beat", "acquire_lease", b"XREAD"} <= pair.seen
