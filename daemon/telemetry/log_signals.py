"""Signals that do not stop the daemon: SIGHUP opens log files anew, the others are ignored.

By default each of them would end the process at once, without a drain. Handlers are set before
anything is opened and stay until the very end; SIGTERM and SIGINT belong to shutdown.py.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from daemon.telemetry.logs import Logs

IGNORED = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)


@contextmanager
def harmless_signals(logs: Logs) -> Iterator[None]:
    """Inside the block SIGHUP opens log files anew and other signals are a line in the log."""

    def reopen(_number: int, _frame: FrameType | None) -> None:
        logs.reopen("SIGHUP")

    def ignore(number: int, _frame: FrameType | None) -> None:
        logs.notice("daemon.signal_ignored", "Signal ignored", signal=_name(number))

    before = {number: signal.signal(number, ignore) for number in IGNORED}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reopen)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal between the first and the last
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
