"""What can be done to a world, each with its undoing. A scenario names levers and their values."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from truth.proxy import Proxy
from truth.world import PASSWORD, ROLE, World, freeze, processes_of

from daemon.postgres import schema

Lever = Callable[..., AbstractContextManager[None]]
MOUNT = ("mount", "-t", "tmpfs", "-o", "size=4k,mode=777", "tmpfs")
UNMOUNT = ("umount", "--lazy")
LEVERS: dict[str, Lever] = {}


def lever(act: Callable[..., Iterator[None]]) -> Lever:
    """Register a lever under the name of its function."""
    made = contextmanager(act)
    LEVERS[act.__name__] = made
    return made


@lever
def venue(world: World, **fault: Any) -> Iterator[None]:
    """A fault of the sandbox (fields of sandbox.faults.Fault) for every matching request."""
    number = world.tell("faults", **{"count": 0, **fault})["number"]
    yield
    world.control.delete(f"/sandbox/faults/{number}")
    world.control.delete("/sandbox/quotas")


@lever
def option(world: World, **options: Any) -> Iterator[None]:
    """Options of the sandbox."""
    before = world.control.get("/sandbox/options").json()
    world.tell("options", **options)
    yield
    world.tell("options", **{name: before[name] for name in options})


@lever
def key(world: World, **fields: Any) -> Iterator[None]:
    """Properties of the account's key at the exchange."""
    world.key(**fields)
    yield
    world.key()


@lever
def no_key(world: World) -> Iterator[None]:
    """The exchange does not know the key any more."""
    world.control.delete(f"/sandbox/keys/{world.card['access_key']}")
    yield
    world.key()


@lever
def model(world: World, scenario: str) -> Iterator[None]:
    """Every generateContent goes as this scenario of the sandbox says."""
    world.tell("gemini/script", scenarios=[scenario] * 500)
    yield
    world.tell("gemini/script", scenarios=[])


@lever
def door(world: World, to: str, how: str, delay_s: float = 0.0) -> Iterator[None]:
    """The way to `database`, `upbit`, `gemini` or `redis` is shut, blocked or slow."""
    proxy: Proxy = getattr(world, to)
    if how == "shut":
        proxy.shut()
    elif how == "block":
        proxy.block()
    else:
        proxy.delay(delay_s)
    yield
    proxy.open()


@lever
def server(world: World, how: str) -> Iterator[None]:
    """The database server is stopped, killed or frozen as a process."""
    if how == "frozen":
        pids = processes_of(world.server.pid or 0)
        freeze(pids, on=True)
        yield
        freeze(pids, on=False)
        return
    if how == "killed":
        os.kill(world.server.pid or 0, signal.SIGKILL)
    world.server.stop()
    yield
    world.server.start()
    world.reconnect()


@lever
def read_only(world: World) -> Iterator[None]:
    """The database takes no writes."""
    _system(world, "ALTER SYSTEM SET default_transaction_read_only = on")
    yield
    _system(world, "ALTER SYSTEM RESET default_transaction_read_only")


def _system(world: World, statement: str) -> None:
    world.admin.execute(statement.encode())
    world.admin.execute("SELECT pg_reload_conf()")


@lever
def role(
    world: World, password: str = PASSWORD, login: bool = True, most: int = -1
) -> Iterator[None]:
    """The daemon's role: another password, no log-in, or a limit of connections; all are cut."""
    world.ask_for_passwords()
    _alter(world, SQL("PASSWORD {}").format(password))
    _alter(world, SQL("LOGIN" if login else "NOLOGIN"))
    _alter(world, SQL("CONNECTION LIMIT {}").format(most))
    world.admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROLE,)
    )
    yield
    _alter(world, SQL("LOGIN CONNECTION LIMIT -1 PASSWORD {}").format(PASSWORD))


def _alter(world: World, what: Any) -> None:
    world.admin.execute(SQL("ALTER ROLE {} {}").format(Identifier(ROLE), what))


@lever
def locked(world: World, table: str) -> Iterator[None]:
    """Another session holds a table for itself alone."""
    with psycopg.connect(world.inside) as other:
        other.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(Identifier(table)))
        yield
        other.rollback()


@lever
def rows(world: World, do: str, undo: str = "") -> Iterator[None]:
    """Rows as somebody else may leave them."""
    world.admin.execute(do.encode())
    yield
    if undo:
        world.admin.execute(undo.replace("{head}", schema.head()).encode())


@lever
def holding(world: World, market: str, price: str, coins: int = 1) -> Iterator[None]:
    """One coin of a market in the daemon's books, and so many in the account."""
    coin = market.partition("-")[2]
    world.tell("credit", currency=coin, amount=str(coins))
    world.admin.execute(
        "INSERT INTO positions (mode, market, volume, avg_price, high_price, opened_at)"
        " VALUES ('live', %s, 1, %s, %s, now()) ON CONFLICT (mode, market) DO UPDATE"
        " SET volume = positions.volume + 1, avg_price ="
        " (positions.volume * positions.avg_price + excluded.avg_price) / (positions.volume + 1)",
        (market, price, price),
    )
    yield
    world.tell("credit", currency=coin, amount=str(-coins))
    world.admin.execute(
        "UPDATE positions SET volume = volume - 1 WHERE mode = 'live' AND market = %s", (market,)
    )


@lever
def inside(world: World, **levers: Any) -> Iterator[None]:
    """Levers inside the daemon's own process (truth/faulty_daemon.py)."""
    for name, value in levers.items():
        world.daemon.pull(name, value)
    yield
    for name in levers:
        world.daemon.pull(name, None)


@lever
def leader(world: World, how: str) -> Iterator[None]:
    """The other daemon, which leads, is killed or frozen."""
    assert world.leader is not None
    if how == "frozen":
        pids = [world.leader.process.pid]
        freeze(pids, on=True)
        yield
        freeze(pids, on=False)
    else:
        world.leader.end()
        yield


@lever
def wait(world: World, seconds: float) -> Iterator[None]:
    """Nothing, for so long: the next lever comes later."""
    del world
    time.sleep(seconds)
    yield


@lever
def halt_file(world: World, name: str, leads_to: str = "") -> Iterator[None]:
    """A file in the state directory halts trading; with `leads_to` it is a link."""
    file = world.state_dir / name
    world.state_dir.mkdir(exist_ok=True)
    if leads_to:
        file.symlink_to(leads_to)
    else:
        file.touch()
    yield
    file.unlink()


@lever
def state_read_only(world: World) -> Iterator[None]:
    """Nothing can be written in the state directory."""
    world.state_dir.mkdir(exist_ok=True)
    world.state_dir.chmod(0o500)
    yield
    world.state_dir.chmod(0o755)


@lever
def disk_full(world: World) -> Iterator[None]:
    """The server's disk takes no row more: a full one where rows are spilled to; without the right
    to mount one, a limit of the server's that refuses in the same place.
    """
    place = world.data_dir / "base" / "pgsql_tmp"
    if not place.exists():
        place.mkdir()
        shutil.chown(place, world.data_dir.stat().st_uid)
    if subprocess.run([*MOUNT, str(place)], check=False, capture_output=True).returncode == 0:
        yield
        subprocess.run([*UNMOUNT, str(place)], check=True)
    else:
        _system(world, "ALTER SYSTEM SET temp_file_limit = 0")
        yield
        _system(world, "ALTER SYSTEM RESET temp_file_limit")
