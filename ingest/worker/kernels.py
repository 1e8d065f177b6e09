"""The compiled kernels of a worker: loaded from the cache, or compiled, which the log tells because it takes minutes.

``python -m ingest.worker.kernels`` compiles them ahead, as the image's build does.
"""

from __future__ import annotations

import logging
import threading
import time

from ingest.messages import flat_book
from transforms import compiling

TOLD_S = 3.0
"""From here on it is compiling and not loading, and is told."""
_LOG = logging.getLogger(__name__)


def warm_up() -> None:
    """Load or compile every kernel, so that no message waits for it. Log that it compiles, and afterwards how long it took."""
    began = time.monotonic()
    told = threading.Timer(TOLD_S, _tell)
    told.daemon = True
    told.start()
    try:
        compiling.warm_up()
        flat_book.warm_up()
    finally:
        told.cancel()
    if (took_s := time.monotonic() - began) >= TOLD_S:
        _LOG.info(
            "the kernels are compiled after %.0f s; the next start loads them, if the cache can be written", took_s
        )


def _tell() -> None:
    _LOG.info(
        "compiling the kernels for this machine: this takes a minute or several, once, and messages wait meanwhile"
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warm_up()
