"""The exchange's own SDK (upbit-sdk) understands all that the sandbox shows: quotes and accounts.

Its models name every field of the real answers, so each answer is validated by them.
"""

from decimal import Decimal
from typing import Any

import pytest
import upbit
from fixtures.sdk import valid
from fixtures.venue import Venue


def test_trading_pairs(client: upbit.Upbit) -> None:
    pairs = client.trading_pairs.list(is_details=True)
    assert {"KRW-BTC", "KRW-XRP"} <= {pair.market for pair in pairs}
    for pair in pairs:
        valid(pair)


def test_tickers(client: upbit.Upbit) -> None:
    some = client.tickers.list_by_trading_pairs(markets="KRW-BTC,KRW-ETH")
    assert [ticker.market for ticker in some] == ["KRW-BTC", "KRW-ETH"]
    every = client.tickers.list_by_quote_currencies(quote_currencies="KRW")
    assert len(every) == len(client.trading_pairs.list())
    for ticker in (*some, *every):
        valid(ticker)
        assert Decimal(ticker.low_price) <= Decimal(ticker.trade_price)
        assert Decimal(ticker.trade_price) <= Decimal(ticker.high_price)


def test_candles_of_minutes_page_backwards(client: upbit.Upbit) -> None:
    first = client.candles.list_minutes(1, market="KRW-BTC", count=200)
    assert len(first) == 200
    older = client.candles.list_minutes(
        1, market="KRW-BTC", count=200, to=first[-1].candle_date_time_utc
    )
    starts = [candle.candle_date_time_utc for candle in (*first, *older)]
    assert starts == sorted(set(starts), reverse=True)
    for candle in (*first[:3], *older[:3]):
        valid(candle)


@pytest.mark.parametrize("width", ["seconds", "days", "weeks", "months"])
def test_candles_of_other_widths(client: upbit.Upbit, width: str) -> None:
    candles = getattr(client.candles, f"list_{width}")(market="KRW-BTC", count=2)
    assert 1 <= len(candles) <= 2
    for candle in candles:
        valid(candle)


def test_years_and_converted_prices(client: upbit.Upbit) -> None:
    valid(client.candles.list_years(market="KRW-BTC", count=1)[0])
    (day,) = client.candles.list_days(market="KRW-BTC", count=1, converting_price_unit="KRW")
    valid(day)
    assert day.converted_trade_price == day.trade_price


def test_trades_are_paged_by_cursor(client: upbit.Upbit) -> None:
    first = client.trades.list(market="KRW-BTC", count=10)
    older = client.trades.list(market="KRW-BTC", count=10, cursor=str(first[-1].sequential_id))
    numbers = [trade.sequential_id for trade in (*first, *older)]
    assert numbers == sorted(set(numbers), reverse=True)
    for trade in first:
        valid(trade)


def test_order_books_and_instruments(client: upbit.Upbit) -> None:
    for book in client.orderbooks.list(markets="KRW-BTC,KRW-DOGE", count=15):
        valid(book)
        assert len(book.orderbook_units) == 15
    for instrument in client.orderbooks.list_instruments(markets="KRW-BTC,KRW-DOGE"):
        valid(instrument)
        assert "0" in instrument.supported_levels


def test_every_answer_tells_the_rest_of_the_quota(client: upbit.Upbit) -> None:
    raw = client.tickers.with_raw_response.list_by_trading_pairs(markets="KRW-BTC")
    assert raw.headers["Remaining-Req"].startswith("group=ticker; min=600; sec=")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.tickers.list_by_trading_pairs(markets="KRW-NONE"), upbit.NotFoundError),
        (lambda c: c.candles.list_minutes(2, market="KRW-BTC"), upbit.BadRequestError),
        (lambda c: c.candles.list_minutes(1, market="KRW-BTC", to="noon"), upbit.BadRequestError),
        (lambda c: c.orderbooks.list(markets=""), upbit.BadRequestError),
    ],
)
def test_quotation_errors_are_typed(client: upbit.Upbit, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        call(client)
    body: Any = refused.value.body  # type: ignore[attr-defined]
    name = body["error"]["name"] if "error" in body else body["name"]
    assert name == refused.value.status_code, "quotation errors are numbers"  # type: ignore[attr-defined]


def test_accounts_keys_and_wallets(client: upbit.Upbit, venue: Venue) -> None:
    accounts = client.accounts.list()
    held = {row.currency: (Decimal(row.balance), Decimal(row.locked)) for row in accounts}
    assert held == venue.balances()
    (key,) = client.api_keys.list()
    assert key.access_key == venue.access_key
    wallets = client.wallet_status.list()
    assert "BTC" in {wallet.currency for wallet in wallets}
    for row in (*accounts, key, *wallets):
        valid(row)


def test_the_chance(client: upbit.Upbit, venue: Venue) -> None:
    chance = client.orders.retrieve_chance(market="KRW-BTC")
    valid(chance)
    assert Decimal(chance.bid_account.balance) == venue.balances()["KRW"][0]
    assert {"limit", "price", "best_ioc"} <= set(chance.market.bid_types)
    assert {"limit", "market", "best_fok"} <= set(chance.market.ask_types)
