"""Order books around a price, in the shape of recorded KRW-BTC books: deterministic, 30 levels."""

import gzip
import json
import zlib
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

from jobs.core.errors import BadData
from jobs.upbit.ticks import round_price, tick_size
from jobs.upbit.wire import Level, Orderbook
from sandbox.recording import SHIPPED
from sandbox.tape import Trade, from_ms, plain

DEPTH = 30
SIZE_STEP = Decimal("0.00000001")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A recorded book without its price: per level the distance from the best price as a share,
    and the money that stands there. `spread` is a share of the price too.
    """

    spread: Decimal
    asks: tuple[tuple[Decimal, Decimal], ...]
    bids: tuple[tuple[Decimal, Decimal], ...]


def load_shapes(folder: Path) -> list[Shape]:
    """Read the recorded books, each different one once; without any, those that are shipped.

    Raises BadData for a file that is not what it should be.
    """
    pattern = "orderbook_*.jsonl.gz"
    files = sorted(folder.glob(pattern)) or sorted(SHIPPED.glob(pattern))
    shapes: dict[Shape, None] = {}
    for file in files:
        try:
            with gzip.open(file, "rt", encoding="utf-8") as stream:
                for number, line in enumerate(stream, 1):
                    shapes[_shape_of(file, number, line)] = None
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as exc:
            raise BadData(f"{file.name}: no readable gzip text ({exc})") from exc
    return list(shapes)


def _shape_of(file: Path, number: int, line: str) -> Shape:
    try:
        return _shape(json.loads(line, parse_float=Decimal))
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as exc:
        raise BadData(f"{file.name}, line {number}: no order book as Upbit gives it") from exc


def _shape(raw: dict[str, list[dict[str, Decimal]]]) -> Shape:
    units = raw["orderbook_units"]
    asks = [(Decimal(u["ask_price"]), u["ask_price"] * u["ask_size"]) for u in units]
    bids = [(Decimal(u["bid_price"]), u["bid_price"] * u["bid_size"]) for u in units]
    return Shape((asks[0][0] - bids[0][0]) / bids[0][0], _side(asks), _side(bids))


def _side(levels: list[tuple[Decimal, Decimal]]) -> tuple[tuple[Decimal, Decimal], ...]:
    """Distances from the best price; beyond the recorded 15 levels the same ones again."""
    best = levels[0][0]
    near = [(abs(price - best) / best, money) for price, money in levels]
    end = near[-1][0] + near[1][0]
    far = [(end + distance, money) for distance, money in near]
    return tuple((near + far)[:DEPTH])


class BookMaker:
    """Makes the book that goes with a trade."""

    def __init__(self, shapes: list[Shape]) -> None:
        self._shapes = shapes

    def book(self, market: str, trade: Trade) -> Orderbook:
        """The offers right after `trade`: a buyer leaves its price as best ask, a seller as bid."""
        shape = self._shapes[
            zlib.crc32(f"{market}@{trade.ms % 86_400_000}@{trade.number}".encode())
            % len(self._shapes)
        ]
        best_ask, best_bid = _best(market, trade, shape.spread)
        asks = _levels(market, best_ask, shape.asks, up=True)
        bids = _levels(market, best_bid, shape.bids, up=False)
        units = tuple(
            Level(ask_price=ask[0], ask_size=ask[1], bid_price=bid[0], bid_size=bid[1])
            for ask, bid in zip(asks, bids, strict=True)
        )
        return Orderbook(market=market, ts=from_ms(trade.ms), units=units)


def _best(market: str, trade: Trade, spread: Decimal) -> tuple[Decimal, Decimal]:
    if trade.taker == "BID":
        ask = round_price(market, trade.price, "up")
        return ask, min(
            round_price(market, ask * (1 - spread), "down"), _next(market, ask, up=False)
        )
    bid = round_price(market, trade.price, "down")
    return max(round_price(market, bid * (1 + spread), "up"), _next(market, bid, up=True)), bid


def _levels(
    market: str, best: Decimal, shape: tuple[tuple[Decimal, Decimal], ...], *, up: bool
) -> list[tuple[Decimal, Decimal]]:
    sign = 1 if up else -1
    levels: list[tuple[Decimal, Decimal]] = []
    for distance, money in shape:
        price = round_price(market, best * (1 + sign * distance), "up" if up else "down")
        if levels:
            neighbour = _next(market, levels[-1][0], up=up)
            price = max(price, neighbour) if up else min(price, neighbour)
        if price <= 0:
            levels.append((ZERO, ZERO))
        else:
            levels.append((plain(price), (money / price).quantize(SIZE_STEP, rounding=ROUND_DOWN)))
    return levels


def _next(market: str, price: Decimal, *, up: bool) -> Decimal:
    """The valid price next to `price`."""
    if up:
        return round_price(market, price + tick_size(market, price), "up")
    return round_price(market, price - tick_size(market, price) / 10, "down") if price > 0 else ZERO
