"""What the doctor looks at on this machine, and the list of everything it looks at."""

import asyncio
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from daemon.config.load import Config, secrets_in
from daemon.config.types import is_loopback
from daemon.doctor import process, services
from daemon.doctor.orders import ORDERS, orders
from daemon.doctor.results import Check, Finding, examine_all, fault, note, ok, warning
from daemon.postgres import schema
from daemon.postgres.server_age import describe_age
from daemon.postgres.session import EMBEDDED, open_for_command
from jobs.store.db import Database

GIB = 2**30
LEAST_BYTES, FEW_BYTES = GIB // 2, 2 * GIB
SPARE_CONNECTIONS = 10
"""For commands, migrations and whoever looks by psql."""
OLDEST_SERVER = 140_000
REDIS_S = 5.0
REDIS_KEPT_MS = 10_000
SYSTEMD_S = 5.0
SYSTEMD_FOLDER = Path("/run/systemd/system")

DATABASE = "database"
MIGRATIONS = "migrations"
UNIT = "upbitd.service"


async def diagnose(config: Config, mask: Callable[[str], str]) -> list[Finding]:
    """Everything the doctor finds with a configuration that could be read."""
    return _configuration(config) + await examine_all(_checks(config), mask)


def _checks(config: Config) -> list[Check]:
    return [
        Check(
            subject=DATABASE,
            run=partial(database, config),
            mend="check database.url, and that the server runs and lets this machine in",
        ),
        Check(
            subject=ORDERS,
            run=partial(orders, config),
            mend="see `upbitd orders` and `upbitd alerts --open`",
        ),
        Check(
            subject="Redis",
            run=partial(redis, config.redis.url),
            mend='check redis.url, or set it to "" to go on without',
        ),
        Check(
            subject=services.UPBIT,
            run=partial(services.upbit, config, _now),
            mend="check this machine's network, and upbit.base_url",
        ),
        Check(
            subject=services.GEMINI,
            run=partial(services.gemini, config, _now),
            mend="check this machine's network, and gemini.base_url",
        ),
        Check(
            subject="disk",
            run=partial(_in_list, partial(disk, config.daemon.state_dir)),
            mend="check daemon.state_dir",
        ),
        Check(
            subject=process.ENVIRONMENT,
            run=partial(_environment, config, dict(os.environ)),
            mend="look at `env`",
        ),
        Check(
            subject=process.LOG,
            run=partial(_in_list, partial(process.log_file, config)),
            mend="check log.file",
        ),
        Check(
            subject="alerts",
            run=partial(_hooks, config),
            mend="check alerts.hooks",
        ),
        Check(
            subject="systemd",
            run=systemd,
            mend="look at `systemctl status upbitd`",
        ),
    ]


def _now() -> datetime:
    return datetime.now(UTC)


async def _in_list(look: Callable[[], Finding]) -> list[Finding]:
    return [await asyncio.to_thread(look)]


async def _environment(config: Config, environ: Mapping[str, str]) -> list[Finding]:
    return [
        *await asyncio.to_thread(process.environment, config, environ),
        *process.encryption(config),
    ]


def _configuration(config: Config) -> list[Finding]:
    if (missing := config.missing_keys()) is not None:
        said, _, mend = missing.partition("; ")
        return [fault("configuration", said, mend)]
    return [ok("configuration", f"{config.trading.mode} trading, {config.signals.source} signals")]


def configuration_file(path: Path) -> Finding:
    """Whether others may read the secrets that stand in the file, or change it."""
    subject = "configuration file"
    mode = stat.S_IMODE(path.stat().st_mode)
    mend = f"`chmod 640 {path}` and `chgrp upbitd {path}`"
    if mode & stat.S_IWOTH:
        return fault(subject, f"everybody may change {path} (mode {mode:o})", mend)
    held = secrets_in(path)
    if held and mode & stat.S_IROTH:
        said = f"everybody may read {', '.join(held)} in {path} (mode {mode:o})"
        return fault(subject, said, f"{mend}, or make each a systemd credential")
    said = f"holds {', '.join(held)}, closed to others" if held else "holds no secret"
    return ok(subject, said)


async def database(config: Config) -> list[Finding]:
    """Whether the database can be used, has room for the pool, and is at head."""
    embedded = config.database.url == EMBEDDED
    folder = config.daemon.state_dir / "postgres" / "data" / "PG_VERSION"
    if embedded and not await asyncio.to_thread(folder.exists):
        return [note(DATABASE, "not made yet; the first `upbitd run` makes it")]
    async with open_for_command(config) as db:
        began = time.monotonic()
        found = await _server(db, config.database.pool_max)
        took_ms = (time.monotonic() - began) * 1000
        found.insert(0, ok(DATABASE, f"answers, {took_ms:.1f} ms for three questions"))
        found.append(await _migrations(db, embedded=embedded))
    return found


async def _server(db: Database, pool_max: int) -> list[Finding]:
    async with db.begin() as tx:
        version = int((await tx.execute(text("SHOW server_version_num"))).scalar_one())
        most = int((await tx.execute(text("SHOW max_connections"))).scalar_one())
        read_only = (await tx.execute(text("SHOW transaction_read_only"))).scalar_one() == "on"
        is_superuser = (await tx.execute(text("SHOW is_superuser"))).scalar_one() == "on"
    found = [note(DATABASE, describe_age(version, _now().date()))]
    if is_superuser:
        said = "the role of database.url is a superuser: one that owns the database is enough"
        found.append(note(DATABASE, said))
    if version < OLDEST_SERVER:
        found.append(fault(DATABASE, f"Postgres {version // 10_000} is too old", "use 14 or newer"))
    if read_only:
        found.append(
            fault(DATABASE, "takes no writes: it is a replica", "point database.url at the primary")
        )
    if most < pool_max + SPARE_CONNECTIONS:
        said = f"max_connections is {most}, the pool may open {pool_max}"
        found.append(warning(DATABASE, said, "raise max_connections or lower database.pool_max"))
    return found


async def _migrations(db: Database, *, embedded: bool) -> Finding:
    head = await asyncio.to_thread(schema.head)
    known = await asyncio.to_thread(schema.known)
    try:
        async with db.begin() as tx:
            current = (await tx.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    except ProgrammingError:
        current = None
    if current == head:
        return ok(MIGRATIONS, f"at head ({head})")
    found = schema.Status(current=current, head=head, pending=())
    if current not in known and found.is_newer:
        return fault(MIGRATIONS, str(found), found.mend)
    if embedded:
        return note(MIGRATIONS, f"at {current or 'none'}; the daemon goes to {head} when it starts")
    return fault(MIGRATIONS, f"at {current or 'none'}, not at {head}", "run `upbitd migrate up`")


async def redis(url: str) -> list[Finding]:
    """Whether Redis answers, where one is configured."""
    if not url:
        return [note("Redis", "not used")]
    began = time.monotonic()
    client: Redis = Redis.from_url(url, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S)
    async with client:
        await client.ping()
        found = [ok("Redis", f"answers in {(time.monotonic() - began) * 1000:.1f} ms")]
        found += await _try_redis(client)
    if open_to_the_network(url):
        said = "takes no password and is not on this machine: others can write what is shown"
        found.append(warning("Redis", said, "set a password (requirepass) and use rediss://"))
    return found


async def _try_redis(client: Redis) -> list[Finding]:
    """Whether it does what the cache asks: keep a value, give it back, tell others."""
    name = f"upbitd:doctor:{uuid.uuid4().hex}"
    try:
        await client.set(name, b"1", px=REDIS_KEPT_MS)
        value = await client.get(name)
        await client.publish(name, b"1")
        await client.delete(name)
    except ResponseError as exc:
        mend = "see its maxmemory, ACL (keys and channels upbitd:*), disk and replication"
        return [fault("Redis", f"refuses: {type(exc).__name__}: {exc}", mend)]
    if value != b"1":
        mend = "see its maxmemory-policy; the cache helps nobody so"
        return [warning("Redis", "forgets at once what it was given", mend)]
    return [ok("Redis", "takes, gives back and publishes")]


def open_to_the_network(url: str) -> bool:
    """Whether the address names another machine's Redis without a password and without TLS."""
    parts = urlsplit(url)
    has_password = bool(parts.password or parse_qs(parts.query).get("password"))
    return parts.scheme == "redis" and not has_password and not is_loopback(parts.hostname or "")


def disk(state_dir: Path) -> Finding:
    """Whether the state directory can be written and has room."""
    place = next(each for each in (state_dir, *state_dir.parents) if each.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        mend = f"`chown` it to the daemon's account, or set daemon.state_dir; now {state_dir}"
        return fault("disk", f"{place} cannot be written by this account", mend)
    free = shutil.disk_usage(place).free
    said = f"{free / GIB:.1f} GiB free at {place}"
    mend = "make room, or set daemon.state_dir to another disk"
    if free < LEAST_BYTES:
        return fault("disk", said, mend)
    return warning("disk", said, mend) if free < FEW_BYTES else ok("disk", said)


async def _hooks(config: Config) -> list[Finding]:
    if not config.alerts.hooks:
        return [note("alerts", "no hooks: alerts stand in the log and in `upbitd alerts` only")]
    broken = [
        fault("alerts", f"{hook.exec[0]} is no program this account can run", "check alerts.hooks")
        for hook in config.alerts.hooks
        if hook.exec is not None and not os.access(hook.exec[0], os.X_OK)
    ]
    return broken or [ok("alerts", f"{len(config.alerts.hooks)} hooks; try `upbitd alerts test`")]


async def systemd() -> list[Finding]:
    """Whether systemd runs here and knows the daemon."""
    if not await asyncio.to_thread(SYSTEMD_FOLDER.is_dir):
        return [note("systemd", "does not run here; keep the daemon up by other means")]
    asked = await asyncio.create_subprocess_exec(
        "systemctl",
        "show",
        UNIT,
        "--property=LoadState,ActiveState,UnitFileState",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(SYSTEMD_S):
        out, _ = await asked.communicate()
    return [read_unit(out.decode(errors="replace"))]


def read_unit(shown: str) -> Finding:
    """What `systemctl show` says of the unit."""
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    load, active = values.get("LoadState", ""), values.get("ActiveState", "")
    if load != "loaded":
        return note("systemd", f"{UNIT} is not installed")
    if active == "failed":
        return fault("systemd", f"{UNIT} failed", "see `journalctl -u upbitd -e`")
    if values.get("UnitFileState") != "enabled":
        mend = "`systemctl enable upbitd`"
        return warning("systemd", f"{UNIT} is {active} and does not start at boot", mend)
    return ok("systemd", f"{UNIT} is {active} and starts at boot")
