"""SQL that a caller gives, such as an entity frame, made ready to stand in brackets inside another statement."""

from __future__ import annotations

import re
from typing import Final

from feature_repo.stores.errors import UserError

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>\s+ | --[^\r\n]*)
  | (?P<comment>/\*)
  | (?P<end>;)
  | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
  | [eE]'(?:[^'\\]|\\.|'')*'?
  | '(?:[^']|'')*'?
  | "(?:[^"]|"")*"?
  | [\w$]+
  | .
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


class EntitySqlError(UserError, ValueError):
    """A text that has to be one SQL query is none, or is several."""


def bare(text: str) -> str:
    """Return one SQL query without the semicolons and comments behind it.

    Read as PostgreSQL reads it: what looks like a comment or a semicolon in a string or in a quoted name stays. Raise
    `EntitySqlError` for an empty text, and for several statements.

    >>> bare("SELECT ';' AS a -- why\\n; -- done")
    "SELECT ';' AS a"
    """
    at = end = 0
    closed = False
    while token := _TOKEN.match(text, at):
        at = token.end()
        if token["comment"]:
            at = _comment_end(text, at)
        elif token["end"]:
            closed = end > 0
        elif not token["blank"]:
            if closed:
                raise EntitySqlError(
                    "the SQL has several statements; give one SELECT, and nothing behind its semicolon"
                )
            if token["dollar"]:
                close = text.find(token["dollar"], at)
                at = len(text) if close < 0 else close + len(token["dollar"])
            end = at
    if not end:
        raise EntitySqlError("the SQL is empty; give one SELECT")
    return text[:end]


def _comment_end(text: str, at: int) -> int:
    """Return the end of the comment whose opening ends at `at`. Comments nest in PostgreSQL."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return len(text) if depth else at
