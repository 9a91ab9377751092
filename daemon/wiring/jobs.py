"""The four jobs, built from what is open, and when each is due."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from daemon.config.job_sections import JobConfig
from daemon.config.load import Config
from daemon.leadership.election import Leadership
from daemon.leadership.fenced_exchange import FencedExchange
from daemon.leadership.term import OnDeferred, Shift
from daemon.requests.book_commands import handlers as book_commands
from daemon.requests.order_commands import Account, forced
from daemon.requests.order_commands import handlers as order_commands
from daemon.requests.queue import Handler
from daemon.resources import Resources, exchange_of
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.pace import market_pace, schedule_of
from daemon.scheduling.retry import RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.scheduling.scheduler import Schedule
from daemon.scheduling.slot_ledger import SlotLedger
from daemon.wiring.data_jobs import make_filler, make_market_job, make_signals_job
from jobs import ALL
from jobs.candles.selection import Selection
from jobs.core.job import JobSpec, Slot
from jobs.domain.portfolio import Mode
from jobs.market.delisting import DelistingWatch
from jobs.market.marks import MarketMarks
from jobs.orders.account import TradingAccount
from jobs.orders.job import OrdersJob
from jobs.orders.market_gate import Clearance
from jobs.orders.paper_exchange import PaperExchange
from jobs.orders.quotes import MarketView
from jobs.orders.reconcile import reconcile
from jobs.orders.shadow import ShadowedOrders, Unheard
from jobs.store.positions import engaged_markets
from jobs.upbit.stated_ticks import TickWatch
from jobs.upkeep import UpkeepJob

Run = Callable[[Slot], Awaitable[int]]


def job_configs(config: Config) -> dict[str, JobConfig]:
    """Return the sections of the jobs that are switched on, in the order of a cycle."""
    sections = {name: getattr(config.jobs, name) for name in ALL}
    return {name: section for name, section in sections.items() if section.enabled}


def schedules(config: Config) -> dict[str, Schedule]:
    """Return when each job that is switched on is due."""
    return {name: schedule_of(each, config) for name, each in job_configs(config).items()}


def deadlines_s(config: Config) -> dict[str, float]:
    """Return how long each job may take, in seconds."""
    return {name: each.deadline.total_seconds() for name, each in job_configs(config).items()}


def make_shift(
    resources: Resources,
    ledger: SlotLedger,
    board: JobStatus,
    mask: Callable[[str], str],
    leadership: Leadership,
    on_deferred: OnDeferred,
) -> Shift:
    """Return the runner of the four jobs; every write stands behind the leadership's fence."""
    fenced = replace(resources.base.database, fence=leadership.fence)
    resources = replace(resources, base=replace(resources.base, database=fenced))
    base = resources.base
    selection = _selection(resources)
    marks, ticks = _marks(resources), TickWatch(exchange=resources.upbit, clock=base.clock)
    orders = _orders_job(resources, leadership, _bars(selection, marks), ticks)
    shadowed = _shadowed(resources, leadership, orders, ticks)
    watch = _watch(selection, marks, ticks, _delisting(resources, selection, marks))
    filler = make_filler(resources, partial(board.progress, "market"))
    running: dict[str, Run] = {
        "market": make_market_job(resources, selection, watch, filler).run,
        "signals": make_signals_job(resources, selection, marks, filler.plan, on_deferred).run,
        "orders": orders.run if shadowed is None else shadowed.run,
        "upkeep": _upkeep_job(resources).run,
    }
    retry = base.config.retry
    runner = Runner(
        specs(base.config, running),
        Means(
            ledger=ledger,
            policy=RetryPolicy(delays_s=retry.delays, max_wait_s=retry.max_wait.total_seconds()),
            notifier=base.notifier,
            clock=base.clock,
            on_deferred=on_deferred,
            observer=board,
            mask=mask,
            is_ours=leadership.holds,
        ),
    )

    async def compare() -> object:
        settings = await resources.caches.settings.current()
        return await reconcile(
            orders.desk, orders.standing, timeout_s=settings.order_timeout_s, deep=True
        )

    return Shift(
        runner=runner,
        reconcile=compare,
        database=fenced,
        commands=_commands(resources, orders, leadership),
        beside=filler.run,
    )


def _commands(
    resources: Resources, orders: OrdersJob, leadership: Leadership
) -> Mapping[str, Handler]:
    """What people may ask of the running daemon, by name (daemon/requests/queue.py)."""
    account = Account(desk=orders.desk, view=orders.view)
    guard = partial(FencedExchange, holds=leadership.holds)
    return {
        **order_commands(account, forced(resources.base, orders.desk, guard)),
        **book_commands(account, orders.standing.compare_soon),
    }


def specs(config: Config, running: Mapping[str, Run]) -> dict[str, JobSpec]:
    """Return the jobs that are switched on, each with its limits and policies."""
    return {
        name: _spec(name, running[name], section) for name, section in job_configs(config).items()
    }


def _spec(name: str, run: Run, section: JobConfig) -> JobSpec:
    spec = JobSpec(
        name=name,
        run=run,
        deadline_s=section.deadline.total_seconds(),
        overlap=section.overlap,
        misfire=section.misfire,
    )
    if name != "orders":
        return spec
    # what closed a gate may be another job's doing (a ban for candles covers prices): following
    # orders and exits go on in the next slot instead of sitting that out
    return replace(spec, lane="orders", max_wait_s=0.0)


def _selection(resources: Resources) -> Selection:
    config = resources.base.config
    markets = config.trading.markets
    return Selection(
        listing=resources.caches.listing(resources.upbit, config.upbit.base_url),
        clock=resources.base.clock,
        names=markets.names,
        top=markets.top,
        ttl_s=config.cache.market_info_ttl.total_seconds(),
        excluded=frozenset(config.trading.exclude),
        engaged=partial(engaged_markets, resources.base.database, _modes(config)),
    )


def _bars(selection: Selection, marks: MarketMarks) -> Callable[[str], Awaitable[str | None]]:
    """Why a market takes no entry, from whoever has a say; None when it does."""

    async def why_no_entry(market: str) -> str | None:
        return await selection.why_no_entry(market) or await marks.why_no_entry(market)

    return why_no_entry


def _watch(
    selection: Selection, marks: MarketMarks, ticks: TickWatch, delisting: DelistingWatch
) -> Callable[[], Awaitable[None]]:
    """What the market job looks at besides prices and candles."""

    async def watch() -> None:
        await marks.watch()
        await delisting.watch()
        listed = await marks.current()
        await ticks.watch([name for name in await selection.current() if name in listed])

    return watch


def _modes(config: Config) -> tuple[Mode, ...]:
    """The accounts that are traded: a live one may have its paper twin beside it."""
    mode = config.trading.mode
    return ("live", "paper") if mode == "live" and config.signals.shadow else (mode,)


def _marks(resources: Resources) -> MarketMarks:
    base = resources.base
    return MarketMarks(
        exchange=resources.upbit,
        db=base.database,
        clock=base.clock,
        notifier=base.notifier,
        held=partial(engaged_markets, base.database, (base.config.trading.mode,)),
        allow_warned=base.config.trading.allow_warned,
        named=frozenset(base.config.trading.markets.names + base.config.trading.exclude),
    )


def _delisting(resources: Resources, selection: Selection, marks: MarketMarks) -> DelistingWatch:
    base = resources.base
    return DelistingWatch(
        db=base.database,
        notifier=base.notifier,
        wanted=selection.current,
        held=marks.held,
        listed=resources.upbit.markets,
        unquoted=lambda: resources.upbit.absent.unquoted,
    )


def _orders_job(
    resources: Resources,
    leadership: Leadership,
    why_no_entry: Callable[[str], Awaitable[str | None]],
    ticks: TickWatch,
) -> OrdersJob:
    base = resources.base
    venue = exchange_of(base, base.database, resources.upbit, ticks)
    exchange = FencedExchange(venue, leadership.holds)
    desk = TradingAccount(
        db=base.database,
        exchange=exchange,
        clock=base.clock,
        notifier=base.notifier,
        mode=base.config.trading.mode,
        epoch=leadership.epoch,
        halt_file=base.config.daemon.halt_file,
        ceilings=base.config.limits.ceilings(),
    )
    view = MarketView(
        db=base.database,
        exchange=exchange,
        quotes=resources.upbit,
        clock=base.clock,
        data_max_age_s=market_pace(base.config).slack.total_seconds(),
        chance_ttl_s=base.config.cache.market_info_ttl.total_seconds(),
        ticks_of=ticks.of,
    )
    return OrdersJob(
        desk=desk,
        view=view,
        sleep=asyncio.sleep,
        settings=resources.caches.settings.current,
        why_no_entry=why_no_entry,
        clearance=Clearance(on_refusal=ticks.learn),
    )


def _shadowed(
    resources: Resources, leadership: Leadership, live: OrdersJob, ticks: TickWatch
) -> ShadowedOrders | None:
    """The live job with its paper twin, where one is wanted; a paper account needs none."""
    base = resources.base
    if base.config.trading.mode != "live" or not base.config.signals.shadow:
        return None
    exchange = PaperExchange(
        base.database,
        resources.upbit,
        clock=base.clock,
        start_krw=base.config.trading.paper_balance_krw,
        ticks_stated=lambda: ticks.stated,
    )
    desk = replace(
        live.desk,
        exchange=FencedExchange(exchange, leadership.holds),
        notifier=Unheard(),
        mode="paper",
        is_twin=True,
    )
    twin = OrdersJob(
        desk=desk,
        view=replace(live.view, exchange=desk.exchange, _chances={}),
        sleep=asyncio.sleep,
        settings=resources.caches.settings.current,
        why_no_entry=live.why_no_entry,
        clearance=Clearance(on_refusal=ticks.learn),
    )
    return ShadowedOrders(live=live, twin=twin)


def _upkeep_job(resources: Resources) -> UpkeepJob:
    return UpkeepJob(
        db=resources.base.database,
        clock=resources.base.clock,
        settings=resources.caches.settings.current,
    )
