"""What may be ordered: every limit in force, as one pure function over facts.

`assess` asks nobody and knows no clock; the facts are read in the transaction that writes the
intent. Entries must pass every limit. Exits reduce risk: they pass in reduce-only, on stale data
and over the day's limits, and never sell more than the daemon holds. A halt stops new exposure, and
exits as well when it halts `all`; only a person's `flatten` passes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal

from jobs.domain import collar, exit_form, order_form
from jobs.domain.ledger import EXACT, ZERO
from jobs.domain.portfolio import Portfolio, Rules, Wish
from jobs.domain.settings import Settings
from jobs.upbit.ticks import round_volume
from jobs.upbit.wire import OrderRequest

KST = timezone(timedelta(hours=9), "KST")
_HUNDRED = Decimal(100)
_DOWN = Context(prec=28, rounding=ROUND_DOWN)  # a rounded size is never above the true one


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """Send exactly this. `reserved_krw` is the most it can cost, fee included (0 for sales)."""

    request: OrderRequest
    reserved_krw: Decimal
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No order. `limit` names the limit, `reason` the fact and the limit.

    Not `final`: the obstacle may pass while the signal is fresh, which therefore stays new.
    """

    limit: str
    reason: str
    final: bool = True


Verdict = Approved | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    wish: Wish
    portfolio: Portfolio
    settings: Settings
    rules: Rules
    now: datetime


_Check = Callable[[_Case], Refusal | None]


def day_start(now: datetime) -> datetime:
    """Midnight in Korea of the day that `now` falls on, in UTC."""
    return now.astimezone(KST).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def assess(
    wish: Wish, portfolio: Portfolio, settings: Settings, rules: Rules, *, now: datetime
) -> Verdict:
    """Approve `wish` with the very values to send, or refuse it with the first limit it meets."""
    case = _Case(wish=wish, portfolio=portfolio, settings=settings, rules=rules, now=now)
    checks = _ENTRY if wish.side == "bid" else _EXIT
    for check in checks:
        if (refusal := check(case)) is not None:
            return refusal
    return _buy(case) if wish.side == "bid" else _sell(case)


def _halted(case: _Case) -> Refusal | None:
    halt = case.settings.halt
    if halt.level.stops(case.wish.side) and case.wish.purpose != "flatten":
        return Refusal(limit="halted", reason=str(halt))
    return None


def _signal_age(case: _Case) -> Refusal | None:
    if case.wish.signal is None:
        return None
    age_s = (case.now - case.wish.signal.created_at).total_seconds()
    limit_s = case.settings.signal_max_age_s
    if age_s <= limit_s:
        return None
    return Refusal(
        limit="signal_max_age_s", reason=f"the signal is {age_s:.0f} s old, limit {limit_s} s"
    )


def _confidence(case: _Case) -> Refusal | None:
    signal, least = case.wish.signal, case.settings.min_confidence
    if signal is None or signal.confidence >= least:
        return None
    return Refusal(
        limit="min_confidence", reason=f"confidence {signal.confidence} is under {least}"
    )


def _reduce_only(case: _Case) -> Refusal | None:
    why = case.rules.reduce_only
    if why is None:
        return None
    return Refusal(limit="reduce_only", reason=f"reduce-only: {why}", final=False)


def _barred(case: _Case) -> Refusal | None:
    """What bars a market does not pass while a signal is fresh: the signal ends with the reason."""
    why = case.rules.barred
    return None if why is None else Refusal(limit="reduce_only", reason=f"reduce-only: {why}")


def _quote(case: _Case) -> Refusal | None:
    if case.wish.market.startswith("KRW-"):
        return None
    return Refusal(limit="market", reason=f"{case.wish.market} is not priced in KRW")


def _market_state(case: _Case) -> Refusal | None:
    state = case.rules.chance.state
    if state == "active":
        return None
    return Refusal(limit="market_state", reason=f"the market is {state}, not active", final=False)


def _open_orders(case: _Case) -> Refusal | None:
    for order in case.portfolio.open_orders:
        if order.market == case.wish.market:
            limit = "unknown_order" if order.is_unknown else "open_order"
            reason = f"order {order.identifier} of this market is {order.state}"
            return Refusal(limit=limit, reason=reason, final=False)
    return None


def _stale_data(case: _Case) -> Refusal | None:
    at, limit_s = case.rules.data_at, case.rules.data_max_age_s
    if at is not None and (case.now - at).total_seconds() <= limit_s:
        return None
    age = "missing" if at is None else f"{(case.now - at).total_seconds():.0f} s old"
    return Refusal(
        limit="stale_data", reason=f"market data is {age}, limit {limit_s:g} s", final=False
    )


def _day_loss(case: _Case) -> Refusal | None:
    loss, limit = case.portfolio.day_loss_krw, case.settings.daily_loss_limit_krw
    if not limit or loss < limit:
        return None
    return Refusal(
        limit="daily_loss_limit_krw", reason=f"today's loss is {loss:.0f} KRW, limit {limit:f} KRW"
    )


def _drawdown(case: _Case) -> Refusal | None:
    down, limit = case.portfolio.drawdown_pct, case.settings.max_drawdown_pct
    if not limit or down < limit:
        return None
    return Refusal(limit="max_drawdown_pct", reason=f"drawdown is {down:.2f} %, limit {limit:f} %")


def _orders_today(case: _Case) -> Refusal | None:
    count, limit = case.portfolio.orders_today, case.settings.max_orders_per_day
    if count < limit:
        return None
    return Refusal(limit="max_orders_per_day", reason=f"{count} orders today, limit {limit}")


def _cooldown(case: _Case) -> Refusal | None:
    last, limit_s = case.portfolio.last_order_at, case.settings.cooldown_s
    if last is None or (case.now - last).total_seconds() >= limit_s:
        return None
    ago = f"{(case.now - last).total_seconds():.0f}"
    return Refusal(
        limit="cooldown_s", reason=f"the market's last order is {ago} s ago, limit {limit_s} s"
    )


def _position_count(case: _Case) -> Refusal | None:
    taken = case.portfolio.taken_markets(case.rules.chance.ask_min_total)
    limit = case.settings.max_open_positions
    if case.wish.market in taken or len(taken) < limit:
        return None
    return Refusal(limit="max_open_positions", reason=f"{len(taken)} positions, limit {limit}")


def _entries(case: _Case) -> Refusal | None:
    """A remainder too small to be sold is no position: the next entry is its first."""
    count, limit = case.portfolio.entries, case.settings.entries_per_position
    is_held = case.portfolio.held_krw(case.wish.market) >= case.rules.chance.ask_min_total
    if not is_held or count < limit:
        return None
    return Refusal(
        limit="entries_per_position",
        reason=f"{case.wish.market} is held with {count} entries, limit {limit}",
    )


def _way_out(case: _Case) -> Refusal | None:
    """What cannot be sold again is not bought."""
    types = case.rules.chance.ask_types
    if not types or exit_form.FORMS & set(types):
        return None
    return Refusal(
        limit="exit_order",
        reason=f"the market takes no form of sale that an exit has: {', '.join(types)}",
        final=False,
    )


def _collar(case: _Case) -> Refusal | None:
    found = collar.off_collar(case.settings, case.rules)
    return None if found is None else Refusal(limit=found.limit, reason=found.reason, final=False)


def _exit_again(case: _Case, volume: Decimal) -> Refusal | None:
    """The very sale that the exchange refused is tried again after the cooldown, not every few
    seconds; a sale in another form, price or volume at once.
    """
    last, due = case.portfolio.exit_refused_at, case.rules.due
    limit_s = max(case.settings.cooldown_s, 60)
    if last is None or due is None or not due.repeats(volume):
        return None
    if case.wish.purpose == "flatten" or (case.now - last).total_seconds() >= limit_s:
        return None
    return Refusal(
        limit="exit_retry",
        reason=f"the exchange refused this sale ({due.refusal}) less than {limit_s} s ago",
        final=False,
    )


_ENTRY: tuple[_Check, ...] = (
    _halted,
    _signal_age,
    _confidence,
    _quote,
    _reduce_only,
    _barred,
    _market_state,
    _open_orders,
    _stale_data,
    _day_loss,
    _drawdown,
    _orders_today,
    _cooldown,
    _position_count,
    _entries,
    _way_out,
    _collar,
)
_EXIT: tuple[_Check, ...] = (_halted, _signal_age, _confidence)


def _buy(case: _Case) -> Verdict:
    """Size an entry: the market's target less what it holds already, within cash, totals and what
    the day's loss limit has left.
    """
    settings, portfolio, chance = case.settings, case.portfolio, case.rules.chance
    share = portfolio.equity_krw * settings.position_size_pct / _HUNDRED
    least = _least_entry(case)
    room = min(share, settings.max_position_krw) - portfolio.exposure_krw(case.wish.market)
    if room < least:
        return _no_room(case, share, least)
    affordable = _DOWN.divide(portfolio.cash_krw, 1 + chance.bid_fee)
    if affordable < least:
        return Refusal(limit="cash", reason=f"free cash is under {_least_words(case, least)}")
    by_loss = collar.most_by_loss(settings, chance, portfolio.day_loss_krw)
    if by_loss is not None and by_loss < least:
        return Refusal(
            limit="daily_loss_limit_krw",
            reason=f"what today's loss leaves of {settings.daily_loss_limit_krw:f} KRW does not "
            f"cover the stop-loss of {_least_words(case, least)}",
        )
    most = min(room, affordable, chance.max_total)
    spend = (most if by_loss is None else min(most, by_loss)).quantize(
        Decimal(1), rounding=ROUND_DOWN
    )
    return _entry(case, spend, least)


def _least_entry(case: _Case) -> Decimal:
    """The smallest entry: with what is held already, its own stop-loss can still be sold."""
    chance = case.rules.chance
    held = case.portfolio.held_krw(case.wish.market)
    return max(chance.bid_min_total, collar.least_entry(case.settings, chance) - held)


def _least_words(case: _Case, least: Decimal) -> str:
    stop_pct = collar.stop_distance_pct(case.settings)
    exit_words = "exit" if stop_pct is None else f"stop-loss ({stop_pct.normalize():f} % lower)"
    shown = least.quantize(Decimal(1), rounding=ROUND_UP)
    return (
        f"the least entry of {shown:f} KRW: its own {exit_words} must still be worth the "
        f"exchange's minimum of {case.rules.chance.ask_min_total:f} KRW"
    )


def _no_room(case: _Case, share: Decimal, least: Decimal) -> Refusal:
    settings = case.settings
    by_share = share < settings.max_position_krw
    limit = "position_size_pct" if by_share else "max_position_krw"
    bound = settings.position_size_pct if by_share else settings.max_position_krw
    return Refusal(
        limit=limit, reason=f"{limit} {bound:f} leaves less than {_least_words(case, least)}"
    )


def _entry(case: _Case, spend: Decimal, least: Decimal) -> Verdict:
    request = order_form.purchase(case.wish, case.settings, case.rules, spend)
    if isinstance(request, order_form.Unfit):
        return Refusal(limit=request.limit, reason=request.reason)
    total = order_form.total(request)
    if total < least:
        return Refusal(
            limit="min_total",
            reason=f"{request.volume:f} at {request.price:f} is {total:f} KRW, less than "
            f"{_least_words(case, least)}",
        )
    return _approve_buy(request, total, case.rules.chance.bid_fee)


def _approve_buy(request: OrderRequest, total: Decimal, fee: Decimal) -> Approved:
    reserved = EXACT.multiply(total, EXACT.add(Decimal(1), fee))
    return Approved(
        request=request, reserved_krw=reserved, reason=f"{total:f} KRW, {reserved:f} KRW with fee"
    )


def _sell(case: _Case) -> Verdict:
    """Sell all that is held and not already being sold, as far as one order can."""
    sellable = round_volume(case.portfolio.sellable(case.wish.market))
    if sellable <= ZERO:
        return Refusal(limit="holding", reason=case.portfolio.why_unsellable(case.wish.market))
    request = exit_form.sale(case.wish, case.settings, case.rules, sellable)
    if isinstance(request, exit_form.Unsold):
        return Refusal(limit=request.limit, reason=request.reason, final=request.limit == "dust")
    volume = request.volume or ZERO
    if (again := _exit_again(case, volume)) is not None:
        return again
    worth = EXACT.multiply(volume, case.rules.price)
    return Approved(request=request, reserved_krw=ZERO, reason=f"{volume:f} worth {worth:.0f} KRW")
