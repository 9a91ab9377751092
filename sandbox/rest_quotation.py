"""The quotation half of the REST interface: markets, candles, trades, tickers, books."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice

from starlette.routing import Route

from jobs.upbit.ticks import NONE_STATED, tick_size
from sandbox.books import DEPTH
from sandbox.candles import MINUTES, candle_row, change_fields
from sandbox.gate import Ask, quotation
from sandbox.markets import market_row
from sandbox.recording import from_minute, to_minute
from sandbox.refusals import BAD_PARAMETER, MISSING_PARAMETER, TYPE_MISMATCH, Quotation
from sandbox.tape import Trade, from_ms, to_ms
from sandbox.venue import Venue

MAX_CANDLES = 200
MAX_TRADES = 500
MAX_DAYS_AGO = 7
NOT_FOUND = Quotation("Code not found", 404)
_CLOCK_TIME = re.compile(r"^(\d\d):?(\d\d):?(\d\d)$")
_INSTANT = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?$")


def routes(venue: Venue) -> list[Route]:
    """Every quotation route."""
    handlers: list[tuple[str, str, Callable[[Ask], object]]] = [
        ("/v1/market/all", "market", market_all),
        ("/v1/candles/minutes/{unit}", "candle", minute_candles),
        ("/v1/candles/minutes", "candle", minute_candles),
        *(
            (f"/v1/candles/{unit}", "candle", partial(unit_candles, unit=unit))
            for unit in ("seconds", "days", "weeks", "months", "years")
        ),
        ("/v1/trades/ticks", "trade", trades),
        ("/v1/ticker", "ticker", tickers),
        ("/v1/ticker/all", "ticker", all_tickers),
        ("/v1/orderbook", "orderbook", orderbooks),
        ("/v1/orderbook/instruments", "orderbook", instruments),
    ]
    return [
        Route(path, quotation(venue, group, handle), methods=["GET"])
        for path, group, handle in handlers
    ]


def market_all(ask: Ask) -> object:
    """Every market."""
    wanted = ask.params.get("is_details") or ask.params.get("isDetails") or "false"
    if wanted.lower() not in ("true", "false"):
        raise Quotation(TYPE_MISMATCH)
    details = wanted.lower() == "true"
    options = ask.venue.options
    return [
        market_row(
            market,
            details=details,
            warning=market in options.warned,
            cautions=options.cautions.get(market, ()),
        )
        for market in ask.venue.listed
    ]


def minute_candles(ask: Ask) -> object:
    """Candles of some minutes, newest first."""
    unit = ask.path.get("unit", "1")
    if not unit.isdecimal() or int(unit) not in MINUTES:
        raise Quotation(BAD_PARAMETER)
    return [row | {"unit": int(unit)} for row in _candle_rows(ask, unit)]


def unit_candles(ask: Ask, *, unit: str) -> object:
    """Candles of seconds, days, weeks, months or years, newest first."""
    rows = _candle_rows(ask, unit)
    if unit == "days":
        for row in rows:
            _add_change(ask, row)
    elif unit != "seconds":
        for row in rows:
            row["first_day_of_period"] = str(row["candle_date_time_utc"])[:10]
    return rows


def _candle_rows(ask: Ask, unit: str) -> list[dict[str, object]]:
    market = _market(ask)
    count = _whole(ask, "count", 1)
    if count > MAX_CANDLES and ask.venue.options.candle_count_over_200 == "clamp":
        count = MAX_CANDLES
    if not 1 <= count <= MAX_CANDLES:
        raise Quotation(BAD_PARAMETER)
    found = ask.venue.quotes.candles(
        market,
        unit,
        count=count,
        before=_instant(ask.params.get("to")),
        now=ask.now - timedelta(milliseconds=ask.venue.options.candle_lag_ms),
    )
    return [candle_row(market, candle) for candle in found]


def _add_change(ask: Ask, row: dict[str, object]) -> None:
    start = datetime.fromisoformat(str(row["candle_date_time_utc"])).replace(tzinfo=UTC)
    previous = ask.venue.quotes.previous_close(str(row["market"]), start)
    row |= change_fields(Decimal(str(row["trade_price"])), previous)
    if unit := ask.params.get("converting_price_unit"):
        row["converted_trade_price"] = row["trade_price"] if unit == "KRW" else None


def trades(ask: Ask) -> object:
    """Trades, newest first."""
    market = _market(ask)
    count = _whole(ask, "count", 1)
    days_ago = _whole(ask, "days_ago", 0)
    if not (1 <= count <= MAX_TRADES and 0 <= days_ago <= MAX_DAYS_AGO):
        raise Quotation(BAD_PARAMETER)
    before_ms = to_ms(_trades_end(ask, days_ago)) + 1
    if cursor := _whole(ask, "cursor", 0):
        before_ms = min(before_ms, cursor // 10_000)
    day = from_minute(to_minute(from_ms(before_ms)) // 1440 * 1440)
    previous = ask.venue.quotes.previous_close(market, day)
    found = islice(ask.venue.quotes.trades(market, before_ms), count)
    return [_trade_row(market, trade, previous) for trade in found]


def _trades_end(ask: Ask, days_ago: int) -> datetime:
    end = ask.now - timedelta(days=days_ago)
    if days_ago:
        end = end.replace(hour=23, minute=59, second=59, microsecond=999_000)
    if (text := ask.params.get("to")) is None:
        return end
    matched = _CLOCK_TIME.match(text)
    if matched is None:
        raise Quotation(BAD_PARAMETER)
    hour, minute, second = map(int, matched.groups())
    try:
        return min(end, end.replace(hour=hour, minute=minute, second=second, microsecond=0))
    except ValueError as exc:
        raise Quotation(BAD_PARAMETER) from exc


def _trade_row(market: str, trade: Trade, previous: Decimal) -> dict[str, object]:
    at = from_ms(trade.ms)
    return {
        "market": market,
        "trade_date_utc": f"{at:%Y-%m-%d}",
        "trade_time_utc": f"{at:%H:%M:%S}",
        "timestamp": trade.ms,
        "trade_price": trade.price,
        "trade_volume": trade.volume,
        "prev_closing_price": previous,
        "change_price": trade.price - previous,
        "ask_bid": trade.taker,
        "sequential_id": trade.sequential_id,
    }


def tickers(ask: Ask) -> object:
    """The tickers of the named markets."""
    return [ask.venue.quotes.ticker(market, ask.now) for market in _markets(ask)]


def all_tickers(ask: Ask) -> object:
    """The tickers of all markets of some quote currencies (`quoteCurrencies` of old: also)."""
    wanted = ask.params.listed("quote_currencies") or ask.params.listed("quoteCurrencies")
    if not wanted:
        raise Quotation(MISSING_PARAMETER)
    quotes = ask.venue.quotes
    chosen = [market for market in ask.venue.listed if market.partition("-")[0] in wanted]
    return [quotes.ticker(market, ask.now) for market in chosen]


def orderbooks(ask: Ask) -> object:
    """The books of the named markets; a level other than 0 is supported by none here."""
    markets = _markets(ask)
    level = ask.params.get("level") or "0"
    count = min(_whole(ask, "count", DEPTH), DEPTH)
    try:
        if Decimal(level) != 0:
            return []
    except ArithmeticError as exc:
        raise Quotation(TYPE_MISMATCH) from exc
    return [_book_row(ask, market, count) for market in markets]


def _book_row(ask: Ask, market: str, count: int) -> dict[str, object]:
    book = ask.venue.quotes.book(market, ask.now)
    units = book.units[: max(count, 1)]
    return {
        "market": market,
        "timestamp": to_ms(book.ts),
        "total_ask_size": sum((unit.ask_size for unit in book.units), Decimal(0)),
        "total_bid_size": sum((unit.bid_size for unit in book.units), Decimal(0)),
        "orderbook_units": [
            {
                "ask_price": unit.ask_price,
                "bid_price": unit.bid_price,
                "ask_size": unit.ask_size,
                "bid_size": unit.bid_size,
            }
            for unit in units
        ],
        "level": 0,
    }


def instruments(ask: Ask) -> object:
    """Tick sizes at the present prices."""
    return [_instrument(ask, market) for market in _markets(ask)]


def _instrument(ask: Ask, market: str) -> dict[str, object]:
    price = ask.venue.quotes.last_trade(market, ask.now).price
    stated = ask.venue.ticks().get(market, NONE_STATED)
    return {
        "market": market,
        "quote_currency": market.partition("-")[0],
        "tick_size": format(tick_size(market, price, stated), "f"),
        "supported_levels": ["0"],
    }


def _market(ask: Ask) -> str:
    market = ask.params.get("market")
    if market is None:
        raise Quotation(MISSING_PARAMETER)
    return _listed(ask, market)


def _markets(ask: Ask) -> list[str]:
    wanted = ask.params.listed("markets")
    if not wanted:
        raise Quotation(MISSING_PARAMETER)
    return [_listed(ask, market) for market in wanted]


def _listed(ask: Ask, market: str) -> str:
    """The market's code in capitals; one unknown code fails the whole request."""
    code = market.upper()
    if code not in ask.venue.quotes.tape.reels or code in ask.venue.options.delisted:
        raise NOT_FOUND
    return code


def _whole(ask: Ask, name: str, default: int) -> int:
    text = ask.params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?\d{1,20}", text):
        raise Quotation(TYPE_MISMATCH)
    return int(text)


def _instant(text: str | None) -> datetime | None:
    """An ISO time; without an offset it is UTC."""
    if text is None:
        return None
    if not _INSTANT.match(text):
        raise Quotation(BAD_PARAMETER)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise Quotation(BAD_PARAMETER) from exc
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
