"""The open symbols of a partition, a backfill task or a check: opens them, counts what they accept, hands on what is refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from ingest.messages.envelope import Entry, Envelope
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.symbol import Emit, Refuse, Symbol

_LOG = logging.getLogger(__name__)

Make = Callable[[str, Settings, Emit, Refuse], Symbol]
"""Makes a symbol; a test puts a faulty one here."""
OnRefused = Callable[[Entry, Refused], None]
"""Is given the entry that a refused message came from, and the reason."""


class Symbols(dict[str, Symbol]):
    """Open symbols by name.

    Parameters
    ----------
    settings : Settings
        Of this deployment.
    emit : Emit
        Is given each row with the symbol that made it.
    on_refused : OnRefused
        Is given each refusal, after it was counted.
    most : int or None
        How many symbols messages may open; None for any number.
    make : Make
        Makes a symbol.

    Attributes
    ----------
    accepted, refused : Counter of str
        Messages accepted by kind, and refused by reason.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Emit,
        on_refused: OnRefused = lambda entry, refused: None,
        *,
        most: int | None = None,
        make: Make = Symbol,
    ) -> None:
        super().__init__()
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._emit = emit
        self._on_refused = on_refused
        self._most = most
        self._make = make

    def accept(self, envelope: Envelope) -> Symbol | None:
        """Give a message to its symbol and count it.

        Returns
        -------
        Symbol or None
            The symbol that accepted it; None where it was refused.
        """
        name = envelope.message.symbol
        try:
            symbol = self.get(name)
            if symbol is None:
                symbol = self._admit(name)
            symbol.accept(envelope)
        except Exception as error:  # one message must not stop the rest, whatever is wrong with it or with our code
            self.refuse(envelope.origin, error)
            return None
        self.accepted[envelope.kind] += 1
        return symbol

    def open(self, name: str) -> Symbol:
        """Open a symbol, whether or not messages may name it."""
        symbol = self[name] = self._make(name, self._settings, self._emit, self._refuse_held)
        return symbol

    def restore(self, name: str, parts: Mapping[str, bytes]) -> None:
        """Open a symbol with the state that ``Symbol.save`` gave.

        Raises
        ------
        transforms.engine.VersionError
            The state is of other kernels or another grid; a symbol of that name that was open stays as it was.
        """
        symbol = self._make(name, self._settings, self._emit, self._refuse_held)
        symbol.restore(parts)
        self[name] = symbol

    def _admit(self, name: str) -> Symbol:
        """Open a symbol that a message names."""
        if self._settings.symbols and name not in self._settings.symbols:
            raise Refused(Reason.UNKNOWN_SYMBOL, f"{name} is not in TFS_SYMBOLS")
        if self._most is not None and len(self) >= self._most:
            raise Refused(Reason.UNKNOWN_SYMBOL, f"{len(self)} symbols are open here; see TFS_MAX_SYMBOLS")
        return self.open(name)

    def refuse(self, entry: Entry, error: Exception) -> None:
        """Count a refusal and hand it on; an error of our own code is logged and refused as ``failed``."""
        if isinstance(error, Refused):
            refused = error
        else:
            _LOG.error("a message failed and is refused (entry %s)", entry[0].decode() or "none", exc_info=error)
            refused = Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
            refused.__cause__ = error
        self.refused[str(refused.reason)] += 1
        self._on_refused(entry, refused)

    def _refuse_held(self, envelope: Envelope, error: Exception) -> None:
        """Refuse a message that was accepted when it arrived, and that turned out to be bad when its turn came."""
        self.accepted[envelope.kind] -= 1
        self.refuse(envelope.origin, error)

    def take_counts(self) -> Counter[str]:
        """Return the counts as ``accepted.<kind>`` and ``refused.<reason>``, and start again at zero."""
        counts = Counter({f"accepted.{kind}": n for kind, n in self.accepted.items()})
        counts.update({f"refused.{reason}": n for reason, n in self.refused.items()})
        self.accepted.clear()
        self.refused.clear()
        return counts
