"""Standard input, output and error that can be relied on, however the process was started."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper

MODES = {0: "r", 1: "w", 2: "w"}
NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


def open_missing() -> None:
    """Open /dev/null where one of them was closed.

    Else the next file that is opened gets its number, the database's socket for example, and
    whoever prints writes into it; and Python has None in its place.
    """
    for number, mode in MODES.items():
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, NAMES[number], stream)


def replace_what_cannot_be_shown() -> None:
    """Print `?` for what the terminal's encoding lacks (EUC-KR, ASCII) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="replace")
