"""Streams of all symbols, such as ``!markPrice@arr@1s`` and ``!forceOrder@arr``: one line has the events of many symbols, or one of any."""

from __future__ import annotations

import msgspec

_OF_ALL = (b'{"stream":"!', b'{"stream": "!')


class _Combined(msgspec.Struct):
    """A line of a combined stream."""

    data: msgspec.Raw = msgspec.Raw()


_combined = msgspec.json.Decoder(_Combined).decode
_events = msgspec.json.Decoder(list[msgspec.Raw]).decode


def events_of(payload: bytes) -> list[bytes]:
    """Return the events of a line: those that a stream of all symbols tells, or the line itself. A damaged line is left to its parser.

    >>> events_of(b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder"}}'), events_of(b'[{"e":"x"},{"e":"y"}]')
    ([b'{"e":"forceOrder"}'], [b'{"e":"x"}', b'{"e":"y"}'])
    >>> events_of(b'{"e":"trade"}')
    [b'{"e":"trade"}']
    """
    try:
        told = bytes(_combined(payload).data) if payload.startswith(_OF_ALL) else payload
        if not told.startswith(b"["):
            return [told or payload]
        events = [bytes(event) for event in _events(told)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [payload]
    return events if all(event.startswith(b"{") for event in events) else [payload]
