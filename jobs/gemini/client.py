"""Gemini for jobs: one SDK adapter behind the gate, the deadline and the shared reading."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError, Transient, Unavailable
from jobs.core.job import Clock, count_api_call
from jobs.gemini import classify
from jobs.gemini.advice import advice_on
from jobs.gemini.model import Exchange, Reply, Request, Wire

GATE = "gemini"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where Gemini is and how to reach it.

    `base_url` without a version, "" for the SDK's own. The old SDK speaks v1beta only, so
    `api_version` counts for google-genai alone. `timeout_s` is each socket operation's limit.
    """

    sdk: Literal["google-genai", "google-generativeai"]
    model: str
    api_key: str = field(repr=False)
    base_url: str = ""
    api_version: str = "v1beta"
    timeout_s: float = 30.0


class GeminiClient:
    """The Model over one Wire.

    Nothing is sent while the gate `gemini` is closed; a wait that the server names closes it. No
    retries: one call is one HTTP request.
    """

    def __init__(
        self, wire: Wire, *, model: str, gates: Gates, clock: Clock, probe_timeout_s: float = 10.0
    ) -> None:
        self._wire = wire
        self._model = model
        self._gates = gates
        self._clock = clock
        self._probe_timeout_s = probe_timeout_s
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def generate(self, request: Request) -> Reply:
        """Ask once, wholly inside `request.timeout_s`. Raises what classify.py names."""
        return await self._call(
            lambda: self._wire.generate(request), classify.read, request.timeout_s
        )

    async def probe(self) -> None:
        """models.get: proves network, key and model name, not quota."""
        limit_s = self._probe_timeout_s
        await self._call(
            lambda: self._wire.describe(self._model, limit_s), classify.accept, limit_s
        )

    async def aclose(self) -> None:
        """Wait for calls in flight (each has its deadline), then close the adapter."""
        await self._idle.wait()
        await self._wire.aclose()

    async def _call(
        self,
        send: Callable[[], Awaitable[Exchange]],
        read: Callable[[Exchange, datetime], T],
        limit_s: float,
    ) -> T:
        self._gates.check(GATE)
        count_api_call()
        self._in_flight += 1
        self._idle.clear()
        try:
            # the SDKs' own timeouts are per socket read: only this bounds the whole call
            async with asyncio.timeout(limit_s):
                answer = await send()
            return read(answer, self._clock())
        except TimeoutError as exc:
            raise Unavailable(
                "Gemini gave no answer in time", limit_s=limit_s, timed_out=True, may_be_billed=True
            ) from exc
        except JobError as exc:
            if isinstance(exc, Transient):
                self._keep_wait(exc)
            if (advice := advice_on(exc)) is not None:
                exc.context["advice"] = advice
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def _keep_wait(self, error: Transient) -> None:
        if error.retry_after_s:
            self._gates.close(
                GATE,
                error.retry_after_s,
                source=error.wait_source,
                reason=str(error.context.get("quota", error.args[0])),
            )


@asynccontextmanager
async def open_model(
    connection: Connection, *, gates: Gates, clock: Clock
) -> AsyncIterator[GeminiClient]:
    """A connected client, closed in order at the end. Imports only the chosen SDK."""
    client = GeminiClient(_wire(connection), model=connection.model, gates=gates, clock=clock)
    try:
        yield client
    finally:
        await client.aclose()


def _wire(connection: Connection) -> Wire:
    if connection.sdk == "google-generativeai":
        from jobs.gemini.adapter_legacy import LegacyWire

        return LegacyWire(connection)
    from jobs.gemini.adapter_genai import GenaiWire

    return GenaiWire(connection)
