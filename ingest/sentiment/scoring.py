"""Scoring of posts, without streams: check a post, find its symbols, score its text once, make one message a symbol.

``scorer`` uses it for the stream ``social_data``, ``backfill`` and ``check`` use it for posts of recordings.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ingest.messages.check import check_header, is_symbol
from ingest.messages.kinds import ScoredPost, SocialPost, WithdrawnPost, time_us
from ingest.messages.refusal import Reason, Refused
from ingest.sentiment.history import History, Scored, text_hash
from ingest.sentiment.model.labels import ModelError, Probabilities
from ingest.settings import Settings, SettingsError
from transforms.sentiment.simhash import simhash
from transforms.sentiment.symbols import ALIASES, SymbolFinder, parse_aliases

SYMBOLS_MAX = 64
NAME_MAX = 256
COUNT_MAX = 1 << 53
_PROBE = "Bitcoin is up."  # a text that every working model can score
_LOG = logging.getLogger(__name__)


class Model(Protocol):
    """The part of ``model.SentimentModel`` that scoring uses."""

    name: str
    revision: str
    window: int
    tokens_read: int

    def score(self, texts: Sequence[str]) -> list[Probabilities | None]:
        """Return the probabilities of each text, None for a text that says nothing."""


class Accepted(NamedTuple):
    """A post that passed the checks, with the symbols it is scored for; without symbols it is a withdrawal."""

    post: SocialPost
    is_recorded: bool
    symbols: list[str]
    text_hash: bytes


class Batch(NamedTuple):
    """The outcome of each accepted post, and what the model did: distinct texts scored, tokens read, milliseconds."""

    outcomes: list[Sequence[ScoredPost | WithdrawnPost] | Refused]
    texts: int
    tokens: int
    ms: int


class Scoring:
    """Checks and scores posts.

    The settings give the configured symbols, the alias table, and how far ahead of the clock a post may be stamped. New scores are added
    to the history. ``now_ms`` is the clock: it tells when a score became available.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        history: History,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._model = model
        self._settings = settings
        self._history = history
        self._now_ms = now_ms
        self._finder = finder(settings)

    def accept(self, post: SocialPost, *, is_recorded: bool) -> Accepted:
        """Check a post and find its symbols. Raise ``Refused`` if the post is impossible, or if no symbol of it can be served."""
        max_age_ms = None if is_recorded or post.deleted else self._settings.max_age_ms
        check_post(post, self._now_ms(), self._settings.max_future_ms, max_age_ms)
        if post.deleted or (post.symbols is None and not post.text.strip()):
            return Accepted(
                post, is_recorded, [], b""
            )  # withdrawn, or its text was emptied and says no longer what it is about
        symbols = self._finder.find(post.text) if post.symbols is None else self._listed(post.symbols)
        if not symbols:
            raise Refused(Reason.NO_SYMBOL)
        if len(symbols) > SYMBOLS_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"{len(symbols)} symbols, {SYMBOLS_MAX} allowed")
        for symbol in symbols:
            if not is_symbol(symbol):
                raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
        configured = self._settings.symbols
        served = [symbol for symbol in symbols if not configured or symbol in configured]
        if not served:
            raise Refused(Reason.UNKNOWN_SYMBOL, ", ".join(symbols))
        return Accepted(post, is_recorded, served, text_hash(post.text))

    def _listed(self, names: Sequence[str]) -> list[str]:
        """Return the symbols that a post lists, each once; ``BTC`` and ``$btc`` are what the alias table says, if they are no symbols."""
        configured = self._settings.symbols
        return list(dict.fromkeys(n if n in configured else self._finder.symbol_of(n) or n for n in names))

    def score(self, posts: Sequence[Accepted]) -> Batch:
        """Score accepted posts: each distinct text once, and no text whose score is in the history.

        The scores are in the history when this returns. A post whose text the model fails on is refused (``failed``).
        """
        begin, tokens_before = time.perf_counter(), self._model.tokens_read
        texts = {post.text_hash: post.post.text for post in posts if post.symbols}
        scores: dict[bytes, Probabilities | None] = {}
        scores.update(self._history.find(texts, self._model.name, self._model.revision))
        unknown = {digest: text for digest, text in texts.items() if digest not in scores}
        failed = self._score_texts(unknown, scores) if unknown else {}
        spent_ms = round((time.perf_counter() - begin) * 1000)
        scored_ms = self._now_ms()
        self._history.add([self._row(p, scores[p.text_hash], scored_ms) for p in posts if p.text_hash in scores])
        outcomes = [self._outcome(post, scores, failed) for post in posts]
        return Batch(outcomes, len(unknown) - len(failed), self._model.tokens_read - tokens_before, spent_ms)

    def _outcome(
        self, post: Accepted, scores: Mapping[bytes, Probabilities | None], failed: Mapping[bytes, str]
    ) -> Sequence[ScoredPost | WithdrawnPost] | Refused:
        if not post.symbols:
            known_ms = recorded_ms(post.post) if post.is_recorded else self._now_ms()
            return [WithdrawnPost(known_ms, post.post.id, post.post.source, received=post.post.received)]
        if post.text_hash in failed:
            return Refused(Reason.FAILED, failed[post.text_hash])
        return [self._message(post, symbol, scores[post.text_hash]) for symbol in post.symbols]

    def _score_texts(self, texts: Mapping[bytes, str], scores: dict[bytes, Probabilities | None]) -> dict[bytes, str]:
        """Score texts into ``scores``, one at a time if the batch fails; return the errors of those that fail alone."""
        failed: dict[bytes, str] = {}
        try:
            scores.update(zip(texts, self._model.score(list(texts.values())), strict=True))
        except ModelError:
            raise
        except Exception:
            _LOG.exception("a batch of %d texts failed; scoring them one at a time", len(texts))
            for digest, text in texts.items():
                try:
                    scores[digest] = self._model.score([text])[0]
                except Exception as error:
                    failed[digest] = f"{type(error).__name__}: {error}"
            if len(failed) == len(texts):
                self._model.score([_PROBE])  # raises if the model is at fault and not the texts
        return failed

    def _message(self, accepted: Accepted, symbol: str, score: Probabilities | None) -> ScoredPost:
        post = accepted.post
        available = recorded_ms(post) if accepted.is_recorded else self._now_ms()
        positive, negative, neutral = score or (None, None, None)
        return ScoredPost(
            timestamp=post.timestamp,
            timestamp_us=post.timestamp_us,
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
            received=available if accepted.is_recorded else post.received,
            source=post.source,
        )

    def _row(self, accepted: Accepted, score: Probabilities | None, scored_ms: int) -> Scored:
        positive, negative, neutral = score or (None, None, None)
        model, post, digest = self._model, accepted.post, accepted.text_hash
        return Scored(
            post.source,
            post.id,
            digest,
            model.name,
            model.revision,
            positive,
            negative,
            neutral,
            time_us(post) // 1000,
            scored_ms,
        )


def recorded_ms(post: SocialPost) -> int:
    """Return when a recorded post, with its engagement, could first be known; the wall clock does not count."""
    return max(-(-time_us(post) // 1000), post.received or 0, post.observed_at or 0)


def check_post(post: SocialPost, now_ms: int, max_future_ms: int, max_age_ms: int | None = None) -> None:
    """Refuse a post whose source, id, times or counts are impossible. Nothing is repaired.

    ``max_age_ms`` is how far a live post may lie behind its receive time, None for a recorded one.
    """
    if not post.id:
        raise Refused(Reason.WRONG_TYPE, "the id is empty")
    for name, value in (("id", post.id), ("source", post.source)):
        if _storable(value) != value:
            raise Refused(Reason.WRONG_TYPE, f"{name} {value[:64]!r} holds characters that are no text")
        if len(value) > NAME_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} of {len(value)} characters, {NAME_MAX} allowed")
    for name in ("likes", "reposts", "replies", "followers"):
        count = getattr(post, name)
        if count is not None and not -COUNT_MAX <= count <= COUNT_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} past 2**53")
    for time_ms in (time_us(post) // 1000, post.received, post.observed_at):
        if time_ms is not None:
            check_header("-", time_ms * 1000, now_ms, max_future_ms)
    check_header("-", time_us(post), post.received or now_ms, max_future_ms, max_age_ms)


def _storable(text: str) -> str:
    """Return ``text`` with ``?`` for what UTF-8 or PostgreSQL cannot hold: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def finder(settings: Settings) -> SymbolFinder:
    """Return a finder that uses the configured alias table, or the project's own if none is configured."""
    if settings.aliases is None:
        return SymbolFinder(ALIASES)
    try:
        return SymbolFinder(parse_aliases(Path(settings.aliases).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"TFS_ALIASES={settings.aliases}: {error}") from error
