"""What a venue of Binance's protocol says beside its streams: which symbols it lists, and why it refuses a request."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Callable, Sequence
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
SILENT_S = 10.0  # a stream without a message for this long is told
TELL_AGAIN_S = 600.0
NAMES_SHOWN = 10
_LOG = logging.getLogger(__name__)


class RestrictedError(UserError, RuntimeError):
    """The venue serves no one at this location."""

    def __init__(self, where: str, words: str = "") -> None:
        said = f" ({words})" if words else ""
        super().__init__(
            f"{where} serves nobody at this location: HTTP {RESTRICTED}{said}; take the market from a venue that does, such as "
            "`feed binance-us`, or one of cryptofeed's, such as `feed kraken` or `feed coinbase`"
        )


class _Listed(msgspec.Struct):
    symbol: str
    status: str = "TRADING"


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Listed]


async def body_of(response: ClientResponse, most: int = ANSWER_MAX_BYTES) -> bytes:
    """Return the body of an answer; raise `ValueError` for any status but 200, with the venue's own words, or for a body of more bytes.

    Raise `RestrictedError` where the venue does not serve this location.
    """
    if response.status != 200:
        words = (await response.content.read(4 * WORDS_MAX)).decode(errors="replace")
        words = " ".join(words.split())[:WORDS_MAX]
        if response.status == RESTRICTED:
            raise RestrictedError(str(response.url.host), words)
        raise ValueError(f"HTTP {response.status}: {words!r}")
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
    listed = {one.symbol: one.status for one in found.symbols}
    for symbol in symbols:
        if symbol not in listed:
            near = difflib.get_close_matches(symbol, listed, n=3)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"the venue lists no symbol {symbol} (of {len(listed):,}){advice}")
        if listed[symbol] != "TRADING":
            _LOG.warning("%s is listed, but not traded now: its status is %.40s", symbol, listed[symbol])


class Silences:
    """Tells which streams of a connection are silent.

    Parameters
    ----------
    streams : sequence of str
        Their names, as the venue writes them into each message.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, streams: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.streams = streams
        self._clock = clock
        self._heard: dict[bytes, float] = {}
        self._told: dict[str, float] = {}

    def connected(self) -> None:
        """Note that a connection begins: a stream counts as heard then."""
        self._heard = {name.encode(): self._clock() for name in self.streams}

    def hear(self, frame: bytes) -> None:
        """Note the stream of a frame, ``{"stream":"btcusdt@trade",...``; a frame of another form is not counted."""
        if frame.startswith(b'{"stream":"'):
            name = frame[11 : frame.find(b'"', 11)]
            if name in self._heard:
                self._heard[name] = self._clock()

    def silent(self) -> list[str]:
        """Return the streams that have been silent for `SILENT_S`, each at most every `TELL_AGAIN_S`."""
        now = self._clock()
        names = [
            name
            for name, at in ((raw.decode(), at) for raw, at in self._heard.items())
            if now - at >= SILENT_S and now - self._told.get(name, -TELL_AGAIN_S) >= TELL_AGAIN_S
        ]
        self._told.update(dict.fromkeys(names, now))
        return names

    async def watch(self, every_s: float) -> None:
        """Log the silent streams until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if names := self.silent():
                more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
                _LOG.warning(
                    "nothing has come for %.0f s of %s%s: the market may be quiet, or the venue does not send it",
                    SILENT_S, ", ".join(names[:NAMES_SHOWN]), more,
                )  # fmt: skip


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
