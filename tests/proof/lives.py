"""One cell: an account, a past, a life that may end by SIGKILL, a restart, and the comparison."""

import asyncio
import gc
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from proof.cells import POST, Answer, Scenario, Verdict
from proof.failpoints import Failpoints
from proof.stage import (
    MOST_PASSES,
    PASS_S,
    SHORT_TIMEOUT_S,
    TIMEOUT_S,
    Seat,
    Stage,
    open_stage,
    wipe,
)
from proof.truth import Facts, Wrong, compare, read_rows
from proof.venue import PRICE, Control

from jobs.core.errors import JobError
from jobs.orders.account import new_identifier
from jobs.store.db import Database
from jobs.upbit.wire import OrderRequest

OVERDUE_S = 61
TRIES = 25
"""How often a life is begun anew that did not come by its failpoint: a look fewer was enough, or
the machine was busy. Three left 4 of 259 cells unmet on a loaded one."""

LATER_MS = 5000
FALLEN = PRICE * 90 // 100
RESET_AFTER = {**POST, "action": "reset", "when": "after"}
RESET_BEFORE = {**POST, "action": "reset", "when": "before"}
PARTIAL = {**POST, "action": "pass", "share": "0.4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the matrix. `failpoint` None: nobody dies."""

    scenario: Scenario
    answer: Answer
    failpoint: str | None = None
    is_careless: bool = False


@dataclass(slots=True, kw_only=True)
class Theatre:
    """What a worker keeps between cells. `run` runs a coroutine on the worker's loop."""

    db: Database
    control: Control
    run: Callable[[Any], Any]

    def play(self, cell: Cell) -> tuple[Verdict, list[str]]:
        """What becomes of the cell, and the failpoints that its life came by."""
        if cell.failpoint is None:
            lived: tuple[Verdict, list[str]] = self.run(self._live_on(cell, self._begun(cell)))
            return lived
        for _ in range(TRIES):
            seat = self._begun(cell)
            how = self._die(cell, seat)
            if how == -signal.SIGKILL:
                return self.run(self._restart(cell, seat)), []
        return _verdict(cell, "missed", f"ended with {how}"), []

    def _begun(self, cell: Cell) -> Seat:
        seat: Seat = self.run(self._prepare(cell))
        return seat

    async def _prepare(self, cell: Cell) -> Seat:
        """Empty books, a new account with a past, and the fault in wait for the life."""
        control, scenario = self.control, cell.scenario
        await wipe(self.db, dict(scenario.style))
        seat = Seat(account=control.begin(), is_careless=cell.is_careless)
        async with open_stage(self.db, control, seat, Failpoints()) as stage:
            await SETUPS[scenario.setup](stage)
            if cell.answer.burn:
                seat = replace(seat, first_name=await _burnt(stage))
        for fault in cell.answer.faults:
            control.tell("faults", **{**scenario.about, **fault})
        return replace(seat, timeout_s=SHORT_TIMEOUT_S if cell.answer.hangs else TIMEOUT_S)

    async def _live_on(self, cell: Cell, seat: Seat) -> tuple[Verdict, list[str]]:
        points = Failpoints()
        async with open_stage(self.db, self.control, seat, points) as stage:
            await _live(stage, cell)
            reached = list(points.reached)
            return await self._judge(stage, cell), reached

    def _die(self, cell: Cell, seat: Seat) -> int:
        """Let a child live until it kills itself; return how it ended, as subprocess does."""
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _child(self.db, self.control, cell, seat)
        _, status = os.waitpid(child, 0)
        self.control.advance(0)  # learn what time the child has let pass
        return os.waitstatus_to_exitcode(status)

    async def _restart(self, cell: Cell, seat: Seat) -> Verdict:
        """The next process finds what the dead one left."""
        if seat.first_name in {row.identifier for row in await read_rows(self.db)}:
            seat = replace(seat, first_name=None)
        async with open_stage(self.db, self.control, seat, Failpoints()) as stage:
            await stage.compare_at_start()
            return await self._judge(stage, cell)

    async def _judge(self, stage: Stage, cell: Cell) -> Verdict:
        """Pass after pass until all is settled; venue and tables may never contradict."""
        is_sale, was_blocked = cell.scenario.is_sale, False
        try:
            for number in range(MOST_PASSES):
                stage.control.advance(PASS_S)
                await stage.one_pass()
                if await stage.is_settled(is_sale=is_sale):
                    await self._compare(stage, is_over=True)
                    return _verdict(cell, "agree", was_blocked=was_blocked)
                await self._compare(stage, is_over=False)
                was_blocked = True
                if cell.answer.is_final and number >= 3:
                    return await self._stay_blocked(stage, cell)
        except Wrong as exc:
            return _verdict(cell, exc.outcome, exc.detail)
        rows = [(row.identifier, row.state.value, row.reason) for row in await read_rows(self.db)]
        return _verdict(cell, "lost", f"not settled: {rows}")

    async def _compare(self, stage: Stage, *, is_over: bool) -> None:
        facts = Facts(
            ledger=self.control.ledger(),
            posted=self.control.posted(),
            rows=await read_rows(self.db),
        )
        await compare(self.db, facts, is_over=is_over)

    async def _stay_blocked(self, stage: Stage, cell: Cell) -> Verdict:
        """Nobody can know: whatever is wanted now, nothing may be sent."""
        before = len(self.control.posted())
        await stage.signal("sell" if cell.scenario.is_sale else "buy")
        await stage.one_pass()
        await self._compare(stage, is_over=False)
        if len(self.control.posted()) != before:
            return _verdict(cell, "doubled", "a new order beside an unknown one")
        return _verdict(cell, "blocked", was_blocked=True)


def _verdict(cell: Cell, outcome: str, detail: str = "", *, was_blocked: bool = False) -> Verdict:
    return Verdict(
        scenario=cell.scenario.name,
        path=cell.scenario.path,
        answer=cell.answer.name,
        failpoint=cell.failpoint,
        outcome=outcome,
        detail=detail,
        was_blocked=was_blocked,
    )


def _child(db: Database, control: Control, cell: Cell, seat: Seat) -> None:
    """The rest of this process is one life, with connections of its own.

    What the parent has open is neither used nor closed; what it has compiled is a gift.
    """
    gc.disable()
    own = Control(control.base_url, control.shift, control.account, control.price)
    try:
        asyncio.run(_one_life(db, own, cell, seat))
    except BaseException:  # noqa: BLE001 - the parent must not go on twice, whatever happens
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


async def _one_life(db: Database, control: Control, cell: Cell, seat: Seat) -> None:
    await db.engine.dispose(close=False)
    points = Failpoints(kill_at=cell.failpoint)
    async with open_stage(db, control, seat, points) as stage:
        await _live(stage, cell)


async def _live(stage: Stage, cell: Cell) -> None:
    """The one pass that this is about."""
    about = cell.scenario.about
    if cell.answer.refuse_connection:
        stage.line.refused = (about["method"], about["path"])
    await stage.one_pass()


async def _burnt(stage: Stage) -> str:
    """An identifier that the venue has seen in an order it refused."""
    name = new_identifier(stage.control())
    too_small = OrderRequest(
        market="KRW-BTC", side="bid", ord_type="price", identifier=name, price=Decimal(1000)
    )
    try:
        await stage.client.place(too_small)
    except JobError:
        stage.control.http.delete("/sandbox/requests")
        return name
    raise RuntimeError("the venue took an order under the minimum")


# -- how the account came to be where it is ------------------------------------------------------


async def _purchase(stage: Stage) -> None:
    await stage.signal("buy")


async def _sale(stage: Stage) -> None:
    """A position whose price has fallen to the stop-loss."""
    await stage.signal("buy")
    while not await stage.is_settled(is_sale=False):
        stage.control.advance(PASS_S)
        await stage.one_pass()
    stage.control.http.delete("/sandbox/requests")
    stage.control.force_price(FALLEN)


async def _sale_into_a_thin_book(stage: Stage) -> None:
    """Less than half of the position is bought near the price, and no more until the next trade."""
    await _sale(stage)
    low = int(FALLEN)
    stage.control.show_book(
        asks=[[low + 100_000, 1]], bids=[[low, "0.004"], [low * 2 // 3 // 1000 * 1000, 1]]
    )


async def _limit_only_sale(stage: Stage) -> None:
    await _sale(stage)
    stage.control.set_options(order_types={"KRW-BTC": ["limit"]})


def _after(
    begin: Callable[[Stage], Awaitable[None]],
    *,
    fault: dict[str, str] | None = None,
    options: dict[str, int] | None = None,
    later_s: float = PASS_S,
    then: Callable[[Stage], object] = lambda _: None,
) -> Callable[[Stage], Awaitable[None]]:
    """`begin`, and one pass under `fault` and `options`; afterwards the venue behaves again."""

    async def setup(stage: Stage) -> None:
        await begin(stage)
        control = stage.control
        if fault is not None:
            control.tell("faults", **fault)
        if options is not None:
            control.set_options(**options)
        await stage.one_pass()
        control.http.delete("/sandbox/faults")
        control.advance(later_s)
        control.set_options(fill_min_ms=0, fill_max_ms=0)
        then(stage)

    return setup


def _venue_cancels(stage: Stage) -> None:
    stage.control.tell("cancel", market="KRW-BTC")


def _slow_venue(stage: Stage) -> None:
    stage.control.set_options(**_LATER)


_LATER = {"fill_min_ms": LATER_MS, "fill_max_ms": LATER_MS}
SETUPS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "purchase": _purchase,
    "sale": _sale,
    "sale into a thin book": _sale_into_a_thin_book,
    "sale where limit orders alone are taken": _limit_only_sale,
    "overdue purchase": _after(_purchase, fault=PARTIAL, later_s=OVERDUE_S),
    "overdue purchase, slow venue": _after(
        _purchase, fault=PARTIAL, later_s=OVERDUE_S, then=_slow_venue
    ),
    "overdue sale": _after(_sale, fault=PARTIAL, later_s=OVERDUE_S),
    "unanswered purchase": _after(_purchase, fault=RESET_AFTER),
    "unanswered sale": _after(_sale, fault=RESET_AFTER),
    "purchase that never arrived": _after(_purchase, fault=RESET_BEFORE),
    "sale that never arrived": _after(_sale, fault=RESET_BEFORE),
    "purchase filled later": _after(_purchase, options=_LATER),
    "sale filled later": _after(_sale, options=_LATER),
    "purchase cancelled by the venue": _after(_purchase, fault=PARTIAL, then=_venue_cancels),
}
