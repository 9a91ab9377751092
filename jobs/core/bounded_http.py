"""HTTP answers, bounded in bytes while they come: what is too long is never held, nor parsed.

A body is counted as it is unpacked. 400 KB of gzip can be 400 MB, and 20 MB of a model's JSON hold
the event loop for 43 s, which is longer than systemd's watchdog waits.
"""

import zlib
from typing import Any

import httpx

from jobs.core.untrusted import one_line


class TooLong(httpx.RequestError):
    """The answer is longer than it may be; nothing was made of it."""


def words_of(exc: BaseException, longest: int = 200) -> str:
    """What the transport says of a failure, its innermost cause included, on one line.

    httpx says "All connection attempts failed" where the cause names a refused port, a bad
    certificate or a wrong clock, and only those tell what to mend.
    """
    cause = exc
    for _ in range(10):
        inner = cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    told = f"{type(exc).__name__}: {exc}".rstrip(": ")
    if str(cause) and str(cause) not in told:
        told = f"{told}: {cause}"
    return one_line(told, longest)


class Unpacking:
    """Collects a body as it comes and counts it unpacked: 400 KB of gzip can be 400 MB.

    Raises TooLong beyond `most_bytes`, httpx.DecodingError for what is not the gzip that it says.
    """

    def __init__(self, encoding: str | None, most_bytes: int) -> None:
        self._most = most_bytes
        self._body = bytearray()
        self._came = False
        self._gzip = None
        name = (encoding or "identity").strip().lower()
        if name in {"gzip", "x-gzip"}:
            self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        elif name != "identity":
            raise httpx.DecodingError(f"an encoding that was not asked for: {one_line(name, 40)}")

    def take(self, chunk: bytes) -> None:
        """Add one chunk as it came over the line."""
        self._came = True
        room = self._most + 1 - len(self._body)
        if self._gzip is None:
            self._body += chunk[:room]
        elif not self._gzip.eof:
            try:
                self._body += self._gzip.decompress(chunk, room)
            except zlib.error as exc:
                raise httpx.DecodingError(str(exc)) from exc
        if len(self._body) > self._most:
            raise TooLong(f"the answer is longer than {self._most} bytes")

    def whole(self) -> bytes:
        """The unpacked body, at the end of the line."""
        if self._gzip is not None and self._came and not self._gzip.eof:
            raise httpx.DecodingError("the answer is cut")
        return bytes(self._body)


class BoundedClient(httpx.AsyncClient):
    """An httpx client that reads every answer whole, and none beyond `most_bytes` unpacked.

    Asks for gzip alone: what it unpacks itself, it can stop. Longer answers raise TooLong, which
    is an httpx.RequestError like a broken line.
    """

    def __init__(self, *, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.headers["Accept-Encoding"] = "gzip"
        self._most_bytes = most_bytes

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send once; the answer is read, or refused while it comes."""
        response = await super().send(request, **{**options, "stream": True})
        try:
            content = await _bounded_body(response, self._most_bytes)
        finally:
            await response.aclose()
        headers = [
            pair
            for pair in response.headers.multi_items()
            if pair[0].lower() not in {"content-encoding", "content-length", "transfer-encoding"}
        ]
        return httpx.Response(
            response.status_code, headers=headers, content=content, request=response.request
        )


async def _bounded_body(response: httpx.Response, most_bytes: int) -> bytes:
    if response.is_stream_consumed:  # made in this process, by a test's transport
        body = Unpacking(None, most_bytes)
        body.take(response.content)
        return body.whole()
    body = Unpacking(response.headers.get("content-encoding"), most_bytes)
    async for chunk in response.aiter_raw():
        body.take(chunk)
    return body.whole()
