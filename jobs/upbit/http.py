"""One request to Upbit and its answer: gate, limiter, signature, deadline, failure, log line.

Nothing here repeats a request, and no transport under it does.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import httpx
from loguru import logger

from jobs.core.bounded_http import BoundedClient, words_of
from jobs.core.cooldowns import Gates
from jobs.core.errors import (
    BadData,
    Banned,
    JobError,
    NotSent,
    RateLimited,
    Transient,
    Unauthorized,
    Unavailable,
)
from jobs.core.job import Clock, count_api_call, current_lane
from jobs.core.transport_advice import transport_advice
from jobs.core.untrusted import NotJson
from jobs.upbit.bans import Bans, longest_asked_s
from jobs.upbit.errors import Fault, read_fault, retry_after_s, to_error
from jobs.upbit.fields import decode
from jobs.upbit.limits import EXCHANGE, LIMITS, QUOTATION, Limiter, Permit, parse_remaining
from jobs.upbit.signing import Params, Signer, encoded

if TYPE_CHECKING:
    from loguru import Logger

_NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
MOST_BYTES = 8 * 1024 * 1024
"""Of one answer, unpacked: 200 candles are 60 KB, all tickers of every quote 500 KB."""

_CONNECT_SHARE = 0.3
"""Of the whole call: pool, TCP and TLS have this much each, so that a call which is cut off by its
overall deadline is known to have been past connecting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: its rate group, and its parameters (for POST they are the body).

    `expected` are names of refusals that are the answer the caller hopes for: no warning.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    group: str
    params: Params = ()
    signed: bool = False
    expected: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What it is called in errors and logs: the parameters stay out."""
        return f"{self.method} {self.path}"


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One sending of one call, for the log."""

    call: Call
    request_id: str = field(default_factory=lambda: uuid4().hex)
    started: float = field(default_factory=time.monotonic)


def gate_of(group: str) -> str:
    """The name of a rate group's gate."""
    return f"upbit:{group}"


def timeouts(timeout_s: float) -> httpx.Timeout:
    """Explicit limits on every step of a call that may take `timeout_s` as a whole."""
    step_s = timeout_s * _CONNECT_SHARE
    return httpx.Timeout(connect=step_s, pool=step_s, read=timeout_s, write=timeout_s)


@asynccontextmanager
async def open_http(
    client_settings: Mapping[str, Any], *, timeout_s: float, max_connections: int
) -> AsyncIterator[httpx.AsyncClient]:
    """A client without transport retries or redirects, closed with its connections at the end.

    `client_settings` say how the address is reached (`jobs.core.http_clients.settings`).
    """
    async with BoundedClient(
        most_bytes=MOST_BYTES,
        timeout=timeouts(timeout_s),
        limits=httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        ),
        headers={"Accept": "application/json", "User-Agent": "upbitd"},
        follow_redirects=False,
        **client_settings,
    ) as client:
        yield client


class Sender:
    """Sends calls. Safe for many tasks of one event loop at once.

    Calls of the orders lane go out over `orders_http`, so that whatever hangs elsewhere takes no
    connection from them; without it they share `http`.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        orders_http: httpx.AsyncClient | None = None,
        base_url: str,
        signer: Signer | None,
        gates: Gates,
        limiter: Limiter,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._http = http
        self._orders_http = orders_http or http
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._gates = gates
        self._limiter = limiter
        self._clock = clock
        self._timeout_s = timeout_s
        self._timeouts = timeouts(timeout_s)
        self._bans = Bans()

    async def json(self, call: Call) -> object:
        """Send once and return the decoded body of a 2xx answer.

        Raises:
            RateLimited, Banned: the gate is closed, or the answer was 429 or 418, which closes it.
            NotSent: no connection was made.
            Unavailable: sent, and nothing usable came back: a 2xx to a GET that is not JSON is the
                page of a proxy, or was cut, and is as good as no answer.
            Refused: Upbit said no, by name.
            BadData: a 2xx answer that is not JSON to a POST or DELETE, which nobody may repeat.
        """
        response = await self.send(call)
        try:
            return decode(response.content)
        except BadData as exc:
            exc.context |= {"call": call.name, "status": response.status_code}
            if isinstance(exc, NotJson) and call.method == "GET":
                raise _no_answer(exc) from exc
            raise

    async def send(self, call: Call) -> httpx.Response:
        """Send once and return the 2xx answer; raises as `json` does."""
        self._gates.check(gate_of(call.group))
        async with self._limiter.slot(call.group) as permit:
            try:
                self._gates.check(gate_of(call.group))  # it may have closed while we queued
                request = self._request(call)
            except BaseException:
                permit.unsent()
                raise
            attempt = _Attempt(call=call)
            response = await self._exchange(request, attempt, permit)
            self._settle(response, permit)
        if not response.is_success:
            raise self._failure(response, attempt)
        _log_answer(attempt, response)
        return response

    def _request(self, call: Call) -> httpx.Request:
        headers = {}
        if call.signed:
            if self._signer is None:
                raise LookupError(f"{call.name} needs keys and there are none")
            headers["Authorization"] = f"Bearer {self._signer.token(call.params)}"
        url, content = self._base_url + call.path, None
        if call.method == "POST":
            headers["Content-Type"] = "application/json; charset=utf-8"
            content = json.dumps(dict(call.params), separators=(",", ":")).encode()
        elif call.params:
            url = f"{url}?{encoded(call.params)}"
        return self._of_lane().build_request(
            call.method, url, content=content, headers=headers, timeout=self._timeouts
        )

    def _of_lane(self) -> httpx.AsyncClient:
        return self._orders_http if current_lane.get() == "orders" else self._http

    async def _exchange(
        self, request: httpx.Request, attempt: _Attempt, permit: Permit
    ) -> httpx.Response:
        count_api_call()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._of_lane().send(request)
        except _NEVER_CONNECTED as exc:
            permit.unsent()
            raise self._silence(NotSent, "no connection to Upbit", attempt, exc) from exc
        except (httpx.RequestError, OSError) as exc:  # a TimeoutError is an OSError
            raise self._silence(Unavailable, "no answer from Upbit", attempt, exc) from exc

    @staticmethod
    def _silence(
        kind: type[Transient], message: str, attempt: _Attempt, exc: Exception
    ) -> Transient:
        cause = words_of(exc)
        _bound(attempt, None).bind(cause=cause).warning("upbit did not answer")
        error = kind(message, cause=cause, call=attempt.call.name, request_id=attempt.request_id)
        if (advice := transport_advice(cause)) is not None:
            error.context["advice"] = advice
        return error

    def _settle(self, response: httpx.Response, permit: Permit) -> None:
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            permit.refused()
        else:
            permit.answered(parse_remaining(response.headers.get("Remaining-Req")))

    def _failure(self, response: httpx.Response, attempt: _Attempt) -> JobError:
        fault = read_fault(response.status_code, response.content)
        if fault.is_ban:
            error: JobError = self._banned(fault, response, attempt)
        elif fault.is_over_limit:
            error = self._over_limit(fault, response, attempt)
        else:
            error = to_error(fault, call=attempt.call.name, request_id=attempt.request_id)
        _log_failure(attempt, response, fault, error)
        return error

    def _over_limit(self, fault: Fault, response: httpx.Response, attempt: _Attempt) -> RateLimited:
        group = attempt.call.group
        asked_s = longest_asked_s(retry_after_s(response.headers.get("Retry-After"), self._clock()))
        # one whole window holds a boundary, wherever it lies
        wait_s = LIMITS[group].window_s if asked_s is None else asked_s
        source: Literal["retry-after", "remaining-req"]
        source = "remaining-req" if asked_s is None else "retry-after"
        self._gates.close(gate_of(group), wait_s, source=source, reason="429 from Upbit")
        return RateLimited(
            "Upbit says we are too fast",
            retry_after_s=wait_s,
            wait_source=source,
            text=fault.text,
            call=attempt.call.name,
            request_id=attempt.request_id,
        )

    def _banned(self, fault: Fault, response: httpx.Response, attempt: _Attempt) -> Banned:
        # quotation is counted per address, the exchange per pocket: a block covers all its groups
        side = QUOTATION if attempt.call.group in QUOTATION else EXCHANGE
        asked_s = retry_after_s(response.headers.get("Retry-After"), self._clock())
        wait_s = self._bans.wait_s(min(side), text=fault.text, asked_s=asked_s, now=self._clock())
        for group in side:
            self._gates.close(gate_of(group), wait_s, source="ban", reason="418 from Upbit")
        return Banned(
            "Upbit blocks us",
            retry_after_s=wait_s,
            wait_source="ban",
            text=fault.text,
            call=attempt.call.name,
            request_id=attempt.request_id,
        )


def _no_answer(exc: NotJson) -> Unavailable:
    error = Unavailable(str(exc.args[0]))
    error.context = exc.context
    return error


def _log_answer(attempt: _Attempt, response: httpx.Response) -> None:
    _bound(attempt, response).debug("upbit answered")


def _log_failure(
    attempt: _Attempt, response: httpx.Response, fault: Fault, error: JobError
) -> None:
    # a refusal is an answer; trouble with the service, its limits or our key is a warning
    is_expected = fault.name in attempt.call.expected
    is_trouble = isinstance(error, Transient | Unauthorized) and not is_expected
    level = "WARNING" if is_trouble else "INFO"
    _bound(attempt, response).bind(name=fault.name, text=fault.text).log(level, "upbit refused")


def _bound(attempt: _Attempt, response: httpx.Response | None) -> "Logger":
    return logger.bind(
        event="api.request",
        method=attempt.call.method,
        path=attempt.call.path,
        group=attempt.call.group,
        status=None if response is None else response.status_code,
        ms=round((time.monotonic() - attempt.started) * 1000, 1),
        remaining=None if response is None else response.headers.get("Remaining-Req"),
        request_id=attempt.request_id,
    )
