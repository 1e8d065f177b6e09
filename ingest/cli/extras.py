"""What to say when a library of an optional part of the installation is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from feature_repo.stores.errors import UserError

_OURS = ("ingest", "feature_repo", "transforms")


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn the failing import of a library inside the block into a `UserError` that names the extra to install."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if not library or library in _OURS:
            raise
        advice = f"it comes with the extra `{extra}`: pip install -e '.[{extra}]'"
        raise UserError(f"{library} is not installed; {advice}") from error
