"""A command that the running daemon carries out; without one the command acts itself.

The daemon has the keys, the lease and the place in the exchange's quota: a shell needs none of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from daemon.cli.operator import operator
from daemon.cli.options import fail
from daemon.cli.session import with_database
from daemon.config.load import Config
from daemon.requests.queue import Answer, Refusal
from jobs.core.errors import JobError
from jobs.store import requests as store
from jobs.store.db import Database
from jobs.store.requests import Address, Request

TAKEN_WITHIN_S = 5.0
ANSWERED_WITHIN_S = 90.0
LOOK_EVERY_S = 0.1

Act = Callable[[Database], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person orders: for the daemon its name and arguments, without one `act`.

    `why_not` says why this process cannot act itself, None when it can.
    """

    command: str
    arguments: Mapping[str, Any]
    act: Act
    why_not: str | None = None


async def carry_out(db: Database, config: Config, order: Order) -> Answer:
    """Return what the running daemon answers, or what acting here gives when none runs.

    Raises Refusal when nobody can carry it out, or nobody can say what became of it.
    """
    to = Address(mode=config.trading.mode, instance=config.daemon.instance)
    holder = await store.leader(db, to)
    if holder is None:
        return await _act(db, order, "no daemon runs here")
    asked = await store.ask(
        db, to, order.command, order.arguments, by=operator(), within_s=TAKEN_WITHIN_S
    )
    for _ in range(int(TAKEN_WITHIN_S / LOOK_EVERY_S)):
        if (request := await store.get(db, asked)).taken_at is not None:
            return await _answered(db, request, to)
        await asyncio.sleep(LOOK_EVERY_S)
    if not await store.withdraw(db, asked):  # taken in this very moment
        return await _answered(db, await store.get(db, asked), to)
    if order.why_not is None:
        typer.echo(f"upbitd: the daemon {holder} does not answer: acting without it", err=True)
    return await _act(db, order, f"the daemon {holder} does not answer")


async def _act(db: Database, order: Order, why: str) -> Answer:
    if order.why_not is not None:
        raise Refusal(f"{why}, and {order.why_not}")
    return await order.act(db)


async def _answered(db: Database, request: Request, to: Address) -> Answer:
    """Wait for the answer as long as the daemon that took it lives."""
    for _ in range(int(ANSWERED_WITHIN_S / LOOK_EVERY_S)):
        if request.outcome is not None:
            return request.answer or {}
        if await store.leader(db, to) != request.taken_by:
            raise Refusal(
                f"{request.taken_by} took it and ended before it answered: "
                "look at `upbitd orders`, and say it again"
            )
        await asyncio.sleep(LOOK_EVERY_S)
        request = await store.get(db, request.id)
    raise Refusal(
        f"{request.taken_by} took it and has not answered in {ANSWERED_WITHIN_S:g} s: "
        "look at `upbitd orders`"
    )


def carried_out(config: Config, order: Order) -> Answer:
    """Return the answer; the command ends with exit code 1 and one line when there is none."""

    async def work(db: Database) -> Answer:
        try:
            return await carry_out(db, config, order)
        except (Refusal, JobError) as exc:
            return {"ok": False, "error": str(exc)}

    answer = with_database(config, work)
    if "error" in answer:
        fail(str(answer["error"]))
    return answer
