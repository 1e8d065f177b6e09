"""The name of the Feast project, which is part of every online key. It stands in feature_store.yaml alone."""

from __future__ import annotations

import functools
import re
from pathlib import Path


@functools.cache
def project() -> str:
    """Return the project that feature_store.yaml names; it is read without Feast, whose import takes seconds.

    >>> project()
    'trading'
    """
    text = Path(__file__).with_name("feature_store.yaml").read_text()
    named = re.search(r"""^project: *["']?(\w+)""", text, re.MULTILINE)
    if named is None:
        raise ValueError("feature_store.yaml names no project")
    return named[1]
