"""What a venue of Binance's protocol says beside its streams: which symbols it lists, and why it refuses a request."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from feature_repo.stores.errors import UserError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

ANSWER_S = 15.0
ANSWER_MAX_BYTES = 64 << 20  # the list of a large venue has some 15 MB
WORDS_MAX = 300  # characters kept of what a venue says about an error
CHUNK_BYTES = 1 << 16
RESTRICTED = 451  # HTTP: unavailable for legal reasons
_LOG = logging.getLogger(__name__)


class RestrictedError(UserError, RuntimeError):
    """The venue serves no one at this location."""

    def __init__(self, where: str, words: str = "") -> None:
        said = f" ({words})" if words else ""
        super().__init__(
            f"{where} serves nobody at this location: HTTP {RESTRICTED}{said}; take the market from a venue that does, such as "
            "`feed binance-us`, or one of cryptofeed's, such as `feed kraken` or `feed coinbase`"
        )


class StatusError(ValueError):
    """The venue answers with another status than 200."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"HTTP {status}: {words!r}")
        self.status = status


class _Listed(msgspec.Struct):
    symbol: str
    status: str | None = None
    contract_status: str = msgspec.field(name="contractStatus", default="TRADING")  # COIN-M calls it so


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Listed]


async def body_of(response: ClientResponse, most: int = ANSWER_MAX_BYTES) -> bytes:
    """Return the body of an answer; raise `StatusError` for any status but 200, with the venue's own words, `ValueError` for more bytes.

    Raise `RestrictedError` where the venue does not serve this location.
    """
    if response.status != 200:
        words = (await response.content.read(4 * WORDS_MAX)).decode(errors="replace")
        words = " ".join(words.split())[:WORDS_MAX]
        if response.status == RESTRICTED:
            raise RestrictedError(str(response.url.host), words)
        raise StatusError(response.status, words)
    answer = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        answer += chunk
        if len(answer) > most:
            raise ValueError(f"an answer of more than {most} bytes")
    return bytes(answer)


async def check_symbols(http: ClientSession, address: str, symbols: Sequence[str]) -> None:
    """Compare symbols with the venue's list at `address` (its ``exchangeInfo``).

    Raise `UserError` for a symbol that is not listed, and `RestrictedError`. A list that cannot be read is a warning, and the feed goes
    on: the streams may work where REST does not.
    """
    import aiohttp

    try:
        async with asyncio.timeout(ANSWER_S), http.get(address) as response:
            found = msgspec.json.decode(await body_of(response), type=_ExchangeInfo)
    except (TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
        _LOG.warning("the symbols are not checked, as the list of the venue cannot be read: %.400s", _line(error))
        return
    listed = {one.symbol: one.status or one.contract_status for one in found.symbols}
    for symbol in symbols:
        if symbol not in listed:
            near = difflib.get_close_matches(symbol, listed, n=3)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"the venue lists no symbol {symbol} (of {len(listed):,}){advice}")
        if listed[symbol] != "TRADING":
            _LOG.warning("%s is listed, but not traded now: its status is %.40s", symbol, listed[symbol])


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
