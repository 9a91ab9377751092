"""Somebody outside hears of the daemon while it is well, and of nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from daemon.alerting.dead_mans_switch import DeadMansSwitch

if TYPE_CHECKING:
    from loguru import Record


@asynccontextmanager
async def outside(status: int = 200) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Somebody who counts calls; yields the address and the first lines of what was sent."""
    calls: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readline())
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-path", calls


def dead_man(url: str, is_well: Callable[[], bool] = lambda: True) -> DeadMansSwitch:
    return DeadMansSwitch(url=url, every_s=60, is_well=is_well)


async def test_a_ping_is_a_get_of_the_address() -> None:
    async with outside() as (url, calls):
        assert await dead_man(url).ping()
    assert calls == [b"GET /secret-path HTTP/1.1\r\n"]


async def test_nothing_is_sent_while_the_daemon_is_not_well() -> None:
    waits: list[float] = []
    wells = iter([True, False, False, True])

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise asyncio.CancelledError

    async with outside() as (url, calls):
        with pytest.raises(asyncio.CancelledError):
            await dead_man(url, lambda: next(wells)).keep(sleep=sleep)
    assert len(calls) == 2
    assert waits == [60] * 4


async def test_an_outside_that_refuses_or_is_away_is_a_line_without_the_address(
    log_records: "list[Record]",
) -> None:
    async with outside(503) as (url, _):
        assert not await dead_man(url).ping()
    assert not await dead_man(url).ping()  # nobody listens there any more
    errors = [record["extra"]["error"] for record in log_records]
    assert errors == ["answered 503", "ConnectError"]
    assert "secret-path" not in str(log_records)
