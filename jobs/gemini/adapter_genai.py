"""google-genai as a Wire: REST over our own httpx client, one request a call, nothing retried.

The answer is taken from httpx as it came (status, headers, bytes within a bound), and the SDK gets
an empty object in its place: unknown fields survive, and no answer is too large or too odd for it.
"""

import os
import warnings
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import httpx
from google import genai
from google.genai import types
from google.genai.client import DebugConfig

from jobs.core.bounded_http import BoundedClient, words_of
from jobs.core.errors import NotSent, Unavailable
from jobs.core.http_clients import settings, trust
from jobs.gemini.model import (
    FOR_THE_SDK,
    MOST_BYTES,
    PUBLIC_URL,
    Exchange,
    Request,
    thinking_for,
)

if TYPE_CHECKING:
    from jobs.gemini.client import Connection

CONNECTIONS = httpx.Limits(max_connections=4, max_keepalive_connections=2)


class _Http(BoundedClient):
    """Keeps each answer for `seen` and hands on one without content."""

    def __init__(self, seen: ContextVar[list[httpx.Response]], **options: Any) -> None:
        super().__init__(most_bytes=MOST_BYTES, **options)
        self._seen = seen

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await super().send(request, **options)
        self._seen.get().append(response)
        headers = {"content-type": "application/json"}
        return httpx.Response(
            response.status_code, headers=headers, content=FOR_THE_SDK, request=response.request
        )


class GenaiWire:
    """One genai.Client for one event loop."""

    def __init__(self, connection: "Connection") -> None:
        warnings.filterwarnings(  # newer finish reasons are read by name, not by the SDK's enum
            "ignore", message=r".* is not a valid \w+$", category=UserWarning
        )
        self._seen: ContextVar[list[httpx.Response]] = ContextVar("seen")
        # given explicitly: the SDK would take $GOOGLE_GEMINI_BASE_URL, and send the key there
        base_url = connection.base_url or PUBLIC_URL
        how = settings(base_url)
        trust(os.environ)  # the SDK reads the certificates once more, whatever it is given
        self._http = _Http(
            self._seen,
            limits=CONNECTIONS,
            timeout=connection.timeout_s,
            **how,
        )
        # an injected client keeps the SDK from switching to aiohttp where that is installed; the
        # sync one is never used, and given only so that the SDK does not build its own
        self._unused = httpx.Client(**how)
        self._client = genai.Client(
            vertexai=False,
            api_key=connection.api_key,
            # else $GOOGLE_GENAI_CLIENT_MODE could make it replay files instead of asking
            debug_config=DebugConfig(client_mode=None, replays_directory=None, replay_id=None),
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version=connection.api_version,
                timeout=_ms(connection.timeout_s),
                httpx_client=self._unused,
                httpx_async_client=self._http,
            ),
        )

    async def generate(self, request: Request) -> Exchange:
        """One generateContent."""
        return await self._carry(
            self._client.aio.models.generate_content(
                model=request.model, contents=request.prompt, config=_config(request)
            )
        )

    async def describe(self, model: str, timeout_s: float) -> Exchange:
        """One models.get."""
        return await self._carry(
            self._client.aio.models.get(
                model=model,
                config=types.GetModelConfig(http_options=types.HttpOptions(timeout=_ms(timeout_s))),
            )
        )

    async def aclose(self) -> None:
        """Close the SDK's client, then the HTTP clients that it does not own."""
        await self._client.aio.aclose()
        self._client.close()
        await self._http.aclose()
        self._unused.close()

    async def _carry(self, call: Awaitable[object]) -> Exchange:
        seen: list[httpx.Response] = []
        token = self._seen.set(seen)
        try:
            await call
        except httpx.ConnectError as exc:
            raise NotSent(
                "no connection to Gemini", why=words_of(exc), may_be_billed=False
            ) from exc
        except (httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise NotSent(
                "no connection to Gemini in time", why=words_of(exc), may_be_billed=False
            ) from exc
        except httpx.HTTPError as exc:
            raise Unavailable(
                "the connection to Gemini broke", why=words_of(exc), may_be_billed=True
            ) from exc
        except Exception:
            # an error status: the answer itself tells
            if not seen:
                raise
        finally:
            self._seen.reset(token)
        return _exchange(seen[-1])


def _config(request: Request) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        system_instruction=request.system,
        response_mime_type="application/json",
        response_schema=cast("dict[str, object]", request.schema),
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        candidate_count=1,
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=_thinking(request.model),
        http_options=types.HttpOptions(timeout=_ms(request.timeout_s)),
    )


def _thinking(model: str) -> types.ThinkingConfig | None:
    if (thinking := thinking_for(model)) is None:
        return None
    level = types.ThinkingLevel(thinking.level) if thinking.level else None
    return types.ThinkingConfig(thinking_budget=thinking.budget, thinking_level=level)


def _exchange(response: httpx.Response) -> Exchange:
    return Exchange.of(response.status_code, response.headers, response.content)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
