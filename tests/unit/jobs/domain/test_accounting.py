"""What the books say is believed as far as the venue has it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.domain.accounting import SETTLING, Books, covered, middle, missing, portfolio_of, risen
from jobs.domain.ledger import Holding
from jobs.domain.order_states import State
from jobs.domain.portfolio import Money, OpenOrder

NOW = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
A, B = "KRW-A", "KRW-B"
HELD = {
    A: Holding(volume=Decimal(2), avg_price=Decimal(100)),
    B: Holding(volume=Decimal(1), avg_price=Decimal(50)),
}
PRICES = {A: Decimal(90), B: Decimal(50)}


def money(**totals: str) -> Money:
    """Balances that were asked for; a coin that is not named has no row."""
    volumes = {name: Decimal(each) for name, each in totals.items()}
    return Money(
        free_krw=Decimal(1000),
        total_krw=Decimal(1000),
        at=NOW,
        free_volumes=volumes,
        total_volumes=volumes,
    )


def books(**changes: object) -> Books:
    values: dict[str, object] = {
        "holdings": HELD,
        "realized_krw": Decimal(0),
        "peak_krw": Decimal(0),
        "opened_krw": Decimal(0),
        "unseen_krw": Decimal(0),
        "orders_today": 0,
        "open_orders": (),
        "last_order_at": None,
        "exit_refused_at": None,
        **changes,
    }
    return Books(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ({"A": "2", "B": "1"}, {}),
        ({"A": "3", "B": "1"}, {}),  # more is the user's own
        ({"B": "1"}, {A: 2}),
        ({"A": "0.5", "B": "1"}, {A: Decimal("1.5")}),
        ({}, {A: 2, B: 1}),
        ({"A": "0", "B": "0"}, {A: 2, B: 1}),
    ],
)
def test_a_coin_without_a_row_is_one_of_which_there_is_none(
    totals: dict[str, str], expected: dict[str, Decimal]
) -> None:
    assert missing(HELD, money(**totals), {}) == expected


def test_balances_that_were_not_asked_for_say_nothing() -> None:
    unknown = Money(free_krw=Decimal(0), total_krw=Decimal(0), at=NOW)
    assert missing(HELD, unknown, {}) == {}
    assert portfolio_of(books(), A, money=unknown, prices=PRICES).sellable(A) == 2


@pytest.mark.parametrize(
    ("moved_at", "is_missing"),
    [
        (NOW + timedelta(seconds=1), False),  # bought after the balances were asked
        (NOW - SETTLING + timedelta(seconds=1), False),
        (NOW - SETTLING, True),
    ],
)
def test_books_that_have_just_moved_wait_for_the_balances(
    moved_at: datetime, *, is_missing: bool
) -> None:
    known = books(moved_at={A: moved_at, B: NOW - timedelta(hours=1)})
    found = portfolio_of(known, A, money=money(B="1"), prices=PRICES)
    assert (A in found.missing) is is_missing
    assert (A in found.holdings) is not is_missing
    assert found.sellable(A) == (0 if is_missing else 2)


def test_coins_that_are_gone_count_in_no_figure() -> None:
    before = portfolio_of(books(), B, money=money(A="2", B="1"), prices=PRICES)
    assert [before.equity_krw, before.day_loss_krw] == [1000 + 180 + 50, 20]
    after = portfolio_of(books(), B, money=money(B="1"), prices={A: Decimal(1), B: Decimal(50)})
    assert [after.equity_krw, after.day_loss_krw, after.drawdown_pct] == [1050, 0, 0]
    assert after.taken_markets(Decimal(1)) == {B}
    assert after.exposure_krw(A) == after.sellable(A) == 0
    assert covered(HELD, {A: Decimal(2)}) == {B: HELD[B]}


def test_no_more_is_sold_than_is_free_and_the_cause_is_named() -> None:
    partly = portfolio_of(books(), A, money=money(A="0.5", B="1"), prices=PRICES)
    assert partly.sellable(A) == Decimal("0.5")
    gone = portfolio_of(books(), A, money=money(B="1"), prices=PRICES)
    assert gone.why_unsellable(A) == "the exchange does not have 2 of what the books hold in KRW-A"
    locked = Money(
        free_krw=Decimal(0),
        total_krw=Decimal(0),
        at=NOW,
        free_volumes={"A": Decimal(0), "B": Decimal(1)},
        total_volumes={"A": Decimal(2), "B": Decimal(1)},
    )
    by_others = portfolio_of(books(), A, money=locked, prices=PRICES)
    assert by_others.sellable(A) == 0
    assert by_others.why_unsellable(A) == "2 are locked by orders that are not the daemon's"
    ask = OpenOrder(
        identifier="upd-1",
        market=A,
        side="ask",
        state=State.WAIT,
        reserved_krw=Decimal(0),
        volume=Decimal(2),
    )
    by_us = portfolio_of(books(open_orders=(ask,)), A, money=locked, prices=PRICES)
    assert by_us.why_unsellable(A) == "order upd-1 sells it already and is wait"


@pytest.mark.parametrize(
    ("peak", "recent", "expected"),
    [
        ("10", [], "10"),  # nothing held so long yet
        ("10", ["5", "20", "30"], "10"),
        ("10", ["20", "30", "25"], "20"),
        ("10", ["20", "30", "9"], "10"),
        ("0", ["-5", "-1"], "0"),
    ],
)
def test_the_highest_profit_is_what_all_recent_samples_had(
    peak: str, recent: list[str], expected: str
) -> None:
    assert risen(Decimal(peak), [Decimal(each) for each in recent]) == Decimal(expected)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([], "0"), (["7"], "7"), (["1", "9"], "1"), (["1", "70", "2"], "2"), (["3", "1", "2"], "2")],
)
def test_a_day_begins_with_the_middle_of_the_last_samples(
    samples: list[str], expected: str
) -> None:
    assert middle([Decimal(each) for each in samples]) == Decimal(expected)
