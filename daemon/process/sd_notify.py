"""Tells systemd how the daemon is: READY, WATCHDOG, STATUS and STOPPING over NOTIFY_SOCKET.

The protocol is one datagram of NAME=VALUE lines (sd_notify(3)). Outside systemd every call is a
harmless no. Sending never waits: a service manager that does not read must not hold the daemon.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from loguru import logger

MAX_STATUS_CHARS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """The service manager's socket. `address` None: nobody listens.

    `watchdog_s` is how soon systemd ends a silent service, in seconds; None: it does not watch.
    """

    address: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, pid: int | None = None) -> Self:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; `pid` defaults to our own."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            logger.bind(event="daemon.notify").warning("NOTIFY_SOCKET is not a local socket")
            address = None
        return cls(
            address=address,
            watchdog_s=_watchdog_s(environ, os.getpid() if pid is None else pid),
        )

    @property
    def watchdog_period_s(self) -> float | None:
        """How often to call `watchdog`: a third of the limit, so that one may be lost."""
        return None if self.watchdog_s is None else self.watchdog_s / 3

    def ready(self, status: str = "") -> bool:
        """Say that the start is complete. Returns whether systemd was told."""
        return self._send(["READY=1", *_status(status)])

    def stopping(self, status: str = "") -> bool:
        """Say that the orderly stop has begun."""
        return self._send(["STOPPING=1", *_status(status)])

    def watchdog(self) -> bool:
        """Say that the service makes progress."""
        return self._send(["WATCHDOG=1"])

    def status(self, text: str) -> bool:
        """Show `text` as one line in `systemctl status`."""
        return self._send(_status(text))

    def extend(self, seconds: float) -> bool:
        """Ask for `seconds` more to start or stop, from now on."""
        return self._send([f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"])

    def _send(self, lines: list[str]) -> bool:
        if self.address is None or not lines:
            return False
        # an address with @ is in the abstract name space, where the first byte is zero
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), name)
        except OSError as exc:
            log = logger.bind(event="daemon.notify", sent=lines[0], error=str(exc))
            log.warning("systemd was not told")
            return False
        return True


def _status(text: str) -> list[str]:
    line = " ".join(text.split())[:MAX_STATUS_CHARS]
    return [f"STATUS={line}"] if line else []


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """The limit, unless it is meant for another process (a shell that started us) or nonsense."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1_000_000 if usec.isdecimal() and int(usec) > 0 else None
