"""Notes in the database that a daemon runs and how it ended, so that a bad end is told.

A process that is killed (kill -9, out of memory, the watchdog, a power cut) cannot say so itself:
its run has no end, and the next start on the same host tells of it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from jobs.core.errors import JobError
from jobs.core.job import Incident, Notifier
from jobs.store import daemon_runs
from jobs.store.daemon_runs import CRASHED, DaemonRun, UncleanEnd
from jobs.store.db import Database

PROC = Path("/proc")
START_FIELD = 19
"""Of /proc/PID/stat, counted behind the name: the start in ticks since boot (proc(5))."""
END_TIMEOUT_S = 3.0


def process_name(pid: int | str = "self", proc: Path = PROC) -> str:
    """Return a name of a process that no other one has, on this machine, for all time.

    A number alone comes again: in a container the next daemon has the same one.
    """
    boot = _boot(proc)
    stat = (proc / str(pid) / "stat").read_text("utf-8", "replace")
    number, fields = stat.partition(" ")[0], stat.rpartition(")")[2].split()
    return f"{boot}:{number}:{fields[START_FIELD]}"


def is_alive(name: str, proc: Path = PROC) -> bool:
    """Whether the process of that name still works on this machine."""
    boot, _, rest = name.partition(":")
    number = rest.partition(":")[0]
    try:
        return process_name(number, proc) == name
    except OSError:
        # gone, or hidden from us: a hidden process can still be signalled by its own account
        return number.isdecimal() and boot == _boot(proc) and _is_there(int(number))


def _boot(proc: Path) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


@asynccontextmanager
async def noted_run(
    db: Database, run: DaemonRun, notifier: Notifier, clock: Callable[[], datetime]
) -> AsyncIterator[Callable[[int], None]]:
    """Note the run for as long as the block lasts, and tell of runs before it that ended badly.

    Yields what takes the exit code; an exception ends the run with the code it carries, else as a
    crash. A database that is away keeps nobody from trading.
    """
    try:
        await daemon_runs.begin(db, run)
        await tell_of_unclean(db, run, notifier)
    except (JobError, SQLAlchemyError) as exc:
        logger.bind(event="daemon.start_not_noted", error=str(exc)).warning(
            "This start is not noted: a bad end of it will not be told"
        )
    code = 0

    def ends_with(exit_code: int) -> None:
        nonlocal code
        code = exit_code

    try:
        yield ends_with
    except BaseException as exc:
        code = getattr(exc, "code", CRASHED)
        raise
    finally:
        await _note_end(db, run, clock(), code)


async def tell_of_unclean(db: Database, run: DaemonRun, notifier: Notifier) -> None:
    """Tell of the runs before this one that ended badly, each once. Raises what the database does.

    At the start, and again when a standby takes over: then it was the leader that ended.
    """
    for bad in await daemon_runs.take_unclean(db, run, is_alive):
        await notifier.notify(_incident(bad, run))


async def _note_end(db: Database, run: DaemonRun, at: datetime, code: int) -> None:
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await daemon_runs.end(db, run.session, at, code)
    except (JobError, SQLAlchemyError, TimeoutError) as exc:
        logger.bind(event="daemon.end_not_noted", error=str(exc)).warning(
            "The next start will take this stop for a kill: the database is away"
        )


def _incident(bad: UncleanEnd, run: DaemonRun) -> Incident:
    boot, _, rest = bad.process.partition(":")
    if bad.exit_code == CRASHED:
        how = f"crashed at {bad.ended_at:%Y-%m-%d %H:%M:%S} UTC with exit code {CRASHED}"
    elif boot != run.process.partition(":")[0]:
        how = "ended with its machine, which was restarted or lost its power"
    else:
        how = "was killed (by hand, by the watchdog, or for want of memory)"
    return Incident(
        kind="unclean_restart",
        severity="warning",
        incident=f"unclean_restart:{run.instance}@{run.host}",
        title="The daemon before this one did not stop in order",
        message=f"Process {rest.partition(':')[0]} of {run.host}, which began at "
        f"{bad.started_at:%Y-%m-%d %H:%M:%S} UTC, {how}",
        is_event=True,
    )
