"""What the paper exchange says without touching its account."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

import pytest

from jobs.domain.exchange import Exchange, Quotes
from jobs.matching.engine import Rules
from jobs.orders.paper_exchange import PaperExchange
from jobs.store.db import Database


def paper(rules: Rules | None = None) -> Exchange:
    """A paper exchange that fails when it reaches for its account or for a quote."""
    return PaperExchange(
        cast(Database, None),
        cast(Quotes, None),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        rules=rules,
    )


@pytest.mark.parametrize(
    ("market", "fee", "min_total", "max_total"),
    [
        ("KRW-BTC", "0.0005", "5000", "1000000000"),
        ("BTC-ETH", "0.0025", "0.00005", "10"),
        ("USDT-BTC", "0.0025", "0.5", "1000000000"),
    ],
)
async def test_each_market_has_its_fee_and_its_totals(
    market: str, fee: str, min_total: str, max_total: str
) -> None:
    chance = await paper().chance(market)
    assert (chance.market, chance.state) == (market, "active")
    assert chance.bid_fee == chance.ask_fee == Decimal(fee)
    assert chance.bid_min_total == chance.ask_min_total == Decimal(min_total)
    assert chance.max_total == Decimal(max_total)
    assert "price" in chance.bid_types
    assert "market" in chance.ask_types


async def test_a_promotion_changes_the_fee_of_its_market_only() -> None:
    exchange = paper(Rules(fees={"KRW-XRP": Decimal(0)}))
    assert (await exchange.chance("KRW-XRP")).bid_fee == 0
    assert (await exchange.chance("KRW-BTC")).bid_fee == Decimal("0.0005")
