"""The way between processes and the server: calls take time, and may be lost, cut, late, or find the server away.

A call is one request: a command, a pipeline, or a transaction. The faults of a process wait here for the next call that they fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ConnectionError as Gone
from redis.exceptions import RedisError, TimeoutError

from tests.simulation.scripts import script_name
from tests.simulation.server import Server
from tests.simulation.world import Process, World, running

Words = list[bytes]
ANSWER_US = 5_000_000  # how long a client waits for an answer: `outage.ANSWER_S`
LOST = -1  # the number of the wait of a call whose answer is lost: nobody has it


@dataclass(slots=True)
class Trouble:
    """What happens to one call of a process.

    Attributes
    ----------
    kind : str
        ``lose call``, ``lose answer``, ``late call``, ``cut pipeline``, ``freeze before``, ``freeze after``, ``crash before``,
        ``crash after``.
    script : str
        The script that the call must run, by its name; empty for any call.
    us : int
        How long the process is frozen, or how late the bytes arrive.
    wait_us : int
        When the client gives up.
    """

    kind: str
    script: str = ""
    us: int = 0
    wait_us: int = ANSWER_US


class Request:
    """A call on its way."""

    __slots__ = ("atomic", "batch", "deadline", "lives", "number", "streams", "who")

    def __init__(self, who: Process, batch: list[Words], atomic: bool, lives: dict[int, int], number: int) -> None:
        self.who, self.batch, self.atomic, self.lives, self.number = who, batch, atomic, lives, number
        self.deadline = 0
        self.streams: Sequence[bytes] = ()  # those that it waits for


class Network:
    """Connections of all processes to the one server."""

    def __init__(self, world: World, server: Server) -> None:
        self.world = world
        self.server = server
        self.troubles: dict[str, list[Trouble]] = {}
        self.crash: Callable[[Process], None] = lambda _: None
        self.is_quiet = False  # no faults any more
        self.executed: Callable[[Words, Any], None] = lambda *_: None  # is given each command and its reply
        self.calls = 0
        self._lives = Counter[int]()  # how often the connections to each master have ended
        self._down: set[int] = set()
        self._is_hung = False
        self._queued: list[Request] = []
        self._blocked: dict[bytes, list[Request]] = {}
        server.appended = self._wake

    # What happens to the server

    def take_down(self, masters: Collection[int] = (0,)) -> None:
        """Stop masters: connections to them end, calls find nobody."""
        self._down.update(masters)
        self._is_hung = False
        self._lives.update(masters)
        blocked = {id(r): r for waiting in self._blocked.values() for r in waiting}
        for request in (*blocked.values(), *self._queued):
            if self._is_cut(request):
                self._leave(request)
                self._answer(request, Gone("Connection closed by server."))
        self._queued = [request for request in self._queued if not self._is_cut(request)]

    def _is_cut(self, request: Request) -> bool:
        return any(self._lives[master] != life or master in self._down for master, life in request.lives.items())

    def hang(self) -> None:
        """Let the server stand still: calls wait for it."""
        self._is_hung = not self._down

    def bring_up(self, masters: Collection[int] = (0, 1)) -> None:
        """Let masters answer."""
        self._down.difference_update(masters)
        self._is_hung = False
        queued, self._queued = self._queued, []
        for request in queued:
            self._arrive(request)

    # A call

    def call(self, batch: list[Words], atomic: bool) -> list[Any]:
        """Send a call for the process that runs, and return the replies; raise where none comes."""
        who = running()
        self.calls += 1
        self._send(who, Request(who, batch, atomic, self._masters(batch), who.begin_wait()))
        found: list[Any] = who.wait()
        return found

    def _masters(self, batch: list[Words]) -> dict[int, int]:
        """Return the masters that a call goes to, each with its life."""
        return {master: self._lives[master] for words in batch for master in map(self.server.master_of, _keys(words))}

    def _send(self, who: Process, request: Request) -> None:
        world, batch = self.world, request.batch
        trouble = self._trouble(who, batch) if who.name in self.troubles else None
        if world.keeps_lines:
            world.note(
                who.name, " + ".join(_named(words) for words in batch) + (f"  <{trouble.kind}>" if trouble else "")
            )
        delay = self._delay()
        if trouble is None:
            world.after(delay, self._arrive, request)
            return
        kind = trouble.kind
        if kind == "freeze before":
            who.frozen_until = world.now + trouble.us
            world.after(trouble.us + delay, self._arrive, request)
        elif kind == "freeze after":
            who.frozen_until = world.now + trouble.us
            world.after(delay, self._arrive, request)
        elif kind == "crash before":
            world.after(0, self.crash, who)
        elif kind == "crash after":
            world.after(delay, self._arrive, request)
            world.after(0, self.crash, who)
        elif kind == "lose call":
            world.after(trouble.wait_us, who.resume, request.number, _given_up(trouble))
        else:
            world.after(trouble.wait_us, who.resume, request.number, _given_up(trouble))
            request.number = LOST
            if kind == "cut pipeline" and not request.atomic:
                request.batch = batch[: world.rng.randrange(len(batch) + 1)]
            world.after(trouble.us if kind == "late call" else delay, self._arrive, request)

    def _trouble(self, who: Process, batch: list[Words]) -> Trouble | None:
        waiting = [] if self.is_quiet else self.troubles[who.name]
        for i, trouble in enumerate(waiting):
            if not trouble.script or any(_script(words) == trouble.script for words in batch):
                return waiting.pop(i)
        return None

    def _delay(self) -> int:
        part = self.world.rng.random()
        return 200 + int(part * part * part * part * 20_000)

    def _answer(self, request: Request, value: Any) -> None:
        self.world.after(self._delay(), request.who.resume, request.number, value)

    def _arrive(self, request: Request) -> None:
        if self._is_cut(request):
            if not request.atomic:  # what goes to the other masters arrives
                for words in request.batch:
                    if not self._is_cut(Request(request.who, [words], False, self._of(request, words), LOST)):
                        self._execute(words)
            self._answer(request, Gone("Error 111 connecting to the server. Connection refused."))
        elif self._is_hung:
            self._queued.append(request)
            late = TimeoutError("Timeout reading from socket")
            self.world.after(ANSWER_US, request.who.resume, request.number, late)
        elif len(request.batch) > 1 and not request.atomic and self.world.rng.random() < 0.1:
            self._run_in_parts(request, [])
        else:
            replies = [self._execute(words) for words in request.batch]
            if replies == [None] and b"BLOCK" in request.batch[0]:
                self._block(request)
            else:
                self._answer(request, replies)

    def _of(self, request: Request, words: Words) -> dict[int, int]:
        return {master: request.lives[master] for master in map(self.server.master_of, _keys(words))}

    def _run_in_parts(self, request: Request, replies: list[Any]) -> None:
        """Run the commands of a pipeline one at a time; other processes come between."""
        if self._is_cut(request):
            self._answer(request, Gone("Connection closed by server."))
            return
        replies.append(self._execute(request.batch[len(replies)]))
        if len(replies) == len(request.batch):
            self._answer(request, replies)
        else:
            self.world.after(self._delay(), self._run_in_parts, request, replies)

    def _execute(self, words: Words) -> Any:
        reply: Any
        try:
            reply = self.server.execute(words)
        except RedisError as error:
            reply = error
        self.executed(words, reply)
        return reply

    # Readers that wait

    def _block(self, request: Request) -> None:
        words = request.batch[0]
        wait_us = int(words[words.index(b"BLOCK") + 1]) * 1000
        request.deadline = self.world.now + max(wait_us, self.world.idle_us())
        at = words.index(b"STREAMS") + 1
        request.streams = words[at : at + (len(words) - at) // 2]
        self._wait_for(request)
        self.world.at(request.deadline, self._give_up, request)

    def _wait_for(self, request: Request) -> None:
        for key in request.streams:
            self._blocked.setdefault(key, []).append(request)

    def _leave(self, request: Request) -> bool:
        found = False
        for key in request.streams:
            waiting = self._blocked.get(key, [])
            if request in waiting:
                waiting.remove(request)
                found = True
        return found

    def _give_up(self, request: Request) -> None:
        if self._leave(request):
            self._answer(request, [None])

    def _wake(self, key: bytes) -> None:
        for request in self._blocked.get(key, ())[:]:
            self._leave(request)
            self.world.after(self._delay(), self._serve, request)

    def _serve(self, request: Request) -> None:
        if self._is_hung or self._is_cut(request):
            self._arrive(request)
            return
        reply = self._execute(request.batch[0])
        if reply is not None or self.world.now >= request.deadline:
            self._answer(request, [reply])
        else:
            self._wait_for(request)


def _keys(words: Words) -> list[bytes]:
    """Return the keys of a command; one without a key goes to the first master."""
    name = words[0]
    if name == b"EVAL":
        return words[3 : 3 + int(words[2])]
    if name in (b"XREAD", b"XREADGROUP"):
        at = words.index(b"STREAMS") + 1
        return words[at : at + (len(words) - at) // 2]
    if name in (b"TIME", b"INFO"):
        return [b""]
    return words[2:3] if name in (b"XINFO", b"XGROUP", b"OBJECT") else words[1:] if name == b"MGET" else words[1:2]


def _script(words: Words) -> str:
    """Return the name of the script that a command runs, empty where it runs none."""
    return script_name(words[1]) if words[0] == b"EVAL" else ""


def _named(words: Words) -> str:
    return f"{_script(words)}.lua" if words[0] == b"EVAL" else words[0].decode()


def _given_up(trouble: Trouble) -> RedisError:
    if trouble.wait_us >= ANSWER_US:
        return TimeoutError("Timeout reading from socket")
    return Gone("Error while reading from the server: Connection reset by peer")
