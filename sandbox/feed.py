"""What the venue's sockets say: its quotes and an account's happenings as stream messages."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import takewhile

from jobs.matching.engine import Event
from jobs.matching.rules import VenueError
from sandbox import auth
from sandbox.candles import Candle, candle_row
from sandbox.frames import FrameError, Subscription, book_code
from sandbox.tape import Trade, from_ms, to_ms
from sandbox.venue import Happening, Pocket, Venue

Message = Mapping[str, object]

PERMISSIONS = {"myOrder": "orders_view", "myAsset": "assets"}
HANDSHAKES = "websocket-connect"
UNLIMITED = 10**9
HALF = Decimal("0.5")
SIZE_STEP = Decimal("0.00000001")
NOT_GROUPED = frozenset({None, "0", "0.0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """How often a socket looks for news, when it is cut, what a client may send, by which clock."""

    now_s: Callable[[], float] = time.monotonic
    grid_s: float = 0.1
    idle_s: float = 60.0
    up_every_s: float = 10.0
    messages_per_s: int = 5
    messages_per_min: int = 100


@dataclass(frozen=True, slots=True)
class Login:
    """A key that opened a private socket, and its account."""

    key: auth.Key
    pocket: Pocket


class VenueFeed:
    """Messages made from a venue; a mark is the trade or the happening that was seen last."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._markets = frozenset(venue.quotes.markets)

    def news(
        self, stream: Subscription, code: str, mark: Hashable
    ) -> tuple[list[Message], Hashable]:
        """Messages after `mark` (None: the newest one alone), and the mark to come back with."""
        market = book_code(code)[0] if stream.type == "orderbook" else code
        if market not in self._markets:
            return [], None
        now = self._venue.now()
        trade = self._venue.quotes.last_trade(market, now)
        if stream.type == "trade":
            return self._trades(market, now, mark)
        if stream.candle_unit is not None:
            return self._candle(stream.type, market, (trade.ms, to_ms(now) // 1000), mark)
        newest = (trade.ms, trade.number, trade.price)
        if newest == mark:
            return [], mark
        if stream.type == "ticker":
            return [self._ticker(market, trade, now)], newest
        return self._book(stream, code, now), newest

    def own_news(
        self, account: object, stream: Subscription, mark: int | None
    ) -> tuple[list[Message], int]:
        """What happened to the account after `mark` (None: nothing yet), and the next mark.

        Raises FrameError when the key may not see it.
        """
        assert isinstance(account, Login)  # noqa: S101 - as `account` returned it
        self._venue.advance(account.pocket)
        happenings = account.pocket.happenings
        if mark is None:
            self._allow(account.key, stream.type)
            return [], len(happenings)
        now_ms = to_ms(self._venue.now())
        told = (_own(stream, each, account.pocket, now_ms) for each in happenings[mark:])
        return [message for message in told if message is not None], len(happenings)

    def limits(self) -> SocketLimits:
        """What holds for a socket that is opened now."""
        options = self._venue.options
        per_s = options.limits["websocket-message"] if options.quotas else UNLIMITED
        return SocketLimits(
            grid_s=options.ws_grid_ms / 1000,
            idle_s=options.ws_idle_s,
            messages_per_s=per_s,
            messages_per_min=options.limits["websocket-minute"] if options.quotas else UNLIMITED,
        )

    def count_handshake(self, ip: str, authorization: str | None, origin: str | None) -> str:
        """Count a handshake by pocket, or by address without a token; return the header.

        Raises Limited.
        """
        venue = self._venue
        try:
            scope = f"pocket:{auth.identify(venue.keys, authorization)[0].pocket}"
        except VenueError:
            scope = f"ip:{ip}"
        group = HANDSHAKES if origin is None else "origin"
        return venue.quotas.take(scope, group, venue.now()).replace(HANDSHAKES, "websocket")

    def account(self, authorization: str | None, ip: str) -> object:
        """Whose token this is. Raises FrameError `INVALID_AUTH`."""
        venue = self._venue
        try:
            key, claims = auth.identify(venue.keys, authorization)
            auth.admit(key, claims, ip=ip, now=venue.now(), options=venue.options)
        except VenueError as exc:
            raise FrameError("INVALID_AUTH", exc.name) from exc
        return Login(key, venue.pockets[key.pocket])

    def _allow(self, key: auth.Key, kind: str) -> None:
        try:
            auth.allow(key, PERMISSIONS.get(kind), self._venue.options)
        except VenueError as exc:
            raise FrameError("INVALID_AUTH", exc.name) from exc

    def _ticker(self, market: str, trade: Trade, now: datetime) -> Message:
        row = self._venue.quotes.ticker(market, now)
        volume = Decimal(str(row["acc_trade_volume"]))
        # the recording keeps no taker sides: the day's volume counts half for each
        asks = (volume * HALF).quantize(SIZE_STEP)
        hidden = ("market", "trade_date_kst", "trade_time_kst")
        return {
            "type": "ticker",
            "code": market,
            **{name: value for name, value in row.items() if name not in hidden},
            "ask_bid": trade.taker,
            "acc_ask_volume": asks,
            "acc_bid_volume": volume - asks,
            "market_state": "ACTIVE",
            "is_trading_suspended": False,
            "delisting_date": None,
            "market_warning": "NONE",
            "timestamp": to_ms(now),
        }

    def _trades(self, market: str, now: datetime, mark: Hashable) -> tuple[list[Message], Hashable]:
        past = self._venue.quotes.trades(market, to_ms(now) + 1)
        if isinstance(mark, int):
            new = list(takewhile(lambda trade: trade.sequential_id > mark, past))
        else:
            new = [newest] if (newest := next(past, None)) is not None else []
        if not new:
            return [], mark
        return [self._trade(market, each, now) for each in reversed(new)], new[0].sequential_id

    def _trade(self, market: str, trade: Trade, now: datetime) -> Message:
        at = from_ms(trade.ms)
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        previous = self._venue.quotes.previous_close(market, midnight)
        change = trade.price - previous
        best = self._venue.quotes.book(market, at).units[0]
        return {
            "type": "trade",
            "code": market,
            "timestamp": to_ms(now),
            "trade_date": f"{at:%Y-%m-%d}",
            "trade_time": f"{at:%H:%M:%S}",
            "trade_timestamp": trade.ms,
            "trade_price": trade.price,
            "trade_volume": trade.volume,
            "ask_bid": trade.taker,
            "prev_closing_price": previous,
            "change": "RISE" if change > 0 else "FALL" if change < 0 else "EVEN",
            "change_price": abs(change),
            "sequential_id": trade.sequential_id,
            "best_ask_price": best.ask_price,
            "best_ask_size": best.ask_size,
            "best_bid_price": best.bid_price,
            "best_bid_size": best.bid_size,
        }

    def _book(self, stream: Subscription, code: str, now: datetime) -> list[Message]:
        if stream.level not in NOT_GROUPED:  # unsupported levels bring no data
            return []
        market, depth = book_code(code)
        book = self._venue.quotes.book(market, now)
        units = [
            {
                "ask_price": unit.ask_price,
                "bid_price": unit.bid_price,
                "ask_size": unit.ask_size,
                "bid_size": unit.bid_size,
            }
            for unit in book.units
        ]
        message = {
            "type": "orderbook",
            "code": market,
            "timestamp": to_ms(book.ts),
            "total_ask_size": sum((unit.ask_size for unit in book.units), Decimal(0)),
            "total_bid_size": sum((unit.bid_size for unit in book.units), Decimal(0)),
            "orderbook_units": units[:depth],
            "level": 0,
        }
        return [message]

    def _candle(
        self, kind: str, market: str, newest: tuple[int, int], mark: Hashable
    ) -> tuple[list[Message], Hashable]:
        """The running candle, when a trade changed it and it was not sent in this second."""
        if isinstance(mark, tuple) and (mark[0] == newest[0] or mark[1] == newest[1]):
            return [], mark
        unit = kind.removeprefix("candle.")
        wanted = "seconds" if unit == "1s" else unit.removesuffix("m")
        now = self._venue.now()
        found = self._venue.quotes.candles(market, wanted, count=1, before=None, now=now)
        return list(_candle_messages(kind, market, found)), newest


def _candle_messages(kind: str, market: str, found: list[Candle]) -> Iterator[Message]:
    for candle in found:
        row = candle_row(market, candle)
        yield {"type": kind, "code": row.pop("market"), **row}


def _own(stream: Subscription, happening: Happening, pocket: Pocket, now_ms: int) -> Message | None:
    """The message that tells a happening in `stream`, if it belongs there."""
    if stream.type == "myAsset" and happening.accounts:
        return _assets(happening, pocket, now_ms)
    event = happening.event
    if stream.type != "myOrder" or event is None:
        return None
    if stream.codes and event.ticket.market not in stream.codes:
        return None
    return _order(event, now_ms)


def _assets(happening: Happening, pocket: Pocket, now_ms: int) -> Message:
    return {
        "type": "myAsset",
        "asset_uuid": pocket.uuid,
        "assets": [
            {"currency": row.currency, "balance": row.balance, "locked": row.locked}
            for row in happening.accounts
        ],
        "asset_timestamp": to_ms(happening.at),
        "timestamp": now_ms,
    }


def _order(event: Event, now_ms: int) -> Message:
    """An order event; in a trade `price` and `volume` are those of the fill."""
    ticket, fill = event.ticket, event.fill
    is_filled = ticket.executed_volume > 0
    return {
        "type": "myOrder",
        "code": ticket.market,
        "uuid": ticket.uuid,
        "ask_bid": ticket.side.upper(),
        "order_type": ticket.ord_type,
        "state": event.kind,
        "trade_uuid": None if fill is None else fill.uuid,
        "price": ticket.price if fill is None else fill.price,
        "avg_price": ticket.executed_funds / ticket.executed_volume if is_filled else Decimal(0),
        "volume": ticket.volume if fill is None else fill.volume,
        "remaining_volume": ticket.remaining_volume,
        "executed_volume": ticket.executed_volume,
        "trades_count": len(ticket.fills),
        "reserved_fee": ticket.reserved_fee,
        "remaining_fee": ticket.remaining_fee,
        "paid_fee": ticket.paid_fee,
        "locked": ticket.locked,
        "executed_funds": ticket.executed_funds,
        "time_in_force": ticket.time_in_force,
        "trade_fee": None if fill is None else fill.fee,
        "is_maker": None if fill is None else fill.is_maker,
        "identifier": ticket.identifier,
        "smp_type": ticket.smp_type,
        "prevented_volume": ticket.prevented_volume,
        "prevented_locked": ticket.prevented_locked,
        "trade_timestamp": None if fill is None else to_ms(fill.ts),
        "order_timestamp": to_ms(ticket.created_at),
        "timestamp": now_ms,
    }
