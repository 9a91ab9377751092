"""The composition root: open everything, run until told to stop, close in reverse order."""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from loguru import logger

from daemon.alerting.channels import make_hook
from daemon.alerting.halt_monitor import HaltMonitor, status_line, watch_halt
from daemon.alerting.monitors import Means, watches
from daemon.alerting.outbox import Listeners, Origin, Outbox
from daemon.alerting.rules import RecentRuns
from daemon.alerting.stall_alarm import StallAlarm
from daemon.caching.hit_rate_report import report_hourly
from daemon.config.load import Config, ConfigError, service_links
from daemon.cooldowns import GateKeeper, restore_gates
from daemon.doctor.network import check_network
from daemon.health_port import probes
from daemon.health_port.routes import Answers, make_server
from daemon.leadership.announcements import LeadNews
from daemon.leadership.election import NotLeader, application_name, new_session
from daemon.leadership.run_marker import noted_run, process_name
from daemon.leadership.term import Duty, claim_of, holder_name, lead_until_stopped
from daemon.postgres import schema
from daemon.postgres.ping import reach
from daemon.postgres.pool import PoolOptions, open_database
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import EmbeddedError, refuse_nobody
from daemon.process.background import Background
from daemon.process.executors import LaneThreads
from daemon.process.hidden_memory import hide_process
from daemon.process.sd_notify import Notify
from daemon.process.shutdown import Stop
from daemon.process.state import ProcessStatus
from daemon.requests.queue import Requests
from daemon.resources import (
    Foundation,
    Resources,
    open_resources,
    upbit_keys,
)
from daemon.scheduling.job_controls import Controls
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.pace import signal_age
from daemon.scheduling.slot_ledger import SlotLedger
from daemon.telemetry.event_metrics import count_events
from daemon.telemetry.log_format import JOURNAL
from daemon.telemetry.log_metrics import watch_logs
from daemon.telemetry.log_signals import harmless_signals
from daemon.telemetry.logs import Logs, configure
from daemon.telemetry.metrics import JobMetric, Metrics
from daemon.telemetry.pool_metrics import watch_pool
from daemon.wiring import jobs as wiring
from health.report import Examiner
from health.server import CannotListen
from health.watchdog import Heartbeats, Watchdog, pulse
from jobs.cache.listener import listen
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.core.http_clients import BadEnvironment
from jobs.core.job import Incident, boottime_s
from jobs.store.daemon_runs import DaemonRun
from jobs.store.db import Database
from jobs.store.requests import CHANNEL as REQUESTS
from jobs.store.requests import Address

CRASHED, BAD_CONFIGURATION, NO_DATABASE, NOT_LEADER = 1, 2, 3, 4
EMBEDDED = "embedded"
LANE_LIMIT_S = 8.0
WATCH_S = 1.0
FLUSH_S = 5.0
KEPT_FOR_ORDERS = 2


class CannotStart(Exception):
    """The start is not possible; `code` is the exit code that says why."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The process around the daemon. `server` is our own Postgres, None when it is another's."""

    config: Config
    environ: Mapping[str, str]
    logs: Logs
    database_url: str
    server: EmbeddedPostgres | None
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    session: str = field(default_factory=new_session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `serve` has opened: the resources, and what watches over them."""

    resources: Resources
    ledger: SlotLedger
    board: JobStatus
    outbox: Outbox
    metrics: Metrics
    status: ProcessStatus
    gates: GateKeeper
    controls: Controls
    requests: Requests
    runs: RecentRuns


def main(config: Config, environ: Mapping[str, str]) -> int:
    """Run the daemon and return its exit code; logging is taken over for that long."""
    logs = configure(config.log, config.sensitive(), journal_stream=environ.get(JOURNAL))
    hide_process()
    faulthandler.enable()  # systemd's watchdog ends us with SIGABRT: say where every thread was
    try:
        with harmless_signals(logs), ExitStack() as stack:
            check_network(config, environ)
            if ignored := service_links(environ):
                logger.bind(event="config.ignored", variables=ignored).info(
                    "Variables of service links are ignored"
                )
            url, server = config.database.url, None
            if url == EMBEDDED:
                # from the main thread and before the loop: it ends with the thread that made it
                root = config.daemon.state_dir / "postgres"
                if config.risks_real_money:
                    refuse_nobody(root / "data")
                server = EmbeddedPostgres(root)
                url = stack.enter_context(server).daemon_url
            host = Host(config=config, environ=environ, logs=logs, database_url=url, server=server)
            return asyncio.run(serve(host))
    except CannotStart as error:
        return _say_why(str(error), error.code)
    except (BadEnvironment, ConfigError) as error:
        return _say_why(str(error), BAD_CONFIGURATION)
    except EmbeddedError as error:
        return _say_why(str(error), NO_DATABASE)
    except Exception:  # noqa: BLE001 -- the last boundary: what nobody understood ends as a line
        logger.bind(event="daemon.crashed", exit_code=CRASHED).exception("The daemon crashed")
        return CRASHED
    finally:
        logs.close()


def _say_why(why: str, code: int) -> int:
    logger.bind(event="daemon.cannot_start", error=why, exit_code=code).critical("Cannot start")
    return code


async def serve(host: Host) -> int:
    """Open everything, lead or stand by until asked to stop, close all; return the exit code.

    Raises CannotStart when the database, the health port or the leader's lock is not to be had.
    """
    config, stop, loop = host.config, Stop(), asyncio.get_running_loop()
    loop.set_exception_handler(host.logs.on_loop_error)
    loop.set_default_executor(LaneThreads())
    logger.bind(
        event="daemon.start",
        version=version("upbitd"),
        mode=config.trading.mode,
        source=config.signals.source,
        pid=os.getpid(),
    ).info("Starting")
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            notify = Notify.from_environ(host.environ)
            opened = await _open(host, stack)
            run = _this_run(host)
            base = opened.resources.base
            ends_with = await stack.enter_async_context(
                noted_run(base.database, run, opened.outbox, _now)
            )
            background = Background(_ends_the_daemon(stop), partial(_tell_of_task, opened.outbox))
            await _watch_over(host, opened, notify, background, stack)
            stack.callback(notify.stopping, "stopping")
            try:
                await lead_until_stopped(_duty(host, opened, run), stop)
            except NotLeader as error:
                raise CannotStart(str(error), NOT_LEADER) from error
            ends_with(stop.code)
    logger.bind(event="daemon.stopped", exit_code=stop.code).info("Stopped")
    return stop.code


def _this_run(host: Host) -> DaemonRun:
    """Describe this run for the database."""
    return DaemonRun(
        session=host.session,
        instance=host.config.daemon.instance,
        host=socket.gethostname(),
        process=process_name(),
        version=version("upbitd"),
        mode=host.config.trading.mode,
        started_at=_now(),
    )


def _ends_the_daemon(stop: Stop) -> Callable[[str], None]:
    return lambda task: stop.ask(f"the task {task} ended", code=CRASHED)


async def _tell_of_task(outbox: Outbox, task: str, error: Exception | None) -> None:
    """Tell a person of a task that failed, or that it is well again."""
    incident = f"task:{task}"
    if error is None:
        await outbox.resolve(incident)
        return
    await outbox.notify(
        Incident(
            kind="permanent_failure",
            severity="critical",
            incident=incident,
            title=f"The task {task} failed",
            message=f"{task} failed and is started again; the rest of the daemon goes on: {error}",
            error_type=type(error).__name__,
            error=str(error),
            advice="report the traceback of the log line daemon.task_failed: this is a bug",
        )
    )


async def _open(host: Host, stack: AsyncExitStack) -> Opened:
    """Open what jobs need, in order; `stack` closes it in reverse."""
    config = host.config
    status = ProcessStatus(mode=config.trading.mode, version=version("upbitd"), note=_note(config))
    metrics = Metrics(version=status.version, mode=status.mode)
    stack.callback(count_events(metrics))
    database = await _open_database(host, stack)
    keeper = GateKeeper()
    gates = Gates(_now, keeper.on_close, boottime_s)
    await restore_gates(gates, database, _now)
    outbox = _outbox(host, database, metrics)
    base = Foundation(config=config, database=database, clock=_now, notifier=outbox, gates=gates)
    resources = await stack.enter_async_context(open_resources(base))
    tell = partial(_tell, host.logs, metrics)
    ledger = SlotLedger(database, tell, _now, partial(host.heartbeats.beat, "writer"))
    stack.push_async_callback(_flush, ledger)
    runs = RecentRuns(_now)
    return Opened(
        resources=resources,
        ledger=ledger,
        board=JobStatus(wiring.deadlines_s(config), runs.ended, beats=host.heartbeats),
        outbox=outbox,
        metrics=metrics,
        status=status,
        gates=keeper,
        controls=Controls(database, host.database_url),
        requests=Requests(
            Address(mode=config.trading.mode, instance=config.daemon.instance),
            holder_name(config),
            host.logs.mask,
        ),
        runs=runs,
    )


def _tell(logs: Logs, metrics: Metrics, metric: JobMetric) -> None:
    """Say what became of a slot: its one line, and the figures."""
    logs.metric(metric)
    metrics.job(metric)


def _note(config: Config) -> str | None:
    """Return what keeps a reader of the page from taking the local exchange for the real one."""
    return "local exchange" if config.is_exchange_local else None


async def _open_database(host: Host, stack: AsyncExitStack) -> Database:
    """Migrate our own database, or insist that another's is at head; then open the pool."""
    section, url = host.config.database, host.database_url
    try:
        if host.server is not None:
            await asyncio.to_thread(schema.upgrade, url)
        options = PoolOptions(
            pool_min=section.pool_min,
            pool_max=section.pool_max,
            acquire_timeout_s=section.acquire_timeout.total_seconds(),
            max_waiting=section.max_waiting,
            statement_timeout_s=section.statement_timeout.total_seconds(),
            slow_query_s=section.slow_query.total_seconds(),
            isolation=section.isolation,
            application_name=application_name(host.session),
            kept_for_orders=KEPT_FOR_ORDERS,
        )
        database = await stack.enter_async_context(open_database(url, options))
        now = await asyncio.to_thread(schema.status, url)
    except JobError as error:
        raise CannotStart(str(error), NO_DATABASE) from error
    if not now.at_head:
        raise CannotStart(f"{now}: {now.mend}", NO_DATABASE)
    return database


def _outbox(host: Host, database: Database, metrics: Metrics) -> Outbox:
    alerts = host.config.alerts
    return Outbox(
        database,
        [make_hook(each, host.environ) for each in alerts.hooks],
        Origin(host=socket.gethostname(), instance=host.config.daemon.instance),
        dedupe=alerts.dedupe,
        clock=_now,
        mask=host.logs.mask,
        listeners=Listeners(
            raised=metrics.alert,
            sent=lambda hook, taken: metrics.delivery(hook, delivered=taken),
            passed=partial(host.heartbeats.beat, "alerts"),
        ),
    )


async def _flush(ledger: SlotLedger) -> None:
    """Write the last slots; a database that is away does not hold the stop for long."""
    try:
        async with asyncio.timeout(FLUSH_S):
            await ledger.flush()
    except Exception as error:  # noqa: BLE001 - the last rows must not turn a stop into a crash
        logger.bind(event="slots.unwritten", rows=ledger.unwritten, error=str(error)).error(
            "Slot rows were not written before the end"
        )


async def _watch_over(
    host: Host,
    opened: Opened,
    notify: Notify,
    background: Background,
    stack: AsyncExitStack,
) -> None:
    """Start the tasks, the probes, the port and the watchdog; then tell systemd."""
    await stack.enter_async_context(background)
    beats, resources = host.heartbeats, opened.resources
    for lane, critical in (("loop", True), ("writer", True), ("alerts", False)):
        beats.expect(lane, LANE_LIMIT_S, critical=critical)
    background.keep("pulse", partial(pulse, beats))
    background.keep("slots", opened.ledger.flush_forever)
    background.keep("alerts", opened.outbox.deliver_forever)
    background.keep("controls", opened.controls.listen)
    base = resources.base
    background.keep("requests", opened.requests.keep)
    background.keep("gates", partial(opened.gates.run, base.database))
    background.keep("cooldowns", partial(opened.gates.obey_lifts, base.gates, base.database))
    caches = resources.caches
    ears = {**caches.ears(), REQUESTS: opened.requests}
    background.keep("changes", partial(listen, host.database_url, ears))
    if caches.shared is not None:
        background.keep("shared cache", caches.follow)
    background.keep("cache report", partial(report_hourly, caches.stats, opened.outbox))
    caches.watch(opened.metrics)
    halts = HaltMonitor(
        caches.settings.current,
        host.config.daemon.halt_file,
        opened.outbox,
        on_change=lambda halt: notify.status(status_line(halt)),
    )
    opened.status.halted = lambda: halts.current
    watch_halt(opened.metrics, lambda: halts.current)
    await halts.look()
    background.start("halt", halts.keep())
    watch_pool(opened.metrics, resources.base.database.pool_stats)
    watch_logs(opened.metrics, host.logs)
    await caches.warm(host.config.trading.markets.names)
    if host.server is not None:
        background.keep("postgres", partial(host.server.watch, sleep=asyncio.sleep))
    examiner = _examiner(host, opened)
    background.keep("probes", examiner.run)
    for name, watch in watches(_means(host, opened, examiner)):
        background.keep(name, watch)
    _open_port(host, opened, examiner, stack)
    notify.ready(status_line(halts.current))
    words = StallAlarm(opened.outbox, beats)
    watchdog = Watchdog(
        beats,
        ping=notify.watchdog,
        period_s=min(notify.watchdog_period_s or WATCH_S, WATCH_S),
        on_silence=words.silent,
        on_progress=words.moves,
    )
    watchdog.start()
    stack.callback(watchdog.stop)


def _examiner(host: Host, opened: Opened) -> Examiner:
    config, resources = host.config, opened.resources
    model = resources.model
    jobs = wiring.job_configs(config)
    sources = probes.Sources(
        clock=_now,
        database=resources.base.database,
        reach_database=partial(reach, host.database_url),
        head_revision=schema.head(),
        max_waiting=config.database.max_waiting,
        mode=config.trading.mode,
        latest_signal=resources.caches.latest_signal.current,
        public_call=resources.upbit.server_date,
        private_call=None if upbit_keys(config) is None else resources.upbit.accounts,
        model_probe=None if model is None else model.probe,
        daily_budget_usd=config.gemini.daily_budget_usd,
        gates=resources.base.gates,
        heartbeats=host.heartbeats,
        board=opened.board,
        role=lambda: opened.status.role,
        reason=lambda: opened.status.readiness().reason,
        unwritten_since=lambda: opened.ledger.waiting_since,
        signals_enabled="signals" in jobs,
        orders_enabled="orders" in jobs,
        signal_max_age=signal_age(config),
        order_max_age=config.health.order_max_age,
    )
    how = probes.explain(host.logs.mask)
    return Examiner(probes.build(sources, how), explain=how, clock=_now)


def _means(host: Host, opened: Opened, examiner: Examiner) -> Means:
    return Means(
        config=host.config,
        snapshot=examiner.snapshot,
        heartbeats=host.heartbeats,
        gates=opened.resources.base.gates,
        runs=opened.runs,
        list_keys=opened.resources.upbit.api_keys,
        may_withdraw=opened.resources.upbit.may_withdraw,
        database=opened.resources.base.database,
        is_leader=lambda: opened.status.role == "leader",
        notifier=opened.outbox,
        clock=_now,
        log_trouble=host.logs.trouble,
        paused=lambda: opened.controls.paused,
    )


def _open_port(host: Host, opened: Opened, examiner: Examiner, stack: AsyncExitStack) -> None:
    answers = Answers(
        config=host.config,
        database=opened.resources.base.database,
        clock=_now,
        status=opened.status,
        heartbeats=host.heartbeats,
        metrics=opened.metrics,
        snapshot=examiner.snapshot,
        caches=opened.resources.caches.stats,
        snapshots=opened.resources.caches.snapshots,
    )
    server = make_server(answers, asyncio.get_running_loop())
    try:
        stack.enter_context(server)
    except CannotListen as error:
        raise CannotStart(str(error), BAD_CONFIGURATION) from error
    logger.bind(event="health.listening", url=server.url).info("The health port is open")


def _duty(host: Host, opened: Opened, run: DaemonRun) -> Duty:
    config, resources = host.config, opened.resources
    news = LeadNews(config=config, run=run, db=resources.base.database, notifier=opened.outbox)
    return Duty(
        claim=claim_of(config, host.database_url, host.session),
        wait_for_lock=config.daemon.standby,
        database=resources.base.database,
        ledger=opened.ledger,
        board=opened.board,
        schedules=wiring.schedules(config),
        clock=_now,
        heartbeats=host.heartbeats,
        status=opened.status,
        controls=opened.controls,
        requests=opened.requests,
        notifier=opened.outbox,
        grace_s=config.daemon.shutdown_grace.total_seconds(),
        make_shift=partial(
            wiring.make_shift, resources, opened.ledger, opened.board, host.logs.mask
        ),
        on_leading=news.tell,
    )


def _now() -> datetime:
    return datetime.now(UTC)
