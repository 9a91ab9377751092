"""google-generativeai 0.8 as a Wire: REST in a worker thread, nothing retried.

The SDK is out of support and drops fields that billing needs (modelVersion, thinking tokens), so
the answer is taken from its HTTP session, within a bound, and the SDK gets an empty object in its
place. It cannot steer thinking. Its configuration
is global to the process: one LegacyWire at a time.
"""

import asyncio
import functools
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

import httpx
import requests
from requests import exceptions
from urllib3.exceptions import HTTPError, ReadTimeoutError

from jobs.core.bounded_http import Unpacking, words_of
from jobs.core.errors import JobError, NotSent, Unavailable
from jobs.core.http_clients import proxy_for
from jobs.core.untrusted import one_line
from jobs.gemini.model import FOR_THE_SDK, MOST_BYTES, PUBLIC_URL, Exchange, Request

if TYPE_CHECKING:
    from jobs.gemini.client import Connection

with warnings.catch_warnings():
    # the SDK announces its own end and google.api_core the end of Python 3.11, both at import
    warnings.filterwarnings("ignore", r"\s*All support for the", FutureWarning)
    warnings.filterwarnings("ignore", r"You are using a Python version", FutureWarning)
    import google.generativeai as genai
    from google.generativeai import client as sdk_clients


CHUNK_BYTES = 64 * 1024


class LegacyWire:
    """The process-wide SDK, each call in a thread of its own.

    A cancelled call's thread goes on until its socket gives up; `aclose` waits for it, but no
    longer than a request's timeout, and no thread keeps the process from ending.
    """

    def __init__(self, connection: "Connection") -> None:
        self._seen = threading.local()
        self._running: set[Future[Exchange]] = set()
        self._patience_s = connection.timeout_s
        # given explicitly, so that no variable of the environment sends the key elsewhere
        base_url = connection.base_url or PUBLIC_URL
        options = {"api_endpoint": base_url.rstrip("/")}
        genai.configure(api_key=connection.api_key, transport="rest", client_options=options)
        self._sessions = [
            sdk_clients.get_default_generative_client().transport._session,
            sdk_clients.get_default_model_client().transport._session,
        ]
        proxy = proxy_for(base_url, os.environ)
        for session in self._sessions:
            session.hooks["response"].append(self._see)
            session.headers["Accept-Encoding"] = "gzip"  # what we unpack ourselves we can stop
            session.trust_env = False  # it reads ~/.netrc, too
            session.proxies = {} if proxy is None else dict.fromkeys(("http", "https"), proxy.url)
            session.verify = os.environ.get("SSL_CERT_FILE") or True
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
        """Read the answer, no further than its bound, before the session does."""
        content = _bounded_content(response)
        self._seen.exchanges.append(Exchange.of(response.status_code, response.headers, content))
        response._content = FOR_THE_SDK
        response._content_consumed = True

    def _carry(self, call: Callable[[], object]) -> Exchange:
        seen: list[Exchange] = []
        self._seen.exchanges = seen
        try:
            call()
        except JobError:
            raise
        except exceptions.RequestException as exc:
            raise _broken(exc) from exc
        except Exception:
            # an error status: the answer itself tells
            if not seen:
                raise
        return seen[-1]


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
    why = one_line(f"{type(exc).__name__}: {cause or exc}", 200)
    never_connected = type(cause).__name__ in {
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
    }
    if never_connected:
        return NotSent("no connection to Gemini", why=why, may_be_billed=False)
    timed_out = isinstance(exc, exceptions.Timeout)
    return Unavailable(
        "the connection to Gemini broke",
        why=why,
        timed_out=timed_out,
        may_be_billed=True,
    )


def _bounded_content(response: requests.Response) -> bytes:
    """The unpacked body. Raises Unavailable for one that is too long or not what it says."""
    try:
        body = Unpacking(response.headers.get("content-encoding"), MOST_BYTES)
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            body.take(chunk)
        return body.whole()
    except httpx.RequestError as exc:
        response.close()
        raise Unavailable(
            "the connection to Gemini broke", why=words_of(exc), may_be_billed=True
        ) from exc
    except (OSError, HTTPError) as exc:  # of urllib3, whose errors requests would have wrapped
        timed_out = isinstance(exc, ReadTimeoutError)
        raise Unavailable(
            "the connection to Gemini broke",
            why=words_of(exc),
            timed_out=timed_out,
            may_be_billed=True,
        ) from exc
