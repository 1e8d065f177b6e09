"""What the tape and the lake share as Delta tables: how S3 is reached, and what is told of a storage that refuses."""

from __future__ import annotations

import re
from typing import Final

from feature_repo.stores.endpoints import without_secrets

S3_OPTIONS: Final = {
    "conditional_put": "etag",  # a commit is an object that must not exist yet
    "connect_timeout": "5s",
    "timeout": "20s",
    "max_retries": "2",  # who writes tries again, for as long as the storage is away
    "retry_timeout": "20s",
}
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def options(place: str) -> dict[str, str]:
    """Return the options of the storage beside those that deltalake reads from the environment."""
    return dict(S3_OPTIONS) if place.startswith("s3://") else {}


def told(error: BaseException) -> str:
    """Return what a storage said: one line of at most 300 characters, without its colours and the keys of this process."""
    return f"{without_secrets(' '.join(_COLOUR.sub('', str(error)).split())):.300}"
