"""The scorer: posts of the stream ``social_data``, scored once, into the logs of the symbols that they name.

A batch is what waits in the stream. Its scores are written to the table ``social_scores`` first; then it is moved to the
logs, and what is refused to the dead letters, by one script (``move``): a crash before it loses no post, one between the
two scores none again, and none enters a log twice. Within a batch a text is scored once, and a text that the table knows
is not scored at all. While Redis is away the scorer waits; without the table it goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import redis

from ingest.messages.check import check_header, is_symbol
from ingest.messages.decode import decode_entry, encode
from ingest.messages.kinds import ScoredPost, SocialPost
from ingest.messages.refusal import Reason, Refused
from ingest.sentiment import move
from ingest.sentiment.history import History, Scored, text_hash
from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.move import Outcome
from ingest.settings import Settings, SettingsError
from ingest.streams import keys, outage, read
from ingest.streams.dead_letters import FIELDS_MAX
from transforms.sentiment.simhash import simhash
from transforms.sentiment.symbols import ALIASES, SymbolFinder, parse_aliases

BLOCK_MS = 100
SYMBOLS_MAX = 64
NAME_MAX = 256
SOUND = "Bitcoin is up."
"""A text that every model can score."""
COUNT_MAX = 1 << 53
_LOG = logging.getLogger(__name__)

Probabilities = tuple[float, float, float]


class Model(Protocol):
    """What the scorer asks of a model; ``model.SentimentModel`` is one."""

    name: str
    revision: str
    window: int
    tokens_read: int

    def score(self, texts: Sequence[str]) -> list[Probabilities | None]:
        """Probabilities of each text, None where it says nothing."""


class Waiting(NamedTuple):
    """A post that was taken: its message, whether it was recorded, the symbols that it names, the hash of its text."""

    entry: read.Read
    post: SocialPost
    recorded: bool
    symbols: list[str]
    text_hash: bytes


Refusals = list[tuple[read.Read, Refused]]


class Scorer:
    """Takes entries of the stream, scores them and appends them to the logs.

    Parameters
    ----------
    client
        Redis, replies as bytes.
    model
        Scores texts.
    settings
        Partitions, symbols that are taken, aliases, how far ahead a post may be stamped.
    history
        What was scored before.
    now_ms
        The clock: when a score became available.
    """

    def __init__(
        self,
        client: redis.Redis,
        model: Model,
        settings: Settings,
        history: History,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._client = client
        self._model = model
        self._settings = settings
        self._history = history
        self._now_ms = now_ms
        self._find = finder(settings).find
        self._called = f"{model.name}@{model.revision}"[:NAME_MAX]

    def run(self, stop: threading.Event) -> None:
        """Score what was begun and not finished before, then what comes, until ``stop`` is set; lives through the loss of Redis."""

        def work(well: Callable[[], None]) -> None:
            read.join(self._client, [keys.SOCIAL])
            for batch in read.unacknowledged(self._client, keys.SOCIAL, self._model.window):
                if stop.is_set():
                    return
                self.take(batch)
                well()
            while not stop.is_set():
                self.take(read.new(self._client, [keys.SOCIAL], self._model.window, BLOCK_MS))
                well()

        outage.ride_out("the scorer", work, stop)

    def take(self, batch: Sequence[read.Read]) -> None:
        """Score a batch and move it to the logs."""
        for part in read.parts(batch):
            if part:
                move.move(self._client, *self.outcomes(part))

    def outcomes(self, batch: Sequence[read.Read]) -> tuple[list[Outcome], dict[str, int | str]]:
        """What becomes of each entry of a batch, and facts about the work; the scores are in the history then."""
        waiting, refused = self._accept(batch)
        begin, tokens = time.perf_counter(), self._model.tokens_read
        scores, n_scored = self._score(waiting, refused)
        spent_ms = round((time.perf_counter() - begin) * 1000)
        now_ms = self._now_ms()
        self._history.add([self._row(w, scores[w.text_hash], now_ms) for w in waiting if w.text_hash in scores])
        outcomes = [
            Outcome(
                w.entry[1], "", [self._copy(w, symbol, scores[w.text_hash], self._now_ms()) for symbol in w.symbols]
            )
            for w in waiting
            if w.text_hash in scores
        ]
        outcomes += [move.refused(entry, why.reason, why.detail) for entry, why in refused]
        work = {"batches": 1, "texts": n_scored, "tokens": self._model.tokens_read - tokens, "ms": spent_ms}
        facts: dict[str, int | str] = {f"scorer.{name}": n for name, n in work.items()}
        return outcomes, facts | {"scorer.model": self._called}

    def _copy(self, w: Waiting, symbol: str, score: Probabilities | None, now_ms: int) -> tuple[str, list[Any]]:
        """The entry of a post in the log of a symbol."""
        fields: list[Any] = ["kind", "post", "data", encode(self._message(w, symbol, score, now_ms))]
        if w.recorded:
            fields += ("recorded", "1")
        return keys.events(keys.partition_of(symbol, self._settings.partitions)), fields

    def _accept(self, batch: Sequence[read.Read]) -> tuple[list[Waiting], Refusals]:
        waiting: list[Waiting] = []
        refused: Refusals = []
        for entry in batch:
            try:
                waiting.append(self._accept_one(entry))
            except Refused as why:
                refused.append((entry, why))
        return waiting, refused

    def _accept_one(self, entry: read.Read) -> Waiting:
        fields = entry[2]
        if len(fields) > FIELDS_MAX:
            raise Refused(Reason.WRONG_TYPE, f"{len(fields)} fields")
        recorded = b"recorded" in fields
        post = decode_entry(SocialPost, {k: v for k, v in fields.items() if k != b"recorded"})
        check_post(post, self._now_ms(), self._settings.max_future_ms)
        symbols = self._find(post.text) if post.symbols is None else list(dict.fromkeys(post.symbols))
        if not symbols:
            raise Refused(Reason.NO_SYMBOL)
        if len(symbols) > SYMBOLS_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"{len(symbols)} symbols, {SYMBOLS_MAX} allowed")
        for symbol in symbols:
            if not is_symbol(symbol):
                raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
        taken = [s for s in symbols if not self._settings.symbols or s in self._settings.symbols]
        if not taken:
            raise Refused(Reason.UNKNOWN_SYMBOL, ", ".join(symbols))
        return Waiting(entry, post, recorded, taken, text_hash(post.text))

    def _score(self, waiting: Sequence[Waiting], refused: Refusals) -> tuple[dict[bytes, Probabilities | None], int]:
        """Probabilities by hash of the text, and how many of them the model made.

        A text on which the model fails is refused, and the others are not.
        """
        texts = {w.text_hash: w.post.text for w in waiting}
        scores: dict[bytes, Probabilities | None] = {}
        scores.update(self._history.find(list(texts), self._model.name, self._model.revision))
        left = [h for h in texts if h not in scores]
        if not left:
            return scores, 0
        try:
            scores.update(zip(left, self._model.score([texts[h] for h in left]), strict=True))
        except ModelError:
            raise
        except Exception:
            _LOG.exception("a batch of %d texts failed; scoring them one at a time", len(left))
            failed = self._score_apart({h: texts[h] for h in left}, scores)
            refused += [
                (w.entry, Refused(Reason.FAILED, failed[w.text_hash])) for w in waiting if w.text_hash in failed
            ]
        return scores, sum(h in scores for h in left)

    def _score_apart(self, texts: dict[bytes, str], scores: dict[bytes, Probabilities | None]) -> dict[bytes, str]:
        """Score texts one at a time into ``scores``; what was wrong with those that failed.

        Raises
        ------
        Exception
            Every one failed, and so does a text that is good: the fault is not theirs.
        """
        failed: dict[bytes, str] = {}
        for digest, text in texts.items():
            try:
                scores[digest] = self._model.score([text])[0]
            except Exception as error:
                failed[digest] = f"{type(error).__name__}: {error}"
        if len(failed) == len(texts):
            self._model.score([SOUND])
        return failed

    def _message(self, w: Waiting, symbol: str, score: Probabilities | None, now_ms: int) -> ScoredPost:
        post = w.post
        available = recorded_ms(post) if w.recorded else now_ms
        positive, negative, neutral = score or (None, None, None)
        return ScoredPost(
            timestamp=post.timestamp,
            symbol=symbol,
            id=post.id,
            available=available,
            simhash=simhash(post.text),
            positive=positive,
            negative=negative,
            neutral=neutral,
            model=f"{self._model.name}@{self._model.revision}",
            author=None if post.author is None else _storable(post.author[:NAME_MAX]),
            likes=post.likes,
            reposts=post.reposts,
            replies=post.replies,
            followers=post.followers,
            received=available if w.recorded else post.received,
        )

    def _row(self, w: Waiting, score: Probabilities | None, now_ms: int) -> Scored:
        positive, negative, neutral = score or (None, None, None)
        model, revision = self._model.name, self._model.revision
        return Scored(w.post.id, w.text_hash, model, revision, positive, negative, neutral, w.post.timestamp, now_ms)


def recorded_ms(post: SocialPost) -> int:
    """When a recorded post, with this engagement, could be known: no clock of ours counts."""
    return max(post.timestamp, post.received or 0, post.observed_at or 0)


def check_post(post: SocialPost, now_ms: int, max_future_ms: int) -> None:
    """Refuse a post whose id, times or counts cannot be; repair its id and text nowhere.

    Raises
    ------
    Refused
        ``wrong_type`` (an id that is empty or no text), ``out_of_range`` or ``future_time``.
    """
    if not post.id or _storable(post.id) != post.id:
        raise Refused(Reason.WRONG_TYPE, f"id {post.id[:64]!r} is empty or holds characters that are no text")
    if len(post.id) > NAME_MAX:
        raise Refused(Reason.OUT_OF_RANGE, f"id of {len(post.id)} characters, {NAME_MAX} allowed")
    for name in ("likes", "reposts", "replies", "followers"):
        count = getattr(post, name)
        if count is not None and not -COUNT_MAX <= count <= COUNT_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} past 2**53")
    for time_ms in (post.timestamp, post.received, post.observed_at):
        if time_ms is not None:
            check_header("-", time_ms, now_ms, max_future_ms)


def _storable(text: str) -> str:
    """``text`` without what UTF-8 or PostgreSQL cannot hold: lone surrogates and NUL become ``?``."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def finder(settings: Settings) -> SymbolFinder:
    """Finds symbols by the configured alias table, else by the one that comes with the project.

    Raises
    ------
    SettingsError
        The file cannot be read or is no alias table.
    """
    if settings.aliases is None:
        return SymbolFinder(ALIASES)
    try:
        return SymbolFinder(parse_aliases(Path(settings.aliases).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"TFS_ALIASES={settings.aliases}: {error}") from error


def run(client: redis.Redis, settings: Settings, stop: threading.Event, *, postgres_url: str | None = None) -> None:
    """Load the model and score until ``stop`` is set.

    Raises
    ------
    ModelError
        The model cannot be loaded.
    SettingsError
        The alias table cannot be read.
    """
    from ingest.sentiment.model.model import load  # torch takes seconds to import; a wrong setting should not

    finder(settings)
    model = load(settings.sentiment_model, revision=settings.sentiment_revision)
    _LOG.info("scoring with %s at %s on %s in %s", model.name, model.revision, model.device, model.dtype)
    history = History(postgres_url)
    try:
        Scorer(client, model, settings, history).run(stop)
    finally:
        history.close()
