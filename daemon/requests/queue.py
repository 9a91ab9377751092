"""What people ask of the running daemon: taken once by the leader, carried out, answered.

The table is the truth (jobs/store/requests.py). A notification makes a request known at once; a
look every second makes up for one that was lost. Whoever wants a command of theirs carried out
adds its handler where the shift is made (daemon/wiring/jobs.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from loguru import logger

from jobs.core.errors import JobError, Transient
from jobs.core.job import current_lane
from jobs.store import requests as store
from jobs.store.db import Database
from jobs.store.fence import StaleEpoch
from jobs.store.requests import Address, Request

LOOK_EVERY_S = 1.0
ANSWER_AGAIN_S = 0.5

Answer = Mapping[str, Any]
"""What JSON can hold; `ok` says whether all was done that was asked."""

Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]
"""Carries out one command with the arguments of its request."""


class Refusal(Exception):
    """The request asks for what cannot be done; the message says why, in one line."""


class Requests:
    """Carries out requests for whoever leads in this process; they wait while nobody does."""

    def __init__(self, to: Address, holder: str, mask: Callable[[str], str]) -> None:
        self._to = to
        self._holder = holder
        self._mask = mask
        self._wake = asyncio.Event()
        self._db: Database | None = None
        self._epoch = 0
        self._handlers: Mapping[str, Handler] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._running: set[asyncio.Task[None]] = set()

    def attach(self, db: Database, epoch: int, handlers: Mapping[str, Handler]) -> None:
        """Carry requests out from now on; `db` is fenced, so that no deposed leader takes one."""
        self._db, self._epoch, self._handlers = db, epoch, handlers
        self._wake.set()

    def detach(self) -> None:
        """Take nothing more, and give up what is under way."""
        self._db = None
        self._give_up()

    def _give_up(self) -> None:
        for task in self._running:
            task.cancel()

    def invalidate(self) -> None:
        """Somebody asked something: look."""
        self._wake.set()

    def deafen(self) -> None:
        """Nobody hears of requests now: looking every second goes on."""

    def hear(self) -> None:
        """Requests are heard of from now on."""
        self._wake.set()

    async def keep(self) -> None:
        """Take and carry out what is asked, until cancelled."""
        current_lane.set("orders")  # a person's order must not wait for what hangs
        try:
            while True:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                await self._take_all()
        finally:
            self._give_up()

    async def _take_all(self) -> None:
        while (db := self._db) is not None:
            try:
                request = await store.take(db, self._to, by=self._holder, epoch=self._epoch)
            except (Transient, StaleEpoch):
                return
            if request is None:
                return
            logger.bind(
                event="request.taken",
                request=request.id,
                command=request.command,
                by=request.asked_by,
            ).warning("A person's request is carried out")
            task = asyncio.create_task(self._carry_out(db, request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _carry_out(self, db: Database, request: Request) -> None:
        turn = self._turns.setdefault(request.command, asyncio.Lock())
        async with turn:  # two of a kind would only be in each other's way
            said = await self._said(request)
        outcome: store.Outcome = "done" if said.get("ok") else "failed"
        logger.bind(
            event="request.answered",
            request=request.id,
            command=request.command,
            outcome=outcome,
            error=said.get("error"),
        ).info("A person's request is answered")
        while True:
            try:
                await store.answer(db, request.id, outcome, said)
            except StaleEpoch:
                return  # nobody may write for us any more; the asker is told that we ended
            except Transient:
                await asyncio.sleep(ANSWER_AGAIN_S)
            else:
                return

    async def _said(self, request: Request) -> Answer:
        handler = self._handlers.get(request.command)
        if handler is None:
            return {"ok": False, "error": f"this daemon does not know {request.command}"}
        try:
            return await handler(request.arguments)
        except (JobError, Refusal) as exc:
            return {"ok": False, "error": self._mask(str(exc))}
        except Exception as exc:  # noqa: BLE001 - the asker has to hear of a bug as well
            logger.bind(event="request.bug", command=request.command).exception(
                "A request failed in a way that nobody foresaw"
            )
            return {"ok": False, "error": self._mask(f"{type(exc).__name__}: {exc}")}
