"""What a source is asked in a replay, and what becomes of its failures."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.backtest.benchmark import stakes
from jobs.backtest.candle_history import Tape
from jobs.backtest.run import Plan, play
from jobs.backtest.signal_feed import SourceFeed
from jobs.core.errors import BadData, Unavailable
from jobs.signals.protocol import Decision, Inputs, Verdict
from jobs.upbit.wire import Candle

BEGIN = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BTC, ETH = "KRW-BTC", "KRW-ETH"


@dataclass
class Script:
    """Says what it is told to, and remembers what it was asked."""

    answers: list[Verdict | Exception] = field(default_factory=list)
    asked: list[Inputs] = field(default_factory=list)

    async def decide(self, inputs: Inputs) -> Verdict:
        self.asked.append(inputs)
        answer = self.answers.pop(0) if self.answers else Verdict(decisions=(), model="script")
        if isinstance(answer, Exception):
            raise answer
        return answer


def candles(market: str, first: int, count: int, unit: int = 1) -> list[Candle]:
    return [
        Candle(
            market=market,
            unit=unit,
            ts=BEGIN + (first + number) * unit * MINUTE,
            open=Decimal(100_000),
            high=Decimal(100_100),
            low=Decimal(99_900),
            close=Decimal(100_000 + 50 * (number % 3)),
            volume=Decimal(2),
            value=Decimal(200_000),
        )
        for number in range(count)
    ]


def said(market: str, action: str = "buy") -> Decision:
    return Decision(
        market=market,
        action=action,  # type: ignore[arg-type]
        confidence=Decimal("0.8"),
        reason="told to",
    )


async def run(
    script: Script,
    recording: dict[str, list[Candle]],
    minutes: int = 12,
    longer_units: tuple[int, ...] = (),
) -> SourceFeed:
    tape = Tape(recording)
    feed = SourceFeed(
        tape=tape, source=script, names={BTC: "Bitcoin", ETH: "Ether"}, longer_units=longer_units
    )
    await play(tape, Plan(since=BEGIN, until=BEGIN + minutes * MINUTE), feed)
    return feed


async def test_it_sees_finished_candles_and_a_price_that_was_known() -> None:
    script = Script()
    await run(script, {BTC: candles(BTC, -1500, 1520)})
    first, second, third = script.asked
    assert [each.now for each in script.asked] == [
        BEGIN + number * 5 * MINUTE + timedelta(seconds=5) for number in range(3)
    ]
    (market,) = second.markets
    assert market.name == "Bitcoin"
    assert market.candles[-1].ts == BEGIN + 4 * MINUTE
    assert len(market.candles) == 301
    assert market.price == market.candles[-1].close
    assert market.value_24h == 1440 * 200_000
    # the last close before midnight was 100,000 plus 50 for each of the candles' steps
    yesterday = next(c for c in candles(BTC, -1500, 1520) if c.ts.hour == 23 and c.ts.minute == 59)
    assert market.change_rate == market.price / yesterday.close - 1
    assert {first.slot.run_id, second.slot.run_id, third.slot.run_id} == {
        "replay-0",
        "replay-1",
        "replay-2",
    }


async def test_a_market_without_a_new_candle_is_not_asked_about_again() -> None:
    script = Script([Verdict(decisions=(said(BTC, "hold"),), model="script")])
    recording = {BTC: candles(BTC, -60, 58), ETH: candles(ETH, -60, 90)}
    await run(script, recording)
    assert [[each.market for each in inputs.markets] for inputs in script.asked] == [
        [BTC, ETH],
        [ETH],  # bitcoin's newest candle is older than three minutes by now
        [ETH],
    ]


async def test_a_decided_candle_is_decided_once() -> None:
    script = Script([Verdict(decisions=(said(BTC, "hold"),), model="script")] * 2)
    tape = Tape({BTC: candles(BTC, -60, 60)})
    feed = SourceFeed(tape=tape, source=script, names={BTC: BTC})
    plan = Plan(since=BEGIN, until=BEGIN + 3 * MINUTE, every=MINUTE)
    await play(tape, plan, feed)
    assert len(script.asked) == 1


async def test_failures_are_counted_and_the_next_slot_goes_on() -> None:
    script = Script(
        [
            Unavailable("no answer"),
            Verdict(decisions=(said("KRW-NONE"),), model="script"),
            Verdict(decisions=(said(BTC),), model="script-2", refused={ETH: "no idea"}),
        ]
    )
    feed = await run(script, {BTC: candles(BTC, -60, 80), ETH: candles(ETH, -60, 80)})
    assert feed.failures == {"Unavailable": 1, "ModelRejected": 1}
    assert feed.refused == {ETH: 1}
    assert feed.models == {"script-2"}
    assert [each.signal.market for each in feed.said] == [BTC]


async def test_larger_candles_are_told_as_of_the_newest_one() -> None:
    script = Script()
    await run(script, {BTC: candles(BTC, -900, 930)}, longer_units=(5, 15))
    longer = [inputs.markets[0].longer for inputs in script.asked]
    assert [[each.unit for each in found] for found in longer] == [[5, 15]] * 3
    assert [found[0].candle_ts for found in longer] == [
        BEGIN + number * MINUTE for number in (-5, 0, 5)
    ]
    assert len({found[1].candle_ts for found in longer}) == 1


async def test_longer_candles_can_be_replayed_themselves() -> None:
    script = Script([Verdict(decisions=(said(BTC),), model="script")])
    tape = Tape({BTC: candles(BTC, -40, 50, unit=5)})
    feed = SourceFeed(tape=tape, source=script, names={BTC: BTC})
    trader = await play(tape, Plan(since=BEGIN, until=BEGIN + 20 * MINUTE), feed)
    (order,) = trader.books.orders
    assert order.state.value == "done"
    assert [(point.at - BEGIN) // MINUTE for point in trader.books.equity[2:5]] == [1, 2, 3]
    assert trader.books.positions[BTC].high_price == 100_100


@pytest.mark.parametrize(
    ("since", "until"),
    [(BEGIN, BEGIN), (BEGIN + timedelta(seconds=1), BEGIN + 9 * MINUTE)],
)
def test_a_plan_goes_from_minute_to_minute(since: datetime, until: datetime) -> None:
    with pytest.raises(BadData):
        Plan(since=since, until=until)


def test_holding_buys_each_market_at_its_first_price() -> None:
    tape = Tape({BTC: candles(BTC, -5, 30), ETH: candles(ETH, 4, 8)})
    plan = Plan(since=BEGIN, until=BEGIN + 10 * MINUTE, slippage_bps=Decimal(0))
    early, late = stakes(tape, plan, [BTC, ETH])
    assert (early.at, late.at) == (BEGIN, BEGIN + 4 * MINUTE)
    assert late.worth(tape, BEGIN + 2 * MINUTE) == 5_000_000
    # 5,000,000 / (100,000 * 1.0005), cut to 8 decimals
    assert early.volume == Decimal("49.97501249")
    assert early.fee_krw == early.volume * early.price * Decimal("0.0005")
    assert early.rest_krw >= 0
    end = plan.until
    close = tape.reels[BTC].close_before(end)
    assert close is not None
    assert early.worth(tape, end) == early.rest_krw + early.volume * close


def test_a_market_that_never_trades_stays_cash() -> None:
    tape = Tape({BTC: candles(BTC, 0, 9), ETH: candles(ETH, 40, 8)})
    plan = Plan(since=BEGIN, until=BEGIN + 9 * MINUTE)
    stake = stakes(tape, plan, [BTC, ETH])[1]
    assert stake.worth(tape, plan.until) == 5_000_000
    assert stake.volume == 0
