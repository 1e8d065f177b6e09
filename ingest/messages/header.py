"""The symbol that a message names: all that is decoded of it before it is in its log."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingest.messages.check import is_symbol
from ingest.messages.decode import decode_entry
from ingest.messages.refusal import Reason, Refused


class Header(msgspec.Struct, gc=False):
    """What is decoded; the worker checks the rest."""

    symbol: str


def symbol_of(fields: Mapping[bytes, bytes]) -> str:
    """Return the symbol of an entry. Raise ``Refused`` if it cannot be decoded, or names no symbol."""
    symbol = decode_entry(Header, fields).symbol
    if not is_symbol(symbol):
        raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
    return symbol
