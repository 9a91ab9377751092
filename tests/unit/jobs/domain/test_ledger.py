"""Fills become positions, exactly: golden figures of the venue and properties of any history."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.errors import BadData
from jobs.domain.ledger import Fill, Holding, book, fold, refee, split_fee

T0 = datetime(2026, 1, 5, tzinfo=UTC)


def fill(side: str, price: str, volume: str, fee: str = "0") -> Fill:
    return Fill(
        uuid=f"{side}-{price}-{volume}",
        side="bid" if side == "bid" else "ask",
        price=Decimal(price),
        volume=Decimal(volume),
        funds=Decimal(price) * Decimal(volume),
        fee=Decimal(fee),
        ts=T0,
    )


def test_a_buy_from_nothing_opens_at_its_price_and_realizes_its_fee() -> None:
    holding, realized = book(Holding(), fill("bid", "160594000", "0.00003736", "2.99989592"))
    assert holding == Holding(
        volume=Decimal("0.00003736"),
        avg_price=Decimal(160594000),
        realized_krw=Decimal("-2.99989592"),
        high_price=Decimal(160594000),
        opened_at=T0,
    )
    assert realized == Decimal("-2.99989592")


def test_the_average_price_leaves_fees_out() -> None:
    holding = fold([fill("bid", "100", "1", "5"), fill("bid", "200", "3", "5")])
    assert holding.avg_price == 175
    assert holding.realized_krw == -10


def test_a_sale_realizes_proceeds_less_its_fee_and_its_cost() -> None:
    held = fold([fill("bid", "100", "4", "1")])
    holding, realized = book(held, fill("ask", "150", "1", "0.5"))
    assert realized == Decimal("49.5")
    assert holding.volume == 3
    assert holding.avg_price == 100
    assert holding.realized_krw == Decimal("48.5")


def test_selling_everything_closes_the_position_and_keeps_its_profit() -> None:
    holding = fold([fill("bid", "100", "2", "1"), fill("ask", "90", "2", "1")])
    assert holding == Holding(realized_krw=Decimal(-22))


def test_reopening_starts_a_new_high() -> None:
    holding = fold([fill("bid", "100", "1"), fill("ask", "90", "1"), fill("bid", "80", "1")])
    assert holding.high_price == 80


def test_adding_keeps_the_opening_time_and_the_higher_high() -> None:
    later = Fill(
        uuid="later",
        side="bid",
        price=Decimal(120),
        volume=Decimal(1),
        funds=Decimal(120),
        fee=Decimal(0),
        ts=datetime(2026, 1, 6, tzinfo=UTC),
    )
    holding = fold([fill("bid", "100", "1"), later])
    assert holding.opened_at == T0
    assert holding.high_price == 120


def test_selling_more_than_is_held_is_refused() -> None:
    with pytest.raises(BadData, match="sold more than is held"):
        book(Holding(volume=Decimal(1)), fill("ask", "100", "1.00000001"))


def test_value_and_unrealized_profit_are_at_the_given_price() -> None:
    holding = fold([fill("bid", "100", "0.5")])
    assert holding.value(Decimal(130)) == 65
    assert holding.unrealized(Decimal(130)) == 15


def test_a_corrected_fee_moves_the_profit_by_the_difference() -> None:
    holding = refee(
        Holding(realized_krw=Decimal(-3)), before=Decimal(3), after=Decimal("3.00000001")
    )
    assert holding.realized_krw == Decimal("-3.00000001")


def test_money_with_more_than_28_digits_is_not_rounded() -> None:
    volume = Decimal("123456789.12345678")
    bought = fill("bid", "987654.12345678", "123456789.12345678", "0.00000000000000000001")
    holding = fold([bought])
    assert holding.volume == volume
    assert holding.realized_krw == Decimal("-0.00000000000000000001")


@pytest.mark.parametrize(
    ("paid_fee", "funds", "parts"),
    [
        ("2.99989592", ["5999.79184"], ["2.99989592"]),  # the reference's market buy
        ("3.697095875", ["7394.19175"], ["3.697095875"]),  # the reference's market sell
        ("1.5", ["1000", "2000"], ["0.5", "1"]),
        ("0", ["1000", "2000"], ["0", "0"]),
        ("1", ["1", "1", "1"], ["0.33333333333333333333"] * 2 + ["0.33333333333333333334"]),
        ("0.0000000000000000000002", ["1", "1", "1"], ["0", "0", "0.0000000000000000000002"]),
        ("0.0000000000000000000001", ["1", "1"], ["0.00000000000000000000005"] * 2),
    ],
)
def test_a_fee_is_split_by_funds_to_the_last_digit(
    paid_fee: str, funds: list[str], parts: list[str]
) -> None:
    assert split_fee(Decimal(paid_fee), [Decimal(f) for f in funds]) == [Decimal(p) for p in parts]


def test_without_fills_there_is_nothing_to_split() -> None:
    assert split_fee(Decimal(1), []) == []


amounts = st.decimals(min_value="0.00000001", max_value="1000000000", places=8)
fees = st.decimals(min_value=0, max_value="1000000", places=16)


@given(paid_fee=fees, funds=st.lists(amounts, min_size=1, max_size=20))
def test_the_parts_of_a_fee_sum_to_it_and_none_is_negative(
    paid_fee: Decimal, funds: list[Decimal]
) -> None:
    parts = split_fee(paid_fee, funds)
    assert sum(parts) == paid_fee
    assert min(parts) >= 0


@given(funds=st.lists(amounts, min_size=1, max_size=20))
def test_with_the_venues_one_rate_each_part_is_funds_times_rate(funds: list[Decimal]) -> None:
    rate = Decimal("0.0005")
    assert split_fee(rate * sum(funds), funds) == [rate * each for each in funds]


@st.composite
def histories(draw: st.DrawFn) -> list[Fill]:
    """Fills in an order that can happen: never selling more than is held."""
    held, fills = Decimal(0), []
    prices = st.decimals(min_value="0.00000001", max_value="200000000", places=8)
    for number in range(draw(st.integers(min_value=1, max_value=25))):
        sells = held > 0 and draw(st.booleans())
        most = held if sells else Decimal(1000)
        volume = draw(st.decimals(min_value="0.00000001", max_value=most, places=8))
        made = fill("ask" if sells else "bid", str(draw(prices)), str(volume))
        fee = made.funds * Decimal("0.0005")
        fills.append(
            Fill(
                uuid=str(number),
                side=made.side,
                price=made.price,
                volume=made.volume,
                funds=made.funds,
                fee=fee,
                ts=T0,
            )
        )
        held += -volume if sells else volume
    return fills


@given(history=histories())
def test_the_sum_of_fills_is_the_position(history: list[Fill]) -> None:
    signed = (f.volume if f.side == "bid" else -f.volume for f in history)
    assert fold(history).volume == sum(signed)


@given(history=histories())
def test_profit_is_what_came_in_less_what_went_out_plus_what_the_rest_cost(
    history: list[Fill],
) -> None:
    """Cash, positions and fees are conserved, to the rounding of the average price."""
    cash = sum((f.funds if f.side == "ask" else -f.funds) - f.fee for f in history)
    holding = fold(history)
    turnover = sum(f.funds for f in history)
    off = abs(holding.realized_krw - (cash + holding.avg_price * holding.volume))
    assert off <= turnover * Decimal("1e-24")


@given(history=histories())
def test_the_profits_of_single_fills_sum_to_that_of_the_position(history: list[Fill]) -> None:
    holding, total = Holding(), Decimal(0)
    for each in history:
        holding, realized = book(holding, each)
        total += realized
    assert abs(total - holding.realized_krw) <= Decimal("1e-12")
