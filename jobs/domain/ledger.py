"""Fills → positions: exact, pure, and the one definition of cost and profit.

- `volume`: bought minus sold, of the daemon's own fills only.
- `avg_price`: average cost of what is held, fees excluded. A buy moves it to
  (avg_price·volume + funds) / (volume + bought), kept to 28 significant digits; a sell leaves it;
  it is 0 when nothing is held.
- profit realized by a fill, fees included as they are paid: a buy realizes -fee, a sell
  funds - fee - avg_price·volume. So at every moment
  Σ realized = Σ money in - Σ money out + avg_price·volume (to the rounding of avg_price).
- profit not realized: (price - avg_price)·volume.

Products and sums are exact (a rounding raises); only divisions round, at named places.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, Inexact, localcontext

from jobs.core.errors import BadData
from jobs.upbit.wire import Side

EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN, traps=[Inexact])
"""Sums and products of money: anything that would round raises instead."""

_QUOTIENT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_RATE = Context(prec=28, rounding=ROUND_DOWN)  # never above the truth: the last part stays >= 0
_FEE_STEP = Decimal("1e-20")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One fill with the fee it bore. `funds` is price·volume as the venue states it."""

    uuid: str
    side: Side
    price: Decimal
    volume: Decimal
    funds: Decimal
    fee: Decimal
    ts: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the daemon holds in one market. `high_price` is the highest price seen since opened."""

    volume: Decimal = ZERO
    avg_price: Decimal = ZERO
    realized_krw: Decimal = ZERO
    high_price: Decimal = ZERO
    opened_at: datetime | None = None

    def value(self, price: Decimal) -> Decimal:
        """What the holding is worth at `price`."""
        return EXACT.multiply(self.volume, price)

    def unrealized(self, price: Decimal) -> Decimal:
        """Profit that selling at `price` would realize, before the fee of that sale."""
        return EXACT.multiply(self.volume, EXACT.subtract(price, self.avg_price))


def book(holding: Holding, fill: Fill) -> tuple[Holding, Decimal]:
    """Apply one fill: the holding after it, and the profit that the fill realized.

    Raises BadData for a sale of more than is held, which no order of the daemon can cause.
    """
    with localcontext(EXACT):
        if fill.side == "bid":
            return _buy(holding, fill)
        return _sell(holding, fill)


def fold(fills: Iterable[Fill]) -> Holding:
    """The holding that `fills`, in their order, lead to from nothing."""
    holding = Holding()
    for fill in fills:
        holding, _ = book(holding, fill)
    return holding


def refee(holding: Holding, *, before: Decimal, after: Decimal) -> Holding:
    """The holding once a booked fill turns out to have borne the fee `after`, not `before`."""
    with localcontext(EXACT):
        return replace(holding, realized_krw=holding.realized_krw + before - after)


def write_down(holding: Holding, *, to: Decimal, price: Decimal) -> tuple[Holding, Decimal]:
    """The holding with `to` left of it, and the profit of what left it at `price`, without a fee.

    For coins that went without a sale that anybody could name.
    """
    with localcontext(EXACT):
        gone = holding.volume - to
        if not 0 <= to <= holding.volume:
            raise BadData("a position is only written down", held=holding.volume, to=to)
        profit = (price - holding.avg_price) * gone
        return _left(holding, to, profit), profit


def split_fee(paid_fee: Decimal, funds: Sequence[Decimal]) -> list[Decimal]:
    """Each fill's part of an order's `paid_fee`, by its funds; the parts sum to it exactly.

    The venue states no fee per fill. With one rate for all fills, as it has, each part is
    funds·rate to the last digit; whatever a division cannot say exactly goes to the last fill.
    """
    if not funds:
        return []
    with localcontext(EXACT):
        total = sum(funds, ZERO)
        rate = _RATE.divide(paid_fee, total)
        if rate * total == paid_fee:
            return [rate * each for each in funds]
        parts = [_floor(rate * each) for each in funds[:-1]]
        return [*parts, paid_fee - sum(parts, ZERO)]


def part_of_fee(fee: Decimal, volume: Decimal, whole: Decimal) -> Decimal:
    """The part of a fill's `fee` that so much of its `whole` volume bore, rounded down."""
    with localcontext(EXACT):
        return _floor(_RATE.divide(fee * volume, whole))


def _floor(amount: Decimal) -> Decimal:
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        return amount.quantize(_FEE_STEP, rounding=ROUND_DOWN)


def _buy(holding: Holding, fill: Fill) -> tuple[Holding, Decimal]:
    volume = holding.volume + fill.volume
    cost = holding.avg_price * holding.volume + fill.funds
    opening = not holding.volume
    after = replace(
        holding,
        volume=volume,
        avg_price=_QUOTIENT.divide(cost, volume),
        realized_krw=holding.realized_krw - fill.fee,
        high_price=fill.price if opening else max(holding.high_price, fill.price),
        opened_at=fill.ts if opening else holding.opened_at,
    )
    return after, -fill.fee


def _sell(holding: Holding, fill: Fill) -> tuple[Holding, Decimal]:
    left = holding.volume - fill.volume
    if left < 0:
        raise BadData("sold more than is held", held=holding.volume, sold=fill.volume)
    profit = fill.funds - fill.fee - holding.avg_price * fill.volume
    return _left(holding, left, profit), profit


def _left(holding: Holding, volume: Decimal, profit: Decimal) -> Holding:
    after = replace(holding, volume=volume, realized_krw=holding.realized_krw + profit)
    if not volume:
        after = replace(after, avg_price=ZERO, high_price=ZERO, opened_at=None)
    return after
