"""Does what a scenario says and compares, ten times a second, what health says meanwhile."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
from truth.levers import LEVERS
from truth.scenarios import EMPTY, FRESH_SIGNAL, Scenario
from truth.world import Sample, World

from health.report import COMPONENTS

EVERY_S = 0.1
MOST_LOOKS = 600
STARTED_JOBS = ("market", "signals", "orders")
STARTED = "SELECT count(DISTINCT job) FROM job_runs WHERE outcome IS NOT NULL AND job = ANY(%s)"
LETTERS = {"H": ("healthy",), "D": ("degraded",), "U": ("unhealthy",)}
NOT_HEALTHY = ("degraded", "unhealthy")
LIMITS = {"healthy": "H", "degraded": "D", "unhealthy": "U"}


@dataclass(slots=True, kw_only=True)
class Cell:
    """One component in one scenario. `said` is the last status in the hold, worst first."""

    component: str
    expected: str
    said: str = "?"
    cause: str | None = None
    named_s: float | None = None
    detected_s: float | None = None
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a scenario. `reds` counts false red samples out of `judged`."""

    scenario: Scenario
    cells: list[Cell]
    took_ms: list[float]
    judged: int = 0
    reds: int = 0
    recovered_s: float | None = None
    crash: str | None = None
    halted: str = "none"

    @property
    def false_greens(self) -> list[Cell]:
        """Cells that were green though something was wrong."""
        return [cell for cell in self.cells if "false green" in cell.faults]

    @property
    def false_reds(self) -> list[Cell]:
        """Cells that were not green though nothing was wrong with them."""
        return [cell for cell in self.cells if "false red" in cell.faults]

    @property
    def faults(self) -> list[str]:
        """Everything that is not as the table wants it."""
        found = [f"{cell.component}: {fault}" for cell in self.cells for fault in cell.faults]
        if self.halted != self.scenario.halted:
            found.append(f"halted: {self.halted} instead of {self.scenario.halted}")
        found += [] if self.recovered_s is not None else ["not well again in time"]
        return found + ([] if self.crash is None else [f"the daemon ended: {self.crash}"])

    @property
    def named_s(self) -> float | None:
        """Seconds until every trouble was named, at whatever level; None without one, or never."""
        return latest([cell.named_s for cell in self.cells if cell.expected in "DU!"])

    @property
    def detected_s(self) -> float | None:
        """Seconds until every trouble was said at its level; None without one, or never."""
        return latest([cell.detected_s for cell in self.cells if cell.expected in "DU!"])


def latest(times: Sequence[float | None]) -> float | None:
    """The greatest of the times; None if there is none, or one is not known."""
    known = [each for each in times if each is not None]
    return max(known) if known and len(known) == len(times) else None


def allowed(letter: str) -> Sequence[str]:
    """The statuses that a letter of the table allows."""
    return LETTERS.get(letter, NOT_HEALTHY if letter == "!" else ("healthy", *NOT_HEALTHY))


def await_start_up(world: World) -> None:
    """Return when the one extra slot that jobs get after a start is over.

    What it decides would wait for an order all day in a world where nothing is due.
    """
    for _ in range(MOST_LOOKS):
        row = world.admin.execute(STARTED.encode(), [list(STARTED_JOBS)]).fetchone()
        if row is not None and row[0] >= len(STARTED_JOBS):
            return
        time.sleep(EVERY_S)
    raise RuntimeError("the slots of the start never ended")


def prepare(world: World) -> None:
    """Leave the tables as they are when all is well."""
    world.admin.execute(EMPTY.encode())
    world.admin.execute(FRESH_SIGNAL.encode())


def run(world: World, scenario: Scenario) -> Outcome:
    """Cause the trouble, watch, undo it, and wait until all is well."""
    expected = dict(zip(COMPONENTS, scenario.expect.split(), strict=True))
    outcome = Outcome(
        scenario=scenario,
        cells=[Cell(component=name, expected=letter) for name, letter in expected.items()],
        took_ms=[],
    )
    with ExitStack() as stack:
        began_s = time.monotonic()
        for name, arguments in scenario.pull:
            stack.enter_context(LEVERS[name](world, **arguments))
        try:
            detect(world, outcome, began_s)
            hold(world, outcome)
        except (httpx.NetworkError, httpx.ProtocolError):
            outcome.crash = world.daemon.last_words()
    if outcome.crash is not None:
        world.restart()
    recover(world, outcome)
    return outcome


def sample(world: World, outcome: Outcome) -> Sample:
    """Ask once, and count what must be healthy and is not."""
    taken = world.daemon.sample()
    outcome.took_ms.append(taken.took_ms)
    for cell in outcome.cells:
        status, cause = taken.components[cell.component]
        if cell.expected == "H":
            outcome.judged += 1
            if status != "healthy":
                outcome.reds += 1
                note(cell, "false red")
                cell.cause = cause
    return taken


def note(cell: Cell, fault: str) -> None:
    """Hold a fault against a cell, once."""
    if fault not in cell.faults:
        cell.faults.append(fault)


def is_said(cell: Cell, taken: Sample, words: str) -> bool:
    """Whether the sample says of the cell what the table wants, cause included."""
    status, cause = taken.components[cell.component]
    if cell.expected in "H.":
        return True
    return status in allowed(cell.expected) and bool(cause) and words in (cause or "")


def detect(world: World, outcome: Outcome, began_s: float) -> None:
    """Sample until everything expected is said, or its time is over."""
    scenario = outcome.scenario
    while time.monotonic() - began_s < scenario.within_s:
        taken = sample(world, outcome)
        passed_s = taken.at_s + taken.took_ms / 1000 - began_s
        for cell in outcome.cells:
            if cell.named_s is None and taken.status(cell.component) != "healthy":
                cell.named_s = passed_s
            words = scenario.says.get(cell.component, "")
            if cell.detected_s is None and is_said(cell, taken, words):
                cell.detected_s = passed_s
        is_halted = taken.halted == scenario.halted
        if is_halted and all(cell.detected_s is not None for cell in outcome.cells):
            return
        time.sleep(EVERY_S)


def hold(world: World, outcome: Outcome) -> None:
    """Sample for as long as the verdicts must hold."""
    until_s = time.monotonic() + outcome.scenario.hold_s
    while time.monotonic() < until_s:
        taken = sample(world, outcome)
        outcome.halted = taken.halted
        for cell in outcome.cells:
            status, cause = taken.components[cell.component]
            cell.said = status
            cell.cause = cell.cause if "false red" in cell.faults else cause
            judge(cell, status, cause, outcome.scenario.says.get(cell.component, ""))
        time.sleep(EVERY_S)


def judge(cell: Cell, status: str, cause: str | None, words: str) -> None:
    """Hold one sample of the hold against the table."""
    if cell.expected in "H.":
        return
    if status == "healthy":
        note(cell, "false green")
    elif status not in allowed(cell.expected):
        note(cell, f"{status} instead of {allowed(cell.expected)[0]}")
    elif not cause:
        note(cell, "no cause")
    elif words not in cause:
        note(cell, f"the cause does not say {words!r}")


def recover(world: World, outcome: Outcome) -> None:
    """Wait until all is well again; with a new daemon where the trouble outlives its cause."""
    began_s = time.monotonic()
    if outcome.scenario.is_last:
        outcome.recovered_s = 0.0
        return
    if outcome.scenario.fresh:
        world.restart()
    if until_well(world, outcome.scenario.recover_s):
        outcome.recovered_s = time.monotonic() - began_s
    else:
        world.restart()
        until_well(world, outcome.scenario.recover_s)


def until_well(world: World, timeout_s: float) -> bool:
    """Wait until every component is healthy, for a second on end."""
    deadline = time.monotonic() + timeout_s
    well_since: float | None = None
    while time.monotonic() < deadline:
        try:
            taken = world.daemon.sample()
        except httpx.HTTPError:
            well_since = None
            time.sleep(EVERY_S)
            continue
        if all(status == "healthy" for status, _ in taken.components.values()):
            well_since = well_since or time.monotonic()
            if time.monotonic() - well_since > 1:
                return True
        else:
            well_since = None
        time.sleep(EVERY_S)
    return False
