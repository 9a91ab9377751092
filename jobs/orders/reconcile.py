"""Do the venue and the tables tell the same story? Asked at start and every few minutes.

Every open order of ours is taken as far as evidence goes; then the venue's open orders are held
against the table, orders that were given up against the venue, its balances against the positions,
and positions against the sum of their fills. Orders of others are counted and left alone. What
does not fit is told and makes its market reduce-only until it fits again. Running it twice changes
nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loguru import logger

from jobs.core.errors import BadData, JobError, Transient
from jobs.core.job import Incident
from jobs.domain.order_states import State
from jobs.domain.portfolio import Money
from jobs.orders.account import PREFIX, TradingAccount
from jobs.orders.balances import (
    CoveredAt,
    advice,
    compare_balances,
    covered_before,
    describe,
)
from jobs.orders.placement import unknown_incident, unknown_incident_key
from jobs.orders.tracking import tend
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import reconciliations
from jobs.store.orders import OrderRow
from jobs.store.reconciliations import Reconciliation
from jobs.upbit.wire import Order

LOOK_BACK = timedelta(hours=24)
"""How long an order that was given up is still looked for, should it have arrived after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Something that does not fit. `about` is stable, so that repeats fold into one alert;
    `advice` is what a person can do.
    """

    market: str
    about: str
    message: str
    advice: str | None = None

    @property
    def incident(self) -> str:
        """The key under which it is told."""
        return f"reconcile_mismatch:{self.about}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a reconciliation found. Counts are of orders; `rows` is what it wrote."""

    checked_at: datetime
    open_ours: int
    open_foreign: int
    unknown: int
    held: tuple[str, ...]
    rows: int
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether venue and tables agree on everything that is known."""
        return not self.mismatches


@dataclass(slots=True)
class Standing:
    """The newest report of this process, and which markets it closes for new exposure.

    `is_due`: somebody saw what the report does not say, so compare in the next pass. `covered_at`
    is when the balances last covered each position.
    """

    report: Report | None = None
    told: set[str] = field(default_factory=set)
    is_due: bool = False
    covered_at: CoveredAt | None = None

    def compare_soon(self) -> None:
        """Have venue and tables compared in the next pass."""
        self.is_due = True

    def notice_missing(self, markets: Iterable[str]) -> None:
        """Have coins that are missing looked for, unless the report names them already."""
        known = () if self.report is None else self.report.mismatches
        named = {each.market for each in known}
        self.is_due = self.is_due or any(market not in named for market in markets)

    def reduce_only(self, market: str) -> str | None:
        """Why `market` takes no new exposure; None when it may."""
        if self.report is None:
            return "not reconciled with the venue yet"
        wrong = next((m for m in self.report.mismatches if m.market == market), None)
        return None if wrong is None else wrong.message


@dataclass(slots=True)
class _Findings:
    """What one reconciliation collects on its way."""

    rows: int = 0
    open_ours: int = 0
    open_foreign: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)


async def reconcile(
    desk: TradingAccount, standing: Standing, *, timeout_s: float, deep: bool = False
) -> Report:
    """Compare venue and tables, tell what does not fit, and remember it in `standing`.

    `deep` also adds up every stored fill. Raises Transient while the venue or the database cannot
    be asked; `standing` is unchanged then.
    """
    findings = _Findings()
    await _tend_all(desk, findings, timeout_s)
    await _compare_open(desk, findings)
    await _compare_buried(desk, findings)
    await _compare_balances(desk, standing, findings, timeout_s)
    if deep:
        findings.mismatches += await _off_ledger(desk)
    elif standing.report is not None:  # only another deep look can take these back
        old = standing.report.mismatches
        findings.mismatches += [m for m in old if m.about.startswith("fills:")]
    report = await _report(desk, findings)
    async with desk.db.begin() as conn:
        await reconciliations.save(conn, desk.mode, _summary(report))
    standing.report = report
    standing.is_due = False
    await _tell(desk, standing, report)
    return report


async def look_for_missing(desk: TradingAccount, standing: Standing, money: Money) -> set[str]:
    """The markets in which the venue has less than the books hold; have `standing` compared in the
    next pass then, and not only every few minutes.

    A sale that nobody has answered for may explain it: that is followed anyway.
    """
    async with desk.db.begin() as conn:
        missing = await position_store.missing(conn, desk.mode, money)
        unfinished = await order_store.unfinished(conn, desk.mode) if missing else []
    standing.notice_missing(missing.keys() - {order.market for order in unfinished})
    return set(missing)


def _summary(report: Report) -> Reconciliation:
    return Reconciliation(
        checked_at=report.checked_at,
        open_ours=report.open_ours,
        open_foreign=report.open_foreign,
        unknown=report.unknown,
        mismatches=[f"{each.market}: {each.message}" for each in report.mismatches],
    )


async def _report(desk: TradingAccount, findings: _Findings) -> Report:
    async with desk.db.begin() as conn:
        left = await order_store.unfinished(conn, desk.mode)
        held = await position_store.held(conn, desk.mode)
    unique: dict[str, Mismatch] = {}
    for mismatch in findings.mismatches:
        unique.setdefault(mismatch.about, mismatch)
    return Report(
        checked_at=desk.clock(),
        open_ours=findings.open_ours,
        open_foreign=findings.open_foreign,
        unknown=sum(order.state is State.UNKNOWN for order in left),
        held=tuple(sorted(held)),
        rows=findings.rows,
        mismatches=tuple(unique.values()),
    )


async def _tend_all(desk: TradingAccount, findings: _Findings, timeout_s: float) -> None:
    """Take every open order one step further; trouble with one is not the others'."""
    async with desk.db.begin() as conn:
        unfinished = await order_store.unfinished(conn, desk.mode)
    passing: Transient | None = None
    for order in unfinished:
        try:
            findings.rows += await tend(desk, order, timeout_s=timeout_s)
        except Transient as exc:
            passing = passing or exc
        except JobError as exc:
            findings.mismatches.append(_about_order(order.market, order.identifier, str(exc)))
        except Exception as exc:  # noqa: BLE001 - a bug about one order is a mismatch in its market
            logger.bind(event="job.bug", market=order.market).exception(
                "Following an order raised what it should not"
            )
            why = f"following it failed: {type(exc).__name__}: {exc}"
            findings.mismatches.append(_about_order(order.market, order.identifier, why))
    if passing is not None:
        raise passing


async def _compare_open(desk: TradingAccount, findings: _Findings) -> None:
    """Orders that are open at the venue under our prefix, and what our table says of them."""
    listed = await desk.exchange.open_orders()
    ours = {seen.identifier: seen for seen in listed if _is_ours(seen)}
    async with desk.db.begin() as conn:
        known = await order_store.by_identifier(conn, desk.mode, [str(name) for name in ours])
    findings.open_ours = len(ours)
    findings.open_foreign = len(listed) - len(ours)
    for name, seen in ours.items():
        if (row := known.get(str(name))) is None:
            why = f"order {name} is open under the daemon's mark and not in its table"
            findings.mismatches.append(_about_order(seen.market, str(name), why))
        elif row.state is State.REFUSED:
            findings.mismatches.append(await _stray(desk, row, seen))


async def _compare_buried(desk: TradingAccount, findings: _Findings) -> None:
    """Orders that were given up lately, should one have arrived after all."""
    async with desk.db.begin() as conn:
        rows = await order_store.buried(conn, desk.mode, desk.clock() - LOOK_BACK)
    for row in rows:
        try:
            seen = await desk.exchange.order(identifier=row.identifier)
        except BadData as exc:  # one answer that cannot be read is its own market's trouble
            findings.mismatches.append(_about_order(row.market, row.identifier, str(exc)))
            continue
        if seen is not None and (_is_open(seen) or seen.executed_volume):
            findings.mismatches.append(await _stray(desk, row, seen))


async def _stray(desk: TradingAccount, row: OrderRow, seen: Order) -> Mismatch:
    """An order refused here lives at the venue: cancel what is open of it, and tell."""
    done = f"it is {seen.state}, executed {seen.executed_volume:f}"
    if _is_open(seen):
        try:
            await desk.exchange.cancel(uuid=seen.uuid)
            done += ", cancel requested"
        except JobError as exc:
            done += f", cancel failed: {exc}"
    why = f"order {row.identifier} is refused here ({row.reason}) and exists at the venue: {done}"
    return _about_order(row.market, row.identifier, why)


async def _compare_balances(
    desk: TradingAccount, standing: Standing, findings: _Findings, timeout_s: float
) -> None:
    """Positions that neither the venue's balances nor the sales of others account for."""
    if standing.covered_at is None:
        standing.covered_at = await covered_before(desk)

    async def tend_again() -> None:
        await _tend_all(desk, findings, timeout_s)

    short, booked = await compare_balances(desk, standing.covered_at, tend_again)
    findings.rows += len(booked)
    findings.mismatches += [
        Mismatch(
            market=each.market,
            about=f"balance:{each.market}",
            message=describe(each),
            advice=advice(each.market),
        )
        for each in short
    ]


async def _off_ledger(desk: TradingAccount) -> list[Mismatch]:
    async with desk.db.begin() as conn:
        off = await position_store.ledger_differences(conn, desk.mode)
    return [
        Mismatch(
            market=market,
            about=f"fills:{market}",
            message=f"the position in {market} is off the sum of its fills by {volume:f}",
        )
        for market, volume in off.items()
    ]


async def _tell(desk: TradingAccount, standing: Standing, report: Report) -> None:
    """One line, one incident for each mismatch, and an end for those that fit again."""
    logger.bind(
        event="reconcile.done",
        open_ours=report.open_ours,
        open_foreign=report.open_foreign,
        unknown=report.unknown,
        mismatches=len(report.mismatches),
        rows=report.rows,
    ).info("Reconciled with the venue")
    for mismatch in report.mismatches:
        await desk.notifier.notify(_incident(mismatch))
    now = {mismatch.incident for mismatch in report.mismatches}
    for incident in sorted((standing.told | await _may_be_open(desk)) - now):
        await desk.notifier.resolve(incident)
    standing.told = now
    await _tell_doubts(desk)


async def _may_be_open(desk: TradingAccount) -> set[str]:
    """Incidents of an earlier process, which can only be guessed by their markets: those held, and
    those that were (sold by others, or written down).
    """
    async with desk.db.begin() as conn:
        markets = await position_store.moved_markets(conn, desk.mode, desk.clock() - LOOK_BACK)
    return {f"reconcile_mismatch:{about}:{m}" for m in markets for about in _ABOUT_MARKET}


async def _tell_doubts(desk: TradingAccount) -> None:
    """Say again what an earlier process may have died before saying about unknown orders."""
    async with desk.db.begin() as conn:
        markets = await order_store.doubted_markets(conn, desk.mode, desk.clock() - LOOK_BACK)
        is_open = any(markets.values())
        unfinished = await order_store.unfinished(conn, desk.mode) if is_open else []
    newest = {order.market: order for order in unfinished if order.state is State.UNKNOWN}
    for market, still in markets.items():
        if order := newest.get(market):
            await desk.notifier.notify(unknown_incident(order, "has no answer yet"))
        elif not still:
            await desk.notifier.resolve(unknown_incident_key(market))


_ABOUT_MARKET = ("balance", "fills")


def _is_ours(seen: Order) -> bool:
    return seen.identifier is not None and seen.identifier.startswith(PREFIX)


def _is_open(seen: Order) -> bool:
    return seen.state in {"wait", "watch"}


def _about_order(market: str, identifier: str, why: str) -> Mismatch:
    return Mismatch(market=market, about=f"order:{identifier}", message=why)


def _incident(mismatch: Mismatch) -> Incident:
    return Incident(
        kind="reconcile_mismatch",
        severity="critical",
        incident=mismatch.incident,
        title=f"{mismatch.market}: venue and books differ",
        message=f"{mismatch.message}; {mismatch.market} is reduce-only until it fits",
        job="orders",
        market=mismatch.market,
        identifier=mismatch.about.removeprefix("order:")
        if mismatch.about.startswith("order:")
        else None,
        advice=mismatch.advice,
    )
