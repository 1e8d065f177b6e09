"""The scorer: reads posts from the stream ``social_data``, scores each once, and moves it into the logs of its symbols.

A batch is what waits in the stream. ``scoring`` first writes its scores to the table ``social_scores``. Then ``streams.move`` appends
scored posts to the logs and refused ones to the dead letters, and last the posts are deleted. A crash before that loses no post: another
scorer takes it over, and the scores are then in the table. Each post is a source with a marker of its own, because several scorers move
posts in any order. So no post enters a log twice. The scorer waits while Redis is away; it works without the table.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import redis
from msgspec import structs

from ingest.messages.decode import encode
from ingest.messages.kinds import ScoredPost, WithdrawnPost
from ingest.messages.posts import decode_post
from ingest.messages.refusal import Reason, Refused
from ingest.sentiment.history import History
from ingest.sentiment.scoring import NAME_MAX, Accepted, Model, Scoring, finder
from ingest.settings import Settings
from ingest.streams import keys, outage, read
from ingest.streams.dead_letters import FIELDS_MAX
from ingest.streams.membership import FencedError, server_id
from ingest.streams.move import FROM, Batch, Place, Record, Step, append, by_place, refused
from ingest.streams.raised import each_number

BLOCK_MS = 100
# A batch takes seconds. After this time its scorer is dead, or so slow that another one may score it as well.
ABANDONED_S = 60.0
LOOK_S = 10.0  # between two looks for abandoned posts
KEPT_MS = 3_600_000
"""How long the marker of a post is kept. By then the post is deleted for sure: another scorer takes it over after ``ABANDONED_S``."""
_FIRST = (1, 0)  # the position of the one record of a post
_LOG = logging.getLogger(__name__)


class Scorer:
    """Reads entries of ``social_data``, scores them and moves them into the logs.

    The replies of ``client`` must be bytes. The model's window is the size of a batch. All else is as in ``Scoring``.
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
        self._now_ms = now_ms
        self._scoring = Scoring(model, settings, history, now_ms=now_ms)
        self._window = model.window
        self._server = ""  # the id of the Redis that the posts are read from
        self._partitions = settings.partitions
        self._number = settings.number
        self._keeps_written = bool(settings.tape)
        self._model_name = f"{model.name}@{model.revision}"[:NAME_MAX]

    def run(self, stop: threading.Event) -> None:
        """Score what an earlier scorer left unfinished, then new posts, until ``stop`` is set; wait while Redis is away.

        Now and then take over the posts of a scorer that died meanwhile. If it lives after all, no post enters a log twice: the script
        leaves out what is in a log.
        """

        def score_until_stopped(well: Callable[[], None]) -> None:
            self._server = server_id(self._client)
            read.join_group(self._client, [keys.SOCIAL])
            # 1. Take what an earlier run left unfinished.
            for batch in read.unacknowledged_entries(self._client, keys.SOCIAL, self._window):
                if stop.is_set():
                    return
                self.score_and_move(batch)
                well()
            abandoned = read.Abandoned(self._client, keys.SOCIAL, self._window, ABANDONED_S)
            look_at = 0.0
            while not stop.is_set():
                if (now := time.monotonic()) >= look_at:  # 2. Now and then take over the posts of a scorer that died.
                    self.score_and_move(abandoned.look(now))
                    look_at = time.monotonic() + LOOK_S
                # 3. Read new posts.
                self.score_and_move(read.new_entries(self._client, [keys.SOCIAL], self._window, BLOCK_MS))
                well()

        outage.ride_out("the scorer", score_until_stopped, stop, _is_passing)

    def score_and_move(self, batch: Sequence[read.Entry]) -> None:
        """Score a batch and move it to the logs."""
        for part in read.split_by_size(batch):
            if part:
                records, facts = self.score(part)  # 4. Score them, and keep the scores in the history.
                # 5. Append them, where this is still the Redis that they were read from; then delete them.
                self._move(records)
                self._finish([entry_id for _, entry_id, _ in part], facts)

    def _move(self, records: Sequence[tuple[Place, Record]]) -> None:
        batches = [
            Batch(place, of_place, [Step(source, kept_ms=KEPT_MS) for source, *_ in of_place])
            for place, of_place in by_place(records).items()
        ]
        append(self._client, batches, server=self._server, number=self._number)

    def _finish(self, entry_ids: Sequence[bytes], facts: Mapping[str, int | str]) -> None:
        pipe: Any = self._client.pipeline(transaction=False)
        pipe.xack(keys.SOCIAL, keys.GROUP, *entry_ids)
        pipe.xdel(keys.SOCIAL, *entry_ids)
        for name, fact in facts.items():
            if isinstance(fact, int):
                pipe.hincrby(keys.counters(keys.EDGE), name, fact)
            else:
                pipe.hset(keys.counters(keys.EDGE), name, fact)
        pipe.execute()

    def score(self, batch: Sequence[read.Entry]) -> tuple[list[tuple[Place, Record]], dict[str, int | str]]:
        """Score a batch; return what enters which place, and facts about the work. The scores are in the history then."""
        entries: list[read.Entry] = []
        posts: list[Accepted] = []
        bad: list[tuple[read.Entry, Refused]] = []
        sources = {entry_id: _source(entry_id, fields) for _, entry_id, fields in batch}
        for entry in batch:
            entry[2].pop(FROM, None)
            try:
                posts.append(self._accept(entry))
                entries.append(entry)
            except Refused as why:
                bad.append((entry, why))
        scored = self._scoring.score(posts)
        records: list[tuple[Place, Record]] = []
        for entry, post, messages in zip(entries, posts, scored.outcomes, strict=True):
            if isinstance(messages, Refused):
                bad.append((entry, messages))
                continue
            for message in messages:
                copies = self._copies(message, post.is_recorded)
                records += ((place, Record(sources[entry[1]], _FIRST, words)) for place, words in copies)
            if self._keeps_written:
                records.append((keys.WRITTEN, Record(sources[entry[1]], _FIRST, _written(entry))))
        records += ((keys.EDGE, Record(sources[entry[1]], _FIRST, refused(*entry, why))) for entry, why in bad)
        return records, {
            "scorer.batches": 1,
            "scorer.texts": scored.texts,
            "scorer.tokens": scored.tokens,
            "scorer.ms": scored.ms,
            "scorer.model": self._model_name,
        }

    def _accept(self, entry: read.Entry) -> Accepted:
        _, _, fields = entry
        if len(fields) > FIELDS_MAX:
            raise Refused(Reason.WRONG_TYPE, f"{len(fields)} fields")
        is_recorded = b"recorded" in fields
        known_ms = None if is_recorded else self._now_ms()
        post = decode_post({name: value for name, value in fields.items() if name != b"recorded"}, known_ms)
        return self._scoring.accept(post, is_recorded=is_recorded)

    def _copies(self, message: ScoredPost | WithdrawnPost, is_recorded: bool) -> Iterator[tuple[Place, list[Any]]]:
        """Yield each partition whose log a message enters, with the fields of its entry there.

        A withdrawal enters all logs, because no part but the workers knows which symbols have the post.
        """
        n, recorded = self._partitions, ("recorded", "1") if is_recorded else ()
        if not isinstance(message, WithdrawnPost):
            yield keys.partition_of(message.symbol, n), ["kind", "post", "data", encode(message), *recorded]
            return
        for p in range(n):
            copy = structs.replace(message, partition=p, partitions=n) if self._number else message
            yield p, ["kind", "withdrawal", "data", encode(copy), *recorded]


def _is_passing(error: Exception) -> bool:
    return isinstance(error, FencedError) or outage.is_passing(error)


def _source(entry_id: bytes, fields: Mapping[bytes, bytes]) -> str:
    """Return the name of a post as a source: what its producer named it, or its entry. The first may be any text, so it is hashed."""
    if (origin := fields.get(FROM)) is not None:
        return f"post:{hashlib.blake2b(origin, digest_size=16).hexdigest()}"
    return f"post:{entry_id.decode()}"


def _written(entry: read.Entry) -> list[Any]:
    """Return the copy of a post as it was written, for the tape: its fields, behind its id in ``social_data``."""
    _, entry_id, fields = entry
    return ["social_data", entry_id, *(word for pair in fields.items() for word in pair)]


def run(client: redis.Redis, settings: Settings, stop: threading.Event, *, postgres_url: str | None = None) -> None:
    """Load the model and score until ``stop`` is set. Raise ``ModelError`` or ``SettingsError`` (a bad alias table) before that."""
    from ingest.sentiment.model.model import load  # torch takes seconds to import; a wrong setting should not

    finder(settings)
    model = load(settings.sentiment_model, revision=settings.sentiment_revision)
    _LOG.info("scoring with %s at %s on %s in %s", model.name, model.revision, model.device, model.dtype)
    with closing(History(postgres_url)) as history:
        for conf, until in each_number(client, settings, stop):
            Scorer(client, model, conf, history).run(until)
