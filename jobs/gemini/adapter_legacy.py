"""google-generativeai 0.8 as a Wire: REST in a worker thread, nothing retried.

The SDK is out of support and drops fields that billing needs (modelVersion, thinking tokens), so
the answer is taken from its HTTP session as it came. It cannot steer thinking. Its configuration
is global to the process: one LegacyWire at a time.
"""

import asyncio
import functools
import json
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests import exceptions

from jobs.errors import NotSent, Unavailable
from jobs.gemini.model import Exchange, Request

if TYPE_CHECKING:
    from jobs.gemini.client import Connection

with warnings.catch_warnings():
    # the SDK announces its own end and google.api_core the end of Python 3.11, both at import
    warnings.filterwarnings("ignore", r"\s*All support for the", FutureWarning)
    warnings.filterwarnings("ignore", r"You are using a Python version", FutureWarning)
    import google.generativeai as genai
    from google.generativeai import client as sdk_clients


class LegacyWire:
    """The process-wide SDK, each call in a thread of its own.

    A cancelled call's thread goes on until its socket gives up; `aclose` waits for it, but no
    longer than a request's timeout, and no thread keeps the process from ending.
    """

    def __init__(self, connection: "Connection") -> None:
        self._seen = threading.local()
        self._running: set[Future[Exchange]] = set()
        self._patience_s = connection.timeout_s
        options = {"api_endpoint": connection.base_url.rstrip("/")} if connection.base_url else None
        genai.configure(api_key=connection.api_key, transport="rest", client_options=options)
        self._sessions = [
            sdk_clients.get_default_generative_client().transport._session,
            sdk_clients.get_default_model_client().transport._session,
        ]
        is_local = urlsplit(connection.base_url).hostname in ("127.0.0.1", "localhost")
        for session in self._sessions:
            session.hooks["response"].append(self._see)
            session.trust_env = not is_local  # never through a proxy
            session._refresh_status_codes = ()  # else a 401 is asked three times

    async def generate(self, request: Request) -> Exchange:
        """One generateContent."""
        return await self._in_thread(functools.partial(_generate, request))

    async def describe(self, model: str, timeout_s: float) -> Exchange:
        """One models.get."""
        name = model if "/" in model else f"models/{model}"
        options = {"retry": None, "timeout": timeout_s}
        return await self._in_thread(lambda: genai.get_base_model(name, request_options=options))

    async def aclose(self) -> None:
        """Wait a while for abandoned calls, then close the sessions."""
        await asyncio.to_thread(wait, frozenset(self._running), self._patience_s)
        for session in self._sessions:
            session.close()

    async def _in_thread(self, call: Callable[[], object]) -> Exchange:
        done: Future[Exchange] = Future()
        self._running.add(done)
        done.add_done_callback(self._running.discard)

        def work() -> None:
            done.set_running_or_notify_cancel()
            try:
                done.set_result(self._carry(call))
            except BaseException as exc:  # noqa: BLE001  handed over whole to who awaits it
                done.set_exception(exc)

        # not an executor's: those are joined when the interpreter ends, however long they take
        threading.Thread(target=work, name="gemini", daemon=True).start()
        return await asyncio.wrap_future(done)

    def _see(self, response: requests.Response, **_: Any) -> None:
        self._seen.responses.append(response)

    def _carry(self, call: Callable[[], object]) -> Exchange:
        seen: list[requests.Response] = []
        self._seen.responses = seen
        try:
            call()
        except exceptions.RequestException as exc:
            raise _broken(exc) from exc
        except Exception:
            # an error status, or a body that the SDK cannot parse: the answer itself tells
            if not seen:
                raise
        return _exchange(seen[-1])


def _generate(request: Request) -> None:
    config: dict[str, object] = {
        "response_mime_type": "application/json",
        "response_schema": request.schema,
        "max_output_tokens": request.max_output_tokens,
        "candidate_count": 1,
    }
    if request.temperature is not None:
        config["temperature"] = request.temperature
    model = genai.GenerativeModel(
        request.model, system_instruction=request.system, generation_config=config
    )
    # without retry=None the SDK repeats 503 for up to ten minutes
    model.generate_content(
        request.prompt, request_options={"retry": None, "timeout": request.timeout_s}
    )


def _broken(exc: exceptions.RequestException) -> NotSent | Unavailable:
    cause = getattr(exc.args[0], "reason", None) if exc.args else None
    never_connected = type(cause).__name__ in {
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
    }
    if never_connected:
        return NotSent("no connection to Gemini", may_be_billed=False)
    timed_out = isinstance(exc, exceptions.Timeout)
    return Unavailable(
        "the connection to Gemini broke",
        why=type(exc).__name__,
        timed_out=timed_out,
        may_be_billed=True,
    )


def _exchange(response: requests.Response) -> Exchange:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Exchange(status=response.status_code, headers=headers, body=body)
