"""The open symbols of a partition, a backfill task or a check: opens them, counts what they accept, hands on what is refused."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ingest.messages.envelope import Envelope, Origin
from ingest.messages.kinds import ScoredPost, post_identity, time_us
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.idle_load import AwayError
from ingest.worker.symbol import Emit, Refuse, Symbol
from transforms.saved import VersionError

_LOG = logging.getLogger(__name__)
_FULL = 'TFS_MAX_SYMBOLS={most} others are open here; a table ["{name}"] in the file of TFS_INSTRUMENTS keeps a place for it'

Make = Callable[[str, Settings, Emit, Refuse], Symbol]  # makes a symbol; a test puts a faulty one here
Recall = Callable[
    [str], Mapping[str, bytes] | None
]  # returns the saved state of a symbol that left the memory, if there is one
HandOn = Callable[[Origin, Refused], None]  # is given where a refused message came from, and the reason


class Symbols(dict[str, Symbol]):
    """Open symbols by name.

    ``accepted`` counts messages by kind, ``refused`` by reason; a message that is refused at its turn is accepted no longer.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Emit,
        hand_on: HandOn = lambda *_: None,
        most: float = math.inf,
        make: Make = Symbol,
        recall: Recall = lambda _: None,
        opened: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._emit = emit
        self._hand_on = hand_on
        self._most = most
        self._make = make
        self._recall = recall
        self._opened = opened

    def accept(self, envelope: Envelope) -> Symbol | None:
        """Give a message to its symbol, and count it; return the symbol, or None where the message was refused.

        A withdrawal that names no symbol is for all that have the post (``withdraw``). Raise `AwayError` where the state of an idle symbol
        cannot be read now; nothing has changed then.
        """
        if envelope.kind == "withdrawal" and envelope.message.symbol == "-":
            self.withdraw(envelope)
            return None
        try:
            name = envelope.message.symbol
            symbol = self.get(name)
            if symbol is None:
                symbol = self._admit(envelope)
                symbol.accept(envelope)
                self._add(symbol)  # only now: a message that is refused opens no symbol
            else:
                symbol.accept(envelope)
        except AwayError:
            raise
        except Exception as error:  # one message must not stop the rest, whatever is wrong with it or with our code
            self.refuse(envelope.origin, error)
            return None
        self.accepted[envelope.kind] += 1
        return symbol

    def withdraw(self, envelope: Envelope, idle: Iterable[str] = ()) -> list[str]:
        """Give the withdrawal of a post to all symbols that have the post, count it once, and return their names.

        ``idle`` are symbols that left the memory and have posts; those that have this one are opened.
        """
        identity = post_identity(envelope.message.source, envelope.message.id)
        for symbol in [symbol for name in idle if _has_post(symbol := self.recalled(name), identity)]:
            self._add(symbol)
        found = [symbol for symbol in self.values() if _has_post(symbol, identity)]
        for symbol in found:
            symbol.accept(envelope)
        self.accepted["withdrawal"] += 1
        return [symbol.name for symbol in found]

    def hear_feed(self, envelope: Envelope) -> list[str]:
        """Give a clock or a hold of a feed to its open symbols, count it, and return the names of those that it changed."""
        message = envelope.message
        clock = envelope.kind == "clock"
        held_ms = self._settings.recover_s * 1000
        if held_ms and not clock:
            held_ms = max(held_ms, message.until - time_us(message) // 1000)
        ticks_from_ms = envelope.arrived_ms + held_ms if held_ms else 0
        changed = []
        for name in message.symbols if clock else (message.symbol,):
            try:
                if (symbol := self.get(name)) is not None and symbol.hear_feed(envelope, ticks_from_ms):
                    changed.append(name)
            except Exception as error:  # one symbol must not stop the rest
                self.refuse(envelope.origin, error)
        self.accepted[envelope.kind] += 1
        return changed

    def hear_neighbour(self, envelope: Envelope) -> list[str]:
        """Give a neighbour's row to the open symbols that follow it, and return the names of those that it changed."""
        changed = []
        for name in envelope.message.symbols:
            try:
                if (symbol := self.get(name)) is not None and symbol.hear_neighbour(envelope):
                    changed.append(name)
            except Exception as error:  # one symbol must not stop the rest
                self.refuse(envelope.origin, error)
        return changed

    def _admit(self, envelope: Envelope) -> Symbol:
        """Return a symbol that is not open yet, as it was when it left the memory; raise ``Refused`` if it may not be opened."""
        name = envelope.message.symbol
        self.check_place(name)
        symbol = self.recalled(name)
        if envelope.kind == "book":
            symbol.check_book(envelope.message)
        return symbol

    def check_place(self, name: str) -> None:
        """Raise ``Refused`` if a symbol may not be opened: it is not in ``TFS_SYMBOLS``, or too many others are open."""
        settings = self._settings
        if settings.symbols and name not in settings.symbols:
            raise Refused(Reason.UNKNOWN_SYMBOL, f"{name} is not in TFS_SYMBOLS")
        if len(self) >= self._most and not settings.is_known(name):
            unknown = sum(not settings.is_known(one) for one in self)
            if unknown >= self._most:
                raise Refused(Reason.UNKNOWN_SYMBOL, _FULL.format(most=self._most, name=name))

    def recalled(self, name: str) -> Symbol:
        """Return a symbol with the state with which it left the memory, or a new one; it is not open yet."""
        parts = self._recall(name)
        try:
            symbol = self._made(name, parts)
        except VersionError:
            _LOG.warning("the idle symbol %s was saved in another format or with another grid, and starts anew", name)
            symbol = self._made(name)
            symbol.restart(parts or {})
        if symbol.engine.anew:
            _LOG.warning(
                "in the idle symbol %s these kernels begin anew: %s", name, ", ".join(sorted(symbol.engine.anew))
            )
        return symbol

    def _made(self, name: str, parts: Mapping[str, bytes] | None = None) -> Symbol:
        symbol = self._make(name, self._settings, self._emit, self._refuse_held)
        if parts is not None:
            symbol.restore(parts)
        return symbol

    def _add(self, symbol: Symbol) -> None:
        self[symbol.name] = symbol
        self._opened(symbol.name)

    def open(self, name: str, parts: Mapping[str, bytes] | None = None) -> Symbol:
        """Open a symbol, with its saved state if given; raise ``VersionError``, and open none, if it has another format or grid."""
        symbol = self._made(name, parts)
        self._add(symbol)
        return symbol

    def refuse(self, origin: Origin, error: Exception) -> None:
        """Count a refusal and hand it on; an error of our own code is logged, and refused as ``failed``."""
        refused = error
        if not isinstance(refused, Refused):
            _LOG.error("a message failed and is refused (entry %s)", origin[0].decode() or "none", exc_info=error)
            refused = Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
        self.refused[str(refused.reason)] += 1
        self._hand_on(origin, refused)

    def _refuse_held(self, envelope: Envelope, error: Exception) -> None:
        self.accepted[envelope.kind] -= 1
        self.refuse(envelope.origin, error)

    def take_counts(self) -> Counter[str]:
        """Return the counts as ``accepted.<kind>`` and ``refused.<reason>``, and start again at zero."""
        counts = Counter({f"accepted.{kind}": n for kind, n in self.accepted.items()})
        counts.update({f"refused.{reason}": n for reason, n in self.refused.items()})
        self.accepted.clear()
        self.refused.clear()
        return counts


def _has_post(symbol: Symbol, identity: str) -> bool:
    """Return whether a post is in a window of a symbol, is remembered, or is held."""
    held = (envelope.message for *_, envelope in symbol.timeline.held)
    return symbol.engine.knows_post(identity) or any(
        isinstance(message, ScoredPost) and post_identity(message.source, message.id) == identity for message in held
    )
