"""Risk: every limit at its edge, the sizes of orders, and that no order is ever beyond a limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.due_exits import DueExit
from jobs.domain.halt import Halt, HaltLevel
from jobs.domain.ledger import Holding
from jobs.domain.order_states import State
from jobs.domain.portfolio import OpenOrder, Portfolio, Rules, SignalFact, Wish
from jobs.domain.risk import Approved, Refusal, assess, day_start
from jobs.domain.settings import Settings
from jobs.upbit import ticks
from jobs.upbit.wire import Chance, Level, Orderbook, OrderRequest

NOW = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
BTC = "KRW-BTC"
CHANCE = Chance(
    market=BTC,
    bid_fee=Decimal("0.0005"),
    ask_fee=Decimal("0.0005"),
    bid_min_total=Decimal(5000),
    ask_min_total=Decimal(5000),
    max_total=Decimal(1_000_000_000),
    state="active",
    bid_types=("best_ioc", "limit", "price"),
    ask_types=("market",),
)


def book(ask: Decimal | int, bid: Decimal | int, size: Decimal | int = 10**6) -> Orderbook:
    level = Level(
        ask_price=Decimal(ask),
        ask_size=Decimal(size),
        bid_price=Decimal(bid),
        bid_size=Decimal(size),
    )
    return Orderbook(market=BTC, ts=NOW, units=(level,))


RULES = Rules(
    chance=CHANCE,
    price=Decimal(100_000_000),
    book=book(100_001_000, 100_000_000),
    recent_price=Decimal(100_000_000),
    data_at=NOW - timedelta(seconds=30),
)
HALTED = Halt(level=HaltLevel.ALL, by="me")
SIGNAL = SignalFact(
    id=7,
    market=BTC,
    action="buy",
    confidence=Decimal("0.8"),
    created_at=NOW - timedelta(seconds=10),
)
BUY = Wish(
    market=BTC, side="bid", purpose="entry", identifier="upd-1", reason="signal 7", signal=SIGNAL
)
SELL = Wish(
    market=BTC,
    side="ask",
    purpose="exit",
    identifier="upd-2",
    reason="signal 7",
    signal=replace(SIGNAL, action="sell"),
)
STOP = Wish(market=BTC, side="ask", purpose="stop_loss", identifier="upd-3", reason="price fell")
FLATTEN = Wish(market=BTC, side="ask", purpose="flatten", identifier="upd-4", reason="flatten")
EMPTY = Portfolio(
    cash_krw=Decimal(10_000_000),
    equity_krw=Decimal(10_000_000),
    day_loss_krw=Decimal(0),
    drawdown_pct=Decimal(0),
    orders_today=0,
    holdings={},
    prices={},
    open_orders=(),
)
HOLDING = Holding(
    volume=Decimal("0.001"), avg_price=Decimal(100_000_000), high_price=Decimal(100_000_000)
)
HELD = replace(EMPTY, holdings={BTC: HOLDING}, prices={BTC: Decimal(100_000_000)})


def open_order(market: str = BTC, side: str = "bid", state: State = State.WAIT) -> OpenOrder:
    return OpenOrder(
        identifier="upd-open",
        market=market,
        side="bid" if side == "bid" else "ask",
        state=state,
        reserved_krw=Decimal(100_050) if side == "bid" else Decimal(0),
        volume=Decimal(0) if side == "bid" else Decimal("0.0004"),
    )


def refusal(
    wish: Wish,
    portfolio: Portfolio = EMPTY,
    settings: Settings | None = None,
    rules: Rules = RULES,
) -> Refusal:
    verdict = assess(wish, portfolio, settings or Settings(), rules, now=NOW)
    assert isinstance(verdict, Refusal)
    return verdict


def approved(
    wish: Wish,
    portfolio: Portfolio = EMPTY,
    settings: Settings | None = None,
    rules: Rules = RULES,
) -> Approved:
    verdict = assess(wish, portfolio, settings or Settings(), rules, now=NOW)
    assert isinstance(verdict, Approved), verdict
    return verdict


def aged(seconds: float) -> Wish:
    return replace(BUY, signal=replace(SIGNAL, created_at=NOW - timedelta(seconds=seconds)))


def sure(confidence: str) -> Wish:
    return replace(BUY, signal=replace(SIGNAL, confidence=Decimal(confidence)))


FIVE_HELD = {f"KRW-{n}": Holding(volume=Decimal(1), avg_price=Decimal(5000)) for n in "ABCDE"}

ENTRY_LIMITS = [
    # limit, wish, portfolio, settings, rules, whether the signal ends with it
    ("halted", BUY, EMPTY, Settings(halt=HALTED), RULES, True),
    ("signal_max_age_s", aged(301), EMPTY, Settings(), RULES, True),
    ("min_confidence", sure("0.59"), EMPTY, Settings(), RULES, True),
    ("market", replace(BUY, market="BTC-ETH"), EMPTY, Settings(), RULES, True),
    ("reduce_only", BUY, EMPTY, Settings(), replace(RULES, reduce_only="books differ"), False),
    ("reduce_only", BUY, EMPTY, Settings(), replace(RULES, barred="under a warning"), True),
    (
        "market_state",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, chance=replace(CHANCE, state="preview")),
        False,
    ),
    (
        "unknown_order",
        BUY,
        replace(EMPTY, open_orders=(open_order(state=State.UNKNOWN),)),
        Settings(),
        RULES,
        False,
    ),
    (
        "unknown_order",
        BUY,
        replace(EMPTY, open_orders=(open_order(state=State.SENT),)),
        Settings(),
        RULES,
        False,
    ),
    ("open_order", BUY, replace(EMPTY, open_orders=(open_order(),)), Settings(), RULES, False),
    ("stale_data", BUY, EMPTY, Settings(), replace(RULES, data_at=None), False),
    (
        "stale_data",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, data_at=NOW - timedelta(seconds=181)),
        False,
    ),
    (
        "daily_loss_limit_krw",
        BUY,
        replace(EMPTY, day_loss_krw=Decimal(100_000)),
        Settings(),
        RULES,
        True,
    ),
    (
        "max_drawdown_pct",
        BUY,
        replace(EMPTY, drawdown_pct=Decimal(20)),
        Settings(),
        RULES,
        True,
    ),
    ("max_orders_per_day", BUY, replace(EMPTY, orders_today=50), Settings(), RULES, True),
    (
        "cooldown_s",
        BUY,
        replace(EMPTY, last_order_at=NOW - timedelta(seconds=59)),
        Settings(),
        RULES,
        True,
    ),
    ("max_open_positions", BUY, replace(EMPTY, holdings=FIVE_HELD), Settings(), RULES, True),
    ("max_open_positions", BUY, EMPTY, Settings(max_open_positions=0), RULES, True),
    ("position_size_pct", BUY, replace(EMPTY, equity_krw=Decimal(49_999)), Settings(), RULES, True),
    ("max_position_krw", BUY, EMPTY, Settings(max_position_krw=Decimal(4999)), RULES, True),
    ("cash", BUY, replace(EMPTY, cash_krw=Decimal(5002)), Settings(), RULES, True),
    (
        "entry_order",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, chance=replace(CHANCE, bid_types=("price",))),
        True,
    ),
    (
        "max_position_krw",  # 5,000 KRW can be bought, and its stop-loss cannot be sold
        BUY,
        EMPTY,
        Settings(max_position_krw=Decimal(5400)),
        RULES,
        True,
    ),
    (
        "min_total",  # one coin's eighth decimal is worth more than one won
        BUY,
        EMPTY,
        Settings(
            max_position_krw=Decimal(5000),
            stop_loss_pct=Decimal(0),
            max_exit_slippage_pct=Decimal("0.1"),
        ),
        replace(RULES, chance=replace(CHANCE, ask_min_total=Decimal(4000))),
        True,
    ),
    (
        "daily_loss_limit_krw",  # nothing left for the stop-loss of the least entry
        BUY,
        replace(EMPTY, day_loss_krw=Decimal(99_900)),
        Settings(),
        RULES,
        True,
    ),
    ("entries_per_position", BUY, replace(HELD, entries=1), Settings(), RULES, True),
    (
        "exit_order",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, chance=replace(CHANCE, ask_types=("watch",))),
        False,
    ),
    ("order_book", BUY, EMPTY, Settings(), replace(RULES, book=None), False),
    ("order_book", BUY, EMPTY, Settings(), replace(RULES, book=book(0, 100_000_000)), False),
    ("max_spread_pct", BUY, EMPTY, Settings(), replace(RULES, book=book(100_000_000, 0)), False),
    (
        "max_spread_pct",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, book=book(100_000_000, 98_900_000)),
        False,
    ),
    (
        "max_entry_deviation_pct",  # the ask is 20 % over the last trade
        BUY,
        EMPTY,
        Settings(max_spread_pct=Decimal(0)),
        replace(RULES, book=book(120_000_000, 100_000_000)),
        False,
    ),
    (
        "max_entry_deviation_pct",  # one false trade at the ask's height does not let it pass
        BUY,
        EMPTY,
        Settings(max_spread_pct=Decimal(0)),
        replace(RULES, price=Decimal(120_000_000), book=book(120_000_000, 120_000_000)),
        False,
    ),
    (
        "max_entry_deviation_pct",
        BUY,
        EMPTY,
        Settings(),
        replace(RULES, price=Decimal(98_000_000), recent_price=None),
        False,
    ),
]


@pytest.mark.parametrize(
    ("limit", "wish", "portfolio", "settings", "rules", "final"),
    ENTRY_LIMITS,
    ids=[f"{case[0]}-{number}" for number, case in enumerate(ENTRY_LIMITS)],
)
def test_an_entry_is_refused_by_each_limit_and_by_its_name(
    limit: str, wish: Wish, portfolio: Portfolio, settings: Settings, rules: Rules, final: bool
) -> None:
    found = refusal(wish, portfolio, settings, rules)
    assert (found.limit, found.final) == (limit, final)
    assert found.reason


@pytest.mark.parametrize(
    ("wish", "portfolio", "settings", "rules"),
    [
        (aged(300), EMPTY, Settings(), RULES),
        (sure("0.6"), EMPTY, Settings(), RULES),
        (BUY, EMPTY, Settings(), replace(RULES, data_at=NOW - timedelta(seconds=180))),
        (BUY, replace(EMPTY, day_loss_krw=Decimal(99_500)), Settings(), RULES),
        (BUY, replace(EMPTY, drawdown_pct=Decimal("19.99")), Settings(), RULES),
        (BUY, replace(EMPTY, orders_today=49), Settings(), RULES),
        (BUY, replace(EMPTY, last_order_at=NOW - timedelta(seconds=60)), Settings(), RULES),
        (BUY, replace(EMPTY, equity_krw=Decimal(54_500)), Settings(entry_order="best"), RULES),
        (BUY, EMPTY, Settings(), replace(RULES, book=book(100_900_000, 100_000_000))),
        (
            BUY,
            EMPTY,
            Settings(max_spread_pct=Decimal(0), max_entry_deviation_pct=Decimal(0)),
            replace(RULES, book=book(300_000_000, 33_000_000)),
        ),
        (BUY, replace(HELD, entries=1), Settings(entries_per_position=2), RULES),
        (BUY, replace(EMPTY, open_orders=(open_order("KRW-ETH"),)), Settings(), RULES),
        (
            BUY,
            replace(EMPTY, day_loss_krw=Decimal(10**9), drawdown_pct=Decimal(99)),
            Settings(daily_loss_limit_krw=Decimal(0), max_drawdown_pct=Decimal(0)),
            RULES,
        ),
        (
            BUY,  # four positions and a fifth that is dust
            replace(
                EMPTY,
                holdings={
                    **{m: h for m, h in FIVE_HELD.items() if m != "KRW-E"},
                    "KRW-E": Holding(volume=Decimal(1), avg_price=Decimal(4999)),
                },
            ),
            Settings(),
            RULES,
        ),
        (
            BUY,  # the market's own holding needs no new place
            replace(HELD, equity_krw=Decimal(10**8)),
            Settings(max_open_positions=1),
            RULES,
        ),
    ],
)
def test_an_entry_passes_just_inside_each_limit(
    wish: Wish, portfolio: Portfolio, settings: Settings, rules: Rules
) -> None:
    approved(wish, portfolio, settings, rules)


def test_each_refusal_names_the_fact_and_the_limit() -> None:
    assert refusal(aged(400)).reason == "the signal is 400 s old, limit 300 s"
    assert refusal(sure("0.5")).reason == "confidence 0.5 is under 0.6"
    late = replace(RULES, data_at=NOW - timedelta(seconds=200))
    assert refusal(BUY, rules=late).reason == "market data is 200 s old, limit 180 s"
    lost = replace(EMPTY, day_loss_krw=Decimal("123456.7"))
    assert refusal(BUY, lost).reason == "today's loss is 123457 KRW, limit 100000 KRW"


def test_a_refusal_for_want_of_cash_tells_no_balance() -> None:
    poor = replace(EMPTY, cash_krw=Decimal(4321))
    assert "4321" not in refusal(BUY, poor).reason


def test_a_limit_entry_is_at_the_best_ask_within_its_share_of_equity() -> None:
    verdict = approved(BUY)
    assert verdict.request == OrderRequest(
        market=BTC,
        side="bid",
        ord_type="limit",
        identifier="upd-1",
        price=Decimal(100_001_000),
        volume=Decimal("0.00999990"),
        smp_type="cancel_taker",
    )
    total = Decimal(100_001_000) * Decimal("0.00999990")
    assert verdict.reserved_krw == total * Decimal("1.0005")


@pytest.mark.parametrize(
    ("style", "deviation", "ord_type", "time_in_force"),
    [("market", 0, "price", None), ("best", 1, "best", "ioc")],
)
def test_unbounded_market_and_best_entries_spend_an_amount(
    style: str, deviation: int, ord_type: str, time_in_force: str | None
) -> None:
    settings = Settings(entry_order=style, max_entry_deviation_pct=Decimal(deviation))
    verdict = approved(BUY, settings=settings)
    request = verdict.request
    assert (request.ord_type, request.time_in_force) == (ord_type, time_in_force)
    assert request.price == 1_000_000
    assert request.volume is None
    assert verdict.reserved_krw == Decimal(1_000_500)


def test_the_reference_market_buy_needs_its_fee_on_top() -> None:
    """6,000 KRW need 6,003; with 6,002.99 only 5,999 are spent."""
    settings = Settings(entry_order="best", position_size_pct=Decimal(100))
    rich = replace(EMPTY, cash_krw=Decimal(6003), equity_krw=Decimal(6000))
    assert approved(BUY, rich, settings).reserved_krw == Decimal(6003)
    poor = replace(rich, cash_krw=Decimal("6002.99"))
    assert approved(BUY, poor, settings).request.price == 5999


def test_an_entry_only_tops_a_position_up() -> None:
    verdict = approved(BUY, HELD, Settings(entry_order="best"))
    assert verdict.request.price == 900_000
    full = replace(HELD, equity_krw=Decimal(1_040_000))
    assert refusal(BUY, full).limit == "position_size_pct"


def test_the_largest_order_of_the_market_bounds_an_entry() -> None:
    rules = replace(RULES, chance=replace(CHANCE, max_total=Decimal(300_000)))
    settings = Settings(entry_order="best")
    assert approved(BUY, rules=rules, settings=settings).request.price == 300_000


def test_two_price_steps_are_never_too_wide() -> None:
    """Of a coin of 100 won one step is 1 %."""
    cheap = replace(CHANCE, market="KRW-XYZ")
    signal = replace(SIGNAL, market="KRW-XYZ")
    wish = replace(BUY, market="KRW-XYZ", signal=signal)
    rules = replace(RULES, chance=cheap, price=Decimal(101), recent_price=Decimal(100))
    approved(wish, rules=replace(rules, book=replace(book(102, 100), market="KRW-XYZ")))
    wide = replace(rules, book=replace(book(102, 99), market="KRW-XYZ"))
    assert refusal(wish, rules=wide).limit == "max_spread_pct"
    far = replace(rules, book=replace(book(103, 101), market="KRW-XYZ"))
    assert refusal(wish, rules=far).limit == "max_entry_deviation_pct"


def test_a_market_entry_pays_no_more_than_its_bound() -> None:
    rules = replace(RULES, chance=replace(CHANCE, bid_types=("limit_ioc", "price")))
    request = approved(BUY, rules=rules, settings=Settings(entry_order="market")).request
    assert (request.ord_type, request.time_in_force) == ("limit", "ioc")
    assert request.price == 101_000_000
    assert request.price * (request.volume or 0) <= 1_000_000


def test_an_entry_is_sized_by_what_the_days_loss_limit_has_left() -> None:
    """Sold at its stop (5 %) and the exit's first price (3 %), with both fees, it loses 7.95 %."""
    lost = replace(EMPTY, day_loss_krw=Decimal(60_000))
    request = approved(BUY, lost, Settings(entry_order="best")).request
    assert request.price == 503_144
    assert Decimal(503_144) * Decimal("0.0795") <= 40_000
    no_stop = Settings(entry_order="best", stop_loss_pct=Decimal(0))
    assert approved(BUY, lost, no_stop).request.price == 1_000_000
    trailing = replace(no_stop, trailing_stop_pct=Decimal(5))
    assert approved(BUY, lost, trailing).request.price == 503_144


def test_the_least_entry_is_one_whose_stop_loss_can_be_sold() -> None:
    found = refusal(BUY, replace(EMPTY, equity_krw=Decimal(50_100)))
    assert found.reason == (
        "position_size_pct 10 leaves less than the least entry of 5432 KRW: its own stop-loss "
        "(5 % lower) must still be worth the exchange's minimum of 5000 KRW"
    )
    at_least = Settings(entry_order="best", max_position_krw=Decimal(5432))
    spend = approved(BUY, settings=at_least).request.price
    assert spend is not None
    assert spend * Decimal("0.95") * Decimal("0.97") >= 5000


def test_a_remainder_too_small_to_sell_is_no_first_entry() -> None:
    dust = Holding(volume=Decimal("0.00004"), avg_price=Decimal(100_000_000))
    held = replace(EMPTY, holdings={BTC: dust}, prices={BTC: Decimal(100_000_000)}, entries=1)
    approved(BUY, held)


def test_an_exit_sells_everything_at_market_on_stale_data_in_reduce_only_and_over_limits() -> None:
    portfolio = replace(
        HELD,
        cash_krw=Decimal(0),
        day_loss_krw=Decimal(10**9),
        drawdown_pct=Decimal(99),
        orders_today=10**6,
        last_order_at=NOW,
        holdings={**FIVE_HELD, BTC: HOLDING},
    )
    rules = replace(RULES, data_at=None, reduce_only="books differ", barred="warned", book=None)
    for wish in (SELL, STOP, FLATTEN):
        verdict = approved(wish, portfolio, Settings(), rules)
        assert verdict.request == OrderRequest(
            market=BTC,
            side="ask",
            ord_type="market",
            identifier=wish.identifier,
            volume=Decimal("0.001"),
            smp_type="cancel_taker",
        )
        assert verdict.reserved_krw == 0


def test_halted_stops_exits_as_well_but_not_a_person_who_flattens() -> None:
    halted = Settings(halt=HALTED)
    assert refusal(SELL, HELD, halted).limit == "halted"
    assert refusal(STOP, HELD, halted).limit == "halted"
    approved(FLATTEN, HELD, halted)


def test_a_halt_of_entries_lets_every_exit_go_on() -> None:
    entries = Settings(halt=replace(HALTED, level=HaltLevel.ENTRIES))
    assert refusal(BUY, EMPTY, entries).limit == "halted"
    for wish in (SELL, STOP, FLATTEN):
        approved(wish, HELD, entries)


def test_a_refusal_says_by_whom_and_what_ends_it() -> None:
    assert refusal(BUY, EMPTY, Settings(halt=HALTED)).reason == (
        "halted (all) by me; `upbitd resume` ends it"
    )


def test_a_signal_to_sell_must_be_fresh_and_sure_an_exit_rule_needs_neither() -> None:
    old = replace(SIGNAL, action="sell", created_at=NOW - timedelta(hours=1))
    assert refusal(replace(SELL, signal=old), HELD).limit == "signal_max_age_s"
    vague = replace(SIGNAL, action="sell", confidence=Decimal("0.1"))
    assert refusal(replace(SELL, signal=vague), HELD).limit == "min_confidence"
    approved(STOP, HELD)


def test_what_is_already_being_sold_is_not_sold_again() -> None:
    selling = replace(HELD, open_orders=(open_order(side="ask", state=State.UNKNOWN),))
    assert approved(STOP, selling).request.volume == Decimal("0.0006")
    other = replace(HELD, open_orders=(open_order("KRW-ETH", side="ask"),))
    assert approved(STOP, other).request.volume == Decimal("0.001")


def test_a_sale_is_at_most_what_the_venue_lets_go() -> None:
    assert approved(STOP, replace(HELD, free_volume=Decimal("0.0007"))).request.volume == Decimal(
        "0.0007"
    )
    assert refusal(STOP, replace(HELD, free_volume=Decimal(0))).limit == "holding"


def test_nothing_held_is_nothing_to_sell() -> None:
    assert refusal(STOP).limit == "holding"


def test_dust_is_explained() -> None:
    tiny = Holding(volume=Decimal("0.00004"), avg_price=Decimal(100_000_000))
    found = refusal(STOP, replace(HELD, holdings={BTC: tiny}))
    assert found.limit == "dust"
    assert found.reason == "dust: 0.00004000 is worth 4000 KRW, minimum 5000 KRW"


def test_a_sale_above_the_largest_order_is_cut() -> None:
    rules = replace(RULES, chance=replace(CHANCE, max_total=Decimal(60_000)))
    assert approved(STOP, HELD, rules=rules).request.volume == Decimal("0.0006")


def test_the_very_sale_that_was_refused_is_tried_again_after_a_minute() -> None:
    just = replace(HELD, exit_refused_at=NOW - timedelta(seconds=59))
    due = DueExit(purpose="stop_loss", reason="price fell", since=NOW)
    for _ in range(4):
        due = due.tried(held=HOLDING.volume, sent=Decimal("0.001"), refusal="create_ask_error")
    rules = replace(RULES, due=due)
    found = refusal(STOP, just, rules=rules)
    assert (found.limit, found.final) == ("exit_retry", False)
    approved(FLATTEN, just, rules=rules)
    approved(STOP, replace(HELD, exit_refused_at=NOW - timedelta(seconds=60)), rules=rules)


def test_a_sale_in_another_form_or_volume_waits_for_nothing() -> None:
    just = replace(HELD, exit_refused_at=NOW)
    due = DueExit(purpose="stop_loss", reason="price fell", since=NOW)
    once = due.tried(held=HOLDING.volume, sent=Decimal("0.001"), refusal="create_ask_error")
    approved(STOP, just, rules=replace(RULES, due=once))
    poor = due.tried(held=HOLDING.volume, sent=Decimal("0.001"), refusal="insufficient_funds_ask")
    assert refusal(STOP, just, rules=replace(RULES, due=poor)).limit == "exit_retry"
    less = replace(just, free_volume=Decimal("0.0007"))
    assert approved(STOP, less, rules=replace(RULES, due=poor)).request.volume == Decimal("0.0007")


def test_a_book_without_bids_takes_no_sale_and_that_may_pass() -> None:
    found = refusal(STOP, HELD, rules=replace(RULES, book=book(100_000_000, 0)))
    assert (found.limit, found.final) == ("no_bids", False)


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-01-05T03:00:00Z", "2026-01-04T15:00:00Z"),
        ("2026-01-05T14:59:59.999999Z", "2026-01-04T15:00:00Z"),
        ("2026-01-05T15:00:00Z", "2026-01-05T15:00:00Z"),
    ],
)
def test_the_day_begins_at_midnight_in_korea(now: str, start: str) -> None:
    assert day_start(datetime.fromisoformat(now)) == datetime.fromisoformat(start)


money = st.decimals(min_value=100_000, max_value="100000000", places=8)
prices = st.decimals(min_value="0.0001", max_value="200000000", places=4)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Portfolio, Settings, Rules]:
    price = ticks.round_price(BTC, draw(prices), "up")
    worth = draw(st.sampled_from([0, 4000, 30_000, 200_000, 10**9]))
    volume = ticks.round_volume(worth / price)
    holdings = {BTC: Holding(volume=volume, avg_price=price)} if volume else {}
    portfolio = replace(
        EMPTY,
        cash_krw=draw(money),
        equity_krw=draw(money),
        orders_today=draw(st.sampled_from([0, 49, 50])),
        day_loss_krw=draw(st.sampled_from([Decimal(0), Decimal(99_999), Decimal(100_000)])),
        drawdown_pct=draw(st.sampled_from([Decimal(0), Decimal("19.99"), Decimal(20)])),
        holdings=holdings,
        prices={BTC: price},
        open_orders=(open_order("KRW-ETH"),) if draw(st.booleans()) else (),
    )
    settings = Settings(
        entry_order=draw(st.sampled_from(["limit", "market", "best"])),
        position_size_pct=draw(st.decimals(min_value=1, max_value=100, places=2)),
        max_position_krw=draw(st.decimals(min_value=5000, max_value=10**9, places=0)),
    )
    size = draw(st.sampled_from([Decimal(0), Decimal("0.001"), Decimal(10**12)]))
    shown = book(price, price, size=size)
    return portfolio, settings, replace(RULES, price=price, recent_price=price, book=shown)


@given(situation=situations())
def test_no_entry_is_ever_beyond_a_limit_in_force(
    situation: tuple[Portfolio, Settings, Rules],
) -> None:
    portfolio, settings, rules = situation
    verdict = assess(BUY, portfolio, settings, rules, now=NOW)
    if isinstance(verdict, Refusal):
        return
    request = verdict.request
    assert request.price is not None
    spend = request.price if request.volume is None else request.price * request.volume
    exposure = portfolio.exposure_krw(BTC) + spend
    assert verdict.reserved_krw <= portfolio.cash_krw
    assert exposure <= settings.max_position_krw
    assert exposure * 100 <= portfolio.equity_krw * settings.position_size_pct
    assert spend >= CHANCE.bid_min_total
    # at its stop, and 3 % under it, the position is an order still, and within the day's limit
    position = portfolio.held_krw(BTC) + spend
    assert position * Decimal("0.95") * Decimal("0.97") >= CHANCE.ask_min_total
    assert portfolio.day_loss_krw + spend * Decimal("0.0785") <= settings.daily_loss_limit_krw
    assert portfolio.orders_today < settings.max_orders_per_day
    assert portfolio.day_loss_krw < settings.daily_loss_limit_krw
    assert portfolio.drawdown_pct < settings.max_drawdown_pct
    if request.volume is not None:
        assert ticks.is_on_tick(BTC, request.price)
        assert request.volume == ticks.round_volume(request.volume)


@given(
    situation=situations(),
    free=st.none() | st.decimals(min_value=0, max_value="0.01", places=8),
    selling=st.booleans(),
)
def test_no_sale_is_ever_more_than_what_is_held(
    situation: tuple[Portfolio, Settings, Rules], free: Decimal | None, selling: bool
) -> None:
    portfolio, settings, rules = situation
    asks = (open_order(side="ask"),) if selling else ()
    portfolio = replace(portfolio, free_volume=free, open_orders=asks)
    verdict = assess(STOP, portfolio, settings, rules, now=NOW)
    if isinstance(verdict, Refusal):
        return
    volume = verdict.request.volume
    assert volume is not None
    assert volume + sum(o.volume for o in asks) <= portfolio.holdings[BTC].volume
    assert volume * rules.price <= CHANCE.max_total
