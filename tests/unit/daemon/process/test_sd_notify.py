"""What systemd hears, over real sockets."""

import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from daemon.process.sd_notify import Notify


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager with a socket in the file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def notify_to(listener: socket.socket) -> Notify:
    return Notify.from_environ({"NOTIFY_SOCKET": listener.getsockname()})


def test_ready_carries_its_status_in_one_datagram(listener: socket.socket) -> None:
    assert notify_to(listener).ready("paper, 5 markets")
    assert listener.recv(4096) == b"READY=1\nSTATUS=paper, 5 markets"


def test_ready_without_a_status_is_one_line(listener: socket.socket) -> None:
    assert notify_to(listener).ready()
    assert listener.recv(4096) == b"READY=1"


def test_stopping_watchdog_and_extend_are_spelt_as_systemd_reads_them(
    listener: socket.socket,
) -> None:
    notify = notify_to(listener)
    assert notify.stopping("draining")
    assert notify.watchdog()
    assert notify.extend(1.5)
    heard = [listener.recv(4096) for _ in range(3)]
    assert heard == [b"STOPPING=1\nSTATUS=draining", b"WATCHDOG=1", b"EXTEND_TIMEOUT_USEC=1500000"]


def test_a_status_cannot_smuggle_in_another_assignment(listener: socket.socket) -> None:
    assert notify_to(listener).status("upbit failed\nMAINPID=1\n")
    assert listener.recv(4096) == b"STATUS=upbit failed MAINPID=1"


def test_a_long_status_is_cut(listener: socket.socket) -> None:
    assert notify_to(listener).status("x" * 5000)
    assert listener.recv(8192) == b"STATUS=" + b"x" * 512


def test_an_empty_status_sends_nothing(listener: socket.socket) -> None:
    assert not notify_to(listener).status("  \n ")
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(1)


def test_an_abstract_socket_is_reached() -> None:
    name = f"upbitd-test-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        assert Notify.from_environ({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert sock.recv(64) == b"WATCHDOG=1"


def test_outside_systemd_nothing_is_sent() -> None:
    notify = Notify.from_environ({})
    assert not notify.ready()
    assert not notify.watchdog()
    assert notify.watchdog_period_s is None


def test_a_socket_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    assert not Notify(address=str(tmp_path / "nobody")).ready()


def test_a_socket_of_another_family_is_not_used() -> None:
    assert Notify.from_environ({"NOTIFY_SOCKET": "vsock:2:1234"}).address is None


def test_a_manager_that_does_not_read_never_holds_us(listener: socket.socket) -> None:
    notify = notify_to(listener)
    told = [notify.watchdog() for _ in range(5000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize(
    ("environ", "limit_s"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_it_watches_us(
    environ: dict[str, str], limit_s: float | None
) -> None:
    notify = Notify.from_environ(environ, pid=42)
    assert notify.watchdog_s == limit_s
    assert notify.watchdog_period_s == (None if limit_s is None else limit_s / 3)
