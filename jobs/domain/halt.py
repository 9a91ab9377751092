"""Whether trading is halted: how far, since when, by whom and why. One answer for everybody.

Two things can halt it: the runtime setting `halted` (jobs/store/settings.py reads its row) and a
file in the state directory, which needs neither database nor daemon. The stronger one counts.
"""

import os
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

LONGEST_REASON = 200
BY_COMMAND = "upbitd halt"
"""The first line of a file that `upbitd halt` wrote; who and why follow. `upbitd resume` removes
such a file and no other.
"""


class HaltLevel(StrEnum):
    """How much of trading is stopped."""

    NONE = "none"
    """Nothing."""
    ENTRIES = "entries"
    """New exposure; exits and stop-losses go on."""
    ALL = "all"
    """Every new order but those of `upbitd flatten`: stop-losses are off."""

    @property
    def rank(self) -> int:
        """How strong it is; 0 is no halt."""
        return list(HaltLevel).index(self)

    def stops(self, side: str) -> bool:
        """Whether it stops a new order of this side (`bid` or `ask`)."""
        return self is HaltLevel.ALL or (self is HaltLevel.ENTRIES and side == "bid")


FILES = {
    "HALT": HaltLevel.ALL,
    "halt": HaltLevel.ALL,
    "Halt": HaltLevel.ALL,
    "HALT-ENTRIES": HaltLevel.ENTRIES,
    "halt-entries": HaltLevel.ENTRIES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """What halts trading. `file` is one that does, alone or beside the setting; unless it is
    `own`, a person has to remove it.
    """

    level: HaltLevel = HaltLevel.NONE
    by: str | None = None
    since: datetime | None = None
    reason: str | None = None
    file: Path | None = None
    own: bool = False

    @property
    def ended_by(self) -> str:
        """What a person does to end it."""
        if self.file is None or self.own:
            return "`upbitd resume` ends it"
        return f"`upbitd resume` and the removal of {self.file} end it"

    def __str__(self) -> str:
        """The halt in a sentence, for people: who, since when, why, and how it ends."""
        if self.level is HaltLevel.NONE:
            return "not halted"
        since = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        why = "" if self.reason is None else f": {self.reason}"
        return f"halted ({self.level}) by {self.by or 'somebody'}{since}{why}; {self.ended_by}"


NOT_HALTED = Halt()


def strongest(first: Halt, second: Halt) -> Halt:
    """Return the stronger of two; of equal ones the first, with the file of either."""
    if second.level.rank > first.level.rank:
        return second
    if second.level is first.level and first.file is None:
        return replace(first, file=second.file, own=second.own)
    return first


def halted_by_file(halt_file: Path) -> Halt:
    """Return the halt that a file beside `halt_file` makes, whatever the file is and holds.

    `lstat`, so that a link that leads nowhere counts; and only "there is no such file" means not
    halted: a disk that answers EIO must not resume trading (`Path.exists` says False since 3.13).
    """
    for name, level in FILES.items():
        file = halt_file.with_name(name)
        try:
            found = os.lstat(file)
        except FileNotFoundError:
            continue
        except OSError as exc:
            why = f"it cannot be looked for: {exc.strerror}"
            return Halt(level=HaltLevel.ALL, by=f"the file {file}", reason=why, file=file)
        since = datetime.fromtimestamp(found.st_mtime, UTC)
        return _as_halt(file, level, since, _lines(file) if stat.S_ISREG(found.st_mode) else [])
    return NOT_HALTED


def _as_halt(file: Path, level: HaltLevel, since: datetime, lines: list[str]) -> Halt:
    if lines[:1] == [BY_COMMAND]:
        by, reason, *_ = [*lines[1:], "", ""]
        by, own = f"{shown(by)} ({file})", True
    else:
        by, reason, own = f"the file {file}", lines[0] if lines else "", False
    return Halt(level=level, by=by, since=since, reason=shown(reason), file=file, own=own)


def _lines(file: Path) -> list[str]:
    """What stands in the file; never waits for anybody and follows no link."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor, not a path
            return opened.read(8 * LONGEST_REASON).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def shown(text: str) -> str | None:
    """A person's text in one printable line, None when nothing is left of it."""
    whole = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(whole.split())[:LONGEST_REASON] or None
