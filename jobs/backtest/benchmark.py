"""The yardstick: the same money, split evenly, buys every market once and holds. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from jobs.backtest.candle_history import Tape
from jobs.backtest.run import Plan
from jobs.backtest.simulated_market import book_at
from jobs.domain.ledger import ZERO
from jobs.matching.rules import truncate


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """What was bought of one market, when, and what stayed in cash."""

    market: str
    at: datetime
    price: Decimal
    volume: Decimal
    fee_krw: Decimal
    share_krw: Decimal
    rest_krw: Decimal

    def worth(self, tape: Tape, now: datetime) -> Decimal:
        """The stake at the newest close before `now`; its cash until it was bought."""
        price = tape.reels[self.market].close_before(now)
        if price is None or now <= self.at:
            return self.share_krw
        return self.rest_krw + self.volume * price


def stakes(tape: Tape, plan: Plan, markets: list[str]) -> list[Stake]:
    """One stake a market: bought at its first price, with the fee and the slippage of the plan.

    A market that never trades in the plan's time stays cash.
    """
    share = plan.start_krw / len(markets)
    return [_stake(tape, plan, market, share) for market in markets]


def _stake(tape: Tape, plan: Plan, market: str, share: Decimal) -> Stake:
    at, price = _first(tape, plan, market)
    if price is None:
        return Stake(
            market=market,
            at=plan.until,
            price=ZERO,
            volume=ZERO,
            fee_krw=ZERO,
            share_krw=share,
            rest_krw=share,
        )
    ask = book_at(market, price, plan.slippage_bps, at).units[0].ask_price
    rate = plan.rules.fee(market)
    volume = truncate(share / (ask * (1 + rate)))
    fee = volume * ask * rate
    return Stake(
        market=market,
        at=at,
        price=ask,
        volume=volume,
        fee_krw=fee,
        share_krw=share,
        rest_krw=share - volume * ask - fee,
    )


def _first(tape: Tape, plan: Plan, market: str) -> tuple[datetime, Decimal | None]:
    if (price := tape.price(market, plan.since)) is not None:
        return plan.since, price
    for candle in tape.reels[market].candles:
        if plan.since <= candle.ts < plan.until:
            return candle.ts, candle.open
    return plan.until, None
