"""An order book that is made of its orders one by one, as Databento's schema ``mbo`` tells them.

A book is known from the first ``R`` (clear) on. ``A`` adds an order, ``M`` changes one, or adds it if it is not there, ``C`` takes a size
off an order; ``T`` and ``F`` change nothing, because a ``C`` follows them. An order that is taken off and is not there says that something
is missing: then the book is unknown until the next ``R``.

Source: https://databento.com/docs/examples/order-book/limit-order-book
"""

from __future__ import annotations

from typing import NamedTuple

from feature_repo.stores.errors import UserError
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Asks, Bids, Book, Side

ORDERS_MAX = 1_500_000  # open orders of a file, so that no file can fill the memory
BID, ASK = "B", "A"


class TooManyOrdersError(UserError, ValueError):
    """A file has more open orders than are kept in memory."""


class Order(NamedTuple):
    """An order that rests in the book."""

    side: str
    price: float
    size: int


class Room:
    """Counts the open orders of all books of a file."""

    def __init__(self, name: str) -> None:
        self.name, self.used = name, 0

    def take(self, n: int) -> None:
        """Count ``n`` orders more, or fewer where it is negative."""
        self.used += n
        if self.used > ORDERS_MAX:
            raise TooManyOrdersError(
                f"{self.name} has more than {ORDERS_MAX:,} open orders at once: write a file for each symbol"
            )


class Orders:
    """The orders of one symbol, and the book that they make; ``book`` is None while it is unknown."""

    def __init__(self, room: Room) -> None:
        self.book: Book | None = None
        self._room = room
        self._orders: dict[int, Order] = {}

    def clear(self) -> None:
        """Begin anew with an empty book."""
        self.lose()
        self.book = Book()

    def lose(self) -> None:
        """Forget all: the book is unknown until the next `clear`."""
        self._room.take(-len(self._orders))
        self._orders.clear()
        self.book = None

    def add(self, order_id: int, order: Order) -> None:
        """Add an order; refuse one whose id is there."""
        if order_id in self._orders:
            raise Refused(Reason.DUPLICATE, f"order {order_id} is there already")
        self._room.take(1)
        self._orders[order_id] = order
        self._put(order, order.size)

    def modify(self, order_id: int, order: Order) -> None:
        """Give an order another price or size, or add it if it is not there."""
        known = self._orders.get(order_id)
        if known is None:
            self.add(order_id, order)
            return
        if known.side != order.side:
            raise Refused(Reason.WRONG_TYPE, f"order {order_id} is of the other side")
        self._put(known, -known.size)
        self._orders[order_id] = order
        self._put(order, order.size)

    def cancel(self, order_id: int, size: int) -> None:
        """Take a size off an order, which goes when nothing is left."""
        known = self._orders.get(order_id)
        if known is None or size > known.size:
            left = "is not there" if known is None else f"has {known.size} left"
            raise Refused(Reason.SEQUENCE_GAP, f"{size} of order {order_id} are taken off, and it {left}")
        self._put(known, -size)
        if size == known.size:
            del self._orders[order_id]
            self._room.take(-1)
        else:
            self._orders[order_id] = known._replace(size=known.size - size)

    def quote(self, side: str, price: float | None, size: int) -> None:
        """Set the only level of a side, for a venue that gives no more; None for the price of an empty side."""
        assert self.book is not None  # noqa: S101 - the caller looked
        levels = [] if price is None or not size else [(price, float(size))]
        if side == BID:
            self.book.bids = Bids(levels)
        else:
            self.book.asks = Asks(levels)

    def _put(self, order: Order, size: int) -> None:
        assert self.book is not None  # noqa: S101 - the caller looked
        side: Side = self.book.bids if order.side == BID else self.book.asks
        before = side.put(order.price, 0.0)
        side.put(order.price, before + size)
