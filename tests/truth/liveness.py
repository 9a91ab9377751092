# ruff: noqa: T201 - a command that prints
"""Lanes that stop, under a service manager that ends what does not feed its watchdog.

    make liveness

A real daemon and a stand-in for systemd: it listens at NOTIFY_SOCKET, sends SIGABRT when
WATCHDOG=1 stays away for the unit's WatchdogSec, and starts the daemon again.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from truth.scenarios import LIVE
from truth.world import Daemon, World

WATCHDOG_S = 20.0
ABORT_S = 5.0
DETECT_S = 10.0
END_S = 30.0

STUCK: Mapping[str, Mapping[str, Any]] = {
    "loop blocked in a call": {"block_loop": 90},
    "loop spins in pure Python": {"spin_loop": 90},
    "scheduler pass raises for ever": {"pass_raises": True},
    "writer lane silent": {"starves": "writer"},
    "loop lane starved": {"starves": "loop"},
    "order following deaf to its deadline": {"starves": "job:orders"},
}
HEALED: Mapping[str, Mapping[str, Any]] = {
    "writer hangs for 15 s": {"writer_hangs": True},
    "scheduler pass raises for 15 s": {"pass_raises": True},
}
HEAL_S = 15.0


class Manager:
    """Hears the daemon and ends it when it is silent for `watchdog_s`, as systemd does."""

    def __init__(self, folder: Path, watchdog_s: float = WATCHDOG_S) -> None:
        self._address = str(folder / "notify")
        self._watchdog_s = watchdog_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._stopped = False
        self.killed_at_s: float | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What systemd would put into the environment."""
        return {
            "NOTIFY_SOCKET": self._address,
            "WATCHDOG_USEC": str(int(self._watchdog_s * 1_000_000)),
        }

    @contextlib.contextmanager
    def watching(self, process: "subprocess.Popen[str]") -> Iterator[None]:
        """Watch one process inside the block."""
        self._stopped, self.killed_at_s = False, None
        thread = threading.Thread(target=self._watch, args=(process,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped = True
            thread.join()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        self._socket.settimeout(0.1)
        fed_s = time.monotonic()
        while not self._stopped and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                if b"WATCHDOG=1" in self._socket.recv(4096):
                    fed_s = time.monotonic()
            if time.monotonic() - fed_s > self._watchdog_s:
                self._abort(process)
                return

    def _abort(self, process: "subprocess.Popen[str]") -> None:
        self.killed_at_s = time.monotonic()
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(ABORT_S)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a stuck daemon, in seconds from the fault; None: not within a minute."""

    silent_s: float | None
    ended_s: float | None
    ready_s: float | None


def is_alive(daemon: Daemon) -> bool:
    """What /livez says; a port that is gone is not alive."""
    try:
        return daemon.client.get("/livez").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def until(condition: Any, timeout_s: float) -> float | None:
    """Wait until the condition holds; return the instant, None if it never does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return time.monotonic()
        time.sleep(0.05)
    return None


def end_by_watchdog(world: World, manager: Manager, levers: Mapping[str, Any]) -> Fate:
    """Pull levers and never let go; the manager has to end and restart it."""
    daemon = world.daemon
    with manager.watching(daemon.process):
        began_s = time.monotonic()
        for name, value in levers.items():
            daemon.pull(name, value)
        silent_s = until(lambda: not is_alive(daemon), 60)
        ended_s = until(lambda: daemon.process.poll() is not None, 60)
    was_killed = manager.killed_at_s is not None
    world.restart()
    ready_s = time.monotonic()
    return Fate(
        silent_s and silent_s - began_s,
        ended_s - began_s if ended_s is not None and was_killed else None,
        ready_s - (ended_s or ready_s),
    )


def heal(world: World, manager: Manager, levers: Mapping[str, Any]) -> bool:
    """Pull levers, let go before the manager loses patience; whether the process lived on."""
    daemon = world.daemon
    with manager.watching(daemon.process):
        for name, value in levers.items():
            daemon.pull(name, value)
        time.sleep(HEAL_S)
        for name in levers:
            daemon.pull(name, None)
        is_well = until(lambda: is_alive(daemon), 30) is not None
        time.sleep(WATCHDOG_S / 2)
    return is_well and daemon.process.poll() is None


def main(names: Sequence[str] = tuple(STUCK)) -> int:
    """Print the table; return 1 where a limit is missed."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="upbitd-liveness-") as text:
        folder = Path(text)
        folder.chmod(0o755)
        manager = Manager(folder)
        with World(folder, LIVE) as world:
            world.daemon.environ = manager.environ
            world.restart()
            print(f"{'what stops':<40}{'livez 503':>10}{'ended':>8}{'ready again':>13}")
            for name in names:
                fate = end_by_watchdog(world, manager, STUCK[name])
                cells = (fate.silent_s, fate.ended_s, fate.ready_s)
                texts = ["never" if each is None else f"{each:.1f} s" for each in cells]
                print(f"{name:<40}{texts[0]:>10}{texts[1]:>8}{texts[2]:>13}", flush=True)
                missed += not (fate.silent_s and fate.silent_s <= DETECT_S)
                missed += not (fate.ended_s and fate.ended_s <= END_S)
            for name, levers in HEALED.items():
                lives = heal(world, manager, levers)
                missed += not lives
                print(f"{name:<40}{'healed, the process lived on' if lives else 'NOT HEALED'}")
        manager.close()
    print(f"limits: livez within {DETECT_S:g} s, the end within {END_S:g} s; missed: {missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
