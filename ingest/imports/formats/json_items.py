"""Objects of JSON text one after another: lines, or one array over any number of lines; read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import DAMAGE, is_damage, open_text

_CHUNK = 1 << 18
_ITEM_MAX = 16 * 2**20  # characters of one object, so that no file can fill the memory
_BETWEEN = " \t\r\n,[]"


def items_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number of each value, from 1 on, and the value. What cannot be read is a ``Refused``, and the last one."""
    decode = json.JSONDecoder().raw_decode
    number, text, at, ended = 0, "", 0, False
    with TextIOWrapper(open_text(path), encoding="utf-8-sig", errors="replace") as file:
        while True:
            while at < len(text) and text[at] in _BETWEEN:
                at += 1
            if at < len(text):
                try:
                    value, end = decode(text, at)
                    whole = ended or end < len(text)  # a number at the end may go on
                except (ValueError, RecursionError) as error:
                    whole, value, end = ended or len(text) - at > _ITEM_MAX, Refused(Reason.UNDECODABLE, str(error)), -1
                if whole:
                    number += 1
                    yield number, value
                    if end < 0:
                        return
                    at = end
                    continue
            if ended:
                return
            try:
                more = file.read(_CHUNK)
            except DAMAGE as error:
                if not is_damage(error):
                    raise
                yield number + 1, Refused(Reason.UNDECODABLE, f"the file is damaged here: {error}")
                return
            ended = not more
            text, at = text[at:] + more, 0
