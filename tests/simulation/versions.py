"""Workers of another version of the code: with another format of saved states, or with some kernels changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.stores.online.format import event_and_silence, feature_field
from feature_repo.stores.online.record import FRONT, VALUES_AT, WORD
from ingest.worker import versions as worker_versions
from tests.simulation.database import Bits, Key
from tests.simulation.plan import Plan
from transforms import kernels, saved
from transforms.catalog import VIEW, VIEWS
from transforms.kernels import KERNEL, with_users

CHANGED = frozenset({"book_flow", "session", "volatility", "ema", "relative_volume", "mid"})
"""Kernels of another version in change ``SOME``; in ``ALL`` the format is another one, which refuses the whole state of a symbol."""
SOME, ALL = "1", "2"

_VERSIONS, _FORMAT = kernels.VERSIONS, saved.FORMAT


def become(change: str | None) -> None:
    """Let the process that runs be of a version of the code."""
    kernels.VERSIONS = tuple((n, v + (change == SOME and n in CHANGED)) for n, v in _VERSIONS)
    saved.FORMAT = f"{_FORMAT} of others" if change == ALL else _FORMAT


def code_of(change: str | None) -> bytes:
    """Return the code of a version, and let the process be of the first one."""
    become(change)
    code = worker_versions.code()
    become(None)
    return code


def columns_apart() -> dict[str, list[int]]:
    """Return the slots, by view, of the features that changed kernels make: only these may differ from a run without a change."""
    features = {feature for name in with_users(CHANGED) for feature in KERNEL[name].features}
    return {view.name: [view.index[name] for name in view.names if name in features] for view in VIEWS}


@dataclass
class Upgraded:
    """What is not known where workers had kernels of two versions.

    Attributes
    ----------
    symbols : set of str
        The symbols whose kernels were changed.
    changed : set of str
        Those among them whose whole state was refused: their rows may have any value.
    apart : dict of str to list of int
        Slots, by view, of features that may have any value in the rows of the others.
    """

    symbols: set[str]
    changed: set[str]
    apart: dict[str, list[int]]

    @classmethod
    def of(cls, plan: Plan) -> Upgraded:
        """Return what the faults of a plan make unknown."""
        changes = {fault.about[2] for fault in plan.faults if fault.kind == "version"}
        symbols = set(plan.symbols) if changes else set()
        return cls(symbols, symbols if ALL in changes else set(), columns_apart() if changes else {})

    def known(self, key: Key, bits: Bits) -> Bits:
        """Return a row with 0 in the place of what is not known."""
        if not self.apart.get(key[0]):
            return bits
        values = np.frombuffer(bits[0]).copy()
        values[self.apart[key[0]]] = 0.0
        return values.tobytes(), bits[1]

    def cells(self, view: str, words: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the cells of a stored row whose value is known; ``words`` are fields and values by turns."""
        unknown = {feature_field(view, VIEW[view].names[slot]) for slot in self.apart.get(view, ())}
        return [cell for cell in zip(words[::2], words[1::2], strict=True) if cell[0] not in unknown]

    def said(self, view: str, time: bytes) -> tuple[bytes, int]:
        """Return what is known of a time field, besides when the row was created: the record, which has the event time, and the silence."""
        record = bytearray(time[FRONT:])
        for slot in self.apart.get(view, ()):
            at = WORD * (VALUES_AT + slot) - FRONT
            record[at : at + WORD] = bytes(WORD)
        return bytes(record), event_and_silence(time)[1]
