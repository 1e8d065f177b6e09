"""Open interest of a venue with Binance's protocol: it has no stream of it, so each symbol is asked about in its turn, at a pace of ours.

An answer is a line like any other, so a recording has it. A request weighs 1 of the 2,400 a minute that the venue allows; all requests of
a feed share its allowance (``binance_rest``).
Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest.feeds.binance_addresses import Venue
from ingest.feeds.binance_rest import Rest
from ingest.feeds.binance_venue import RestrictedError

EVERY_S = 15.0
"""Between two questions about one symbol: a value counts for a minute, so a few answers may fail."""
TELL_AGAIN_S = 600.0
WEIGHT = 1
_LOG = logging.getLogger(__name__)


async def ask(rest: Rest, venue: Venue, symbols: Sequence[str], put: Callable[[bytes], Awaitable[None]]) -> None:
    """Ask about each symbol every `EVERY_S`, and put the answers as lines, until cancelled. What fails is asked again in its turn.

    Return at once where the venue has no contracts.
    """
    import aiohttp

    clock = asyncio.get_running_loop().time
    told_s = -TELL_AGAIN_S
    while venue.open_interest:
        for symbol in symbols:
            await asyncio.sleep(EVERY_S / len(symbols))
            try:
                answer = await rest.get(venue.open_interest, {"symbol": symbol}, WEIGHT)
                if not answer.startswith(b"{"):
                    raise ValueError("an answer that is no JSON object")
            except (RestrictedError, TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
                if clock() - told_s >= TELL_AGAIN_S:
                    told_s = clock()
                    _LOG.warning("no open interest of %s: %s: %.200s", symbol, type(error).__name__, error)
                continue
            await put(answer)
