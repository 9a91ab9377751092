"""What the doctor finds: one line a subject, and for every fault its mend."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.core.errors import JobError, Refused

Level = Literal["ok", "note", "warning", "fault"]
DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. `mend` says what to do about a warning or a fault, "" for the others."""

    subject: str
    level: Level
    said: str
    mend: str = ""


def ok(subject: str, said: str) -> Finding:
    """Nothing to do."""
    return Finding(subject=subject, level="ok", said=said)


def note(subject: str, said: str) -> Finding:
    """Worth knowing, nothing to do."""
    return Finding(subject=subject, level="note", said=said)


def warning(subject: str, said: str, mend: str) -> Finding:
    """Works today."""
    return Finding(subject=subject, level="warning", said=said, mend=mend)


def fault(subject: str, said: str, mend: str) -> Finding:
    """Does not work."""
    return Finding(subject=subject, level="fault", said=said, mend=mend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One examination; `mend` is what to try when it fails in a way nobody foresaw."""

    subject: str
    run: Callable[[], Awaitable[list[Finding]]]
    mend: str


async def examine(check: Check, mask: Callable[[str], str]) -> list[Finding]:
    """What a check finds; its failure is a finding too."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check.run()
    except TimeoutError:
        return [fault(check.subject, f"no answer within {DEADLINE_S:g} s", check.mend)]
    except Exception as exc:  # noqa: BLE001 - whatever breaks here is what the doctor was asked about
        said = f"{type(exc).__name__}: {exc}" if not isinstance(exc, JobError) else str(exc)
        return [fault(check.subject, mask(said), check.mend)]


async def examine_all(checks: Sequence[Check], mask: Callable[[str], str]) -> list[Finding]:
    """What all checks find, in their order; they run at the same time."""
    found = await asyncio.gather(*(examine(check, mask) for check in checks))
    return [finding for findings in found for finding in findings]


def name_of(error: BaseException) -> str:
    """The other side's name for its refusal, "" for other errors."""
    return error.name if isinstance(error, Refused) else ""
