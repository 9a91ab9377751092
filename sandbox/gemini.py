"""A local Gemini: generateContent, countTokens and models over REST, for both SDKs.

    POST /v1|v1beta/models/{model}:generateContent     GET /v1|v1beta/models[/{model}]
    POST /v1|v1beta/models/{model}:countTokens
    POST /sandbox/gemini/script  {"scenarios": [...]}   GET /sandbox/gemini/calls

Each generateContent takes the next scenario of the script, else the one named after `--` in the
model's name, else answers well (sandbox/gemini_answers.py). Nothing here costs or knows anything.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from sandbox import gemini_scenarios as scenarios
from sandbox.faults import ABORT
from sandbox.gemini_requests import (
    MODELS,
    counted,
    described,
    good_answer,
    model_card,
    prompt_text,
    read,
    tokens,
)
from sandbox.gemini_scenarios import Answer, Document

API_KEY = "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE"
KEPT_REQUESTS = 100
LARGEST_REQUEST = 4_000_000


@dataclass(slots=True, kw_only=True)
class FakeGemini:
    """The state of one fake: accepted keys, the script, and what was asked of it.

    `drip_s` is the pause between the pieces of a dripped body.
    """

    keys: frozenset[str] = frozenset({API_KEY})
    drip_s: float = 0.1
    script: deque[str] = field(default_factory=deque)
    calls: Counter[str] = field(default_factory=Counter)
    requests: deque[Document] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        """Why a request is not let in; None when it is."""
        key = headers.get("x-goog-api-key")
        if key is None:
            message = "Method doesn't allow unregistered callers (callers without identity)."
            return scenarios.error(403, "PERMISSION_DENIED", message)
        return None if key in self.keys else scenarios.bad_key()

    def generate(self, model: str, version: str, body: Document) -> Answer:
        """The answer to one generateContent."""
        name, _, scenario = model.partition("--")
        asked = read(body)
        self.requests.append({"model": model, "version": version, "body": body})
        if isinstance(asked, Answer):
            return asked
        if name not in MODELS:
            return scenarios.unknown_model(name, version)
        good = good_answer(name, asked)
        chosen = self.script.popleft() if self.script else scenario or "ok"
        try:
            return scenarios.play(chosen, good)
        except (KeyError, ValueError, IndexError):
            return scenarios.error(400, "INVALID_ARGUMENT", f"no such scenario here: {chosen}")


def routes(gemini: FakeGemini | None = None) -> list[BaseRoute]:
    """The fake's routes, to be mounted beside others; of a new fake when none is given."""
    gemini = gemini or FakeGemini()
    made: list[BaseRoute] = []
    for version in ("v1", "v1beta"):
        made += [
            Route(f"/{version}/models", _Endpoint(gemini, version, "list"), methods=["GET"]),
            Route(f"/{version}/models/{{call}}", _Endpoint(gemini, version, "call")),
        ]
    return [
        *made,
        Route("/sandbox/gemini/script", _Control(gemini).script, methods=["POST"]),
        Route("/sandbox/gemini/calls", _Control(gemini).calls, methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _Control:
    gemini: FakeGemini

    async def script(self, request: Request) -> Response:
        names = (await request.json()).get("scenarios", [])
        if unknown := sorted(set(names) - scenarios.NAMES):
            known = sorted(scenarios.NAMES)
            return JSONResponse({"unknown": unknown, "known": known}, status_code=400)
        self.gemini.script.clear()
        self.gemini.script.extend(names)
        return JSONResponse({"scenarios": list(self.gemini.script)})

    async def calls(self, _: Request) -> Response:
        return JSONResponse(
            {
                "calls": dict(self.gemini.calls),
                "script": list(self.gemini.script),
                "requests": list(self.gemini.requests),
            }
        )


class _Endpoint:
    """An ASGI application, because some scenarios break the connection itself."""

    def __init__(self, gemini: FakeGemini, version: str, kind: str) -> None:
        self._gemini = gemini
        self._version = version
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            given = await self._answer(request)
        except ClientDisconnect:
            return
        await deliver(given, scope, receive, send, self._gemini.drip_s)

    async def _answer(self, request: Request) -> Answer:
        if refusal := self._gemini.refusal(request.headers):
            return refusal
        if self._kind == "list":
            self._gemini.calls["models.list"] += 1
            return scenarios.whole({"models": [model_card(name) for name in MODELS]})
        model, _, method = request.path_params["call"].partition(":")
        self._gemini.calls[method or "models.get"] += 1
        if not method and request.method == "GET":
            return described(model, self._version)
        return self._post(model, method, await request.body())

    def _post(self, model: str, method: str, sent: bytes) -> Answer:
        body = _decoded(sent)
        if body is None:
            return scenarios.error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
        if method == "countTokens":
            return scenarios.whole({"totalTokens": tokens(prompt_text(counted(body)))})
        if method == "generateContent":
            return self._gemini.generate(model, self._version, body)
        return scenarios.error(404, "NOT_FOUND", f"Method {method!r} not found.")


async def deliver(given: Answer, scope: Scope, receive: Receive, send: Send, drip_s: float) -> None:
    """Send an answer the way its scenario wants."""
    if given.how in ("hang", "reset"):
        if given.how == "reset":
            cast("Callable[[], None]", scope[ABORT])()
        await _gone(receive)
        return
    headers = {
        "content-type": given.content_type,
        "content-length": str(len(given.body)),
        **given.headers,
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": given.status, "headers": encoded})
    if given.how == "whole":
        await send({"type": "http.response.body", "body": given.body})
    elif given.how == "short":  # an unfinished answer makes the server close the connection
        half = given.body[: len(given.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
    else:
        await _drip(given.body, send, drip_s)


async def _drip(body: bytes, send: Send, drip_s: float) -> None:
    for index in range(len(body)):
        piece = body[index : index + 1]
        more = index + 1 < len(body)
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        await asyncio.sleep(drip_s)


async def _gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _decoded(body: bytes) -> Document | None:
    if len(body) > LARGEST_REQUEST:
        return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
