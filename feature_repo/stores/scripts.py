"""Lua scripts, which Redis runs as one step. Each stands in a ``.lua`` file beside the module that sends it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_COMMENT_LINE: Final = re.compile(r"^[ \t]*--.*$", re.MULTILINE)


def read_script(module_file: str, name: str) -> str:
    """Return the script in the file `name` beside a module, given the module's ``__file__``.

    Comment lines become empty lines, because the text travels with each call. So the line numbers in Redis's errors are
    those of the file.
    """
    return _COMMENT_LINE.sub("", Path(module_file).with_name(name).read_text(encoding="utf-8"))
