"""What to say when a library of an optional part of the installation is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from feature_repo.stores.errors import UserError

_OURS = ("ingest", "feature_repo", "transforms")


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failing import inside the block into an error that names the extra to install.

    Raises
    ------
    UserError
        A library is not installed. A module of the project itself that is missing stays an ``ImportError``.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if not library or library in _OURS:
            raise
        raise UserError(
            f"{library} is not installed; it comes with the extra `{extra}`: pip install -e '.[{extra}]'"
        ) from error
