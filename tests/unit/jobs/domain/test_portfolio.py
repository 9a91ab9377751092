"""Facts of a portfolio that are computed, not stored."""

from decimal import Decimal

import pytest

from jobs.domain.ledger import Holding
from jobs.domain.order_states import State
from jobs.domain.portfolio import OpenOrder, Portfolio, drawdown_pct


def bid(market: str, krw: str) -> OpenOrder:
    return OpenOrder(
        identifier="upd-1",
        market=market,
        side="bid",
        state=State.WAIT,
        reserved_krw=Decimal(krw),
        volume=Decimal(0),
    )


PORTFOLIO = Portfolio(
    cash_krw=Decimal(0),
    equity_krw=Decimal(0),
    day_loss_krw=Decimal(0),
    drawdown_pct=Decimal(0),
    orders_today=0,
    holdings={
        "KRW-A": Holding(volume=Decimal(2), avg_price=Decimal(100)),
        "KRW-B": Holding(volume=Decimal(1), avg_price=Decimal(100)),
    },
    prices={"KRW-A": Decimal(130)},
    open_orders=(bid("KRW-A", "50"), bid("KRW-C", "7")),
)


def test_a_holding_is_worth_its_price_and_its_cost_while_there_is_none() -> None:
    assert PORTFOLIO.held_krw("KRW-A") == 260
    assert PORTFOLIO.held_krw("KRW-B") == 100
    assert PORTFOLIO.held_krw("KRW-C") == 0


def test_exposure_counts_open_bids_as_filled() -> None:
    assert PORTFOLIO.exposure_krw("KRW-A") == 310
    assert PORTFOLIO.exposure_krw("KRW-C") == 7


def test_open_bids_take_a_place_and_dust_takes_none() -> None:
    assert PORTFOLIO.taken_markets(Decimal(101)) == {"KRW-A", "KRW-C"}


@pytest.mark.parametrize(
    ("pnl", "peak", "equity", "expected"),
    [
        ("0", "0", "1000", "0"),
        ("-100", "0", "900", "10"),
        ("100", "300", "1000", "16.66666666666666666666666667"),
        ("300", "100", "1000", "0"),
        ("-10", "0", "0", "100"),
        ("-10", "0", "-5", "100"),
    ],
)
def test_drawdown_is_measured_on_profit_under_its_peak(
    pnl: str, peak: str, equity: str, expected: str
) -> None:
    found = drawdown_pct(pnl_krw=Decimal(pnl), peak_krw=Decimal(peak), equity_krw=Decimal(equity))
    assert found == Decimal(expected)
