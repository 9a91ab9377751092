"""What the port's paths answer, asked without a socket."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from health import routes
from health.report import COMPONENTS, Component, Report, Status
from health.response import Request, Response, json_response

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ask(route: Callable[[Request], Response], **query: str) -> tuple[int, Any]:
    answer = route(Request(path="/", query=query, request_id="r"))
    return answer.status, json.loads(answer.body)


def report(status: Status) -> Report:
    one = Component(
        status=status,
        cause=None if status is Status.HEALTHY else "gone",
        checked_at=NOW,
        latency_ms=0.8123,
        detail={"pool": {"size": 10}, "spent": Decimal("0.10"), "at": NOW},
    )
    return Report(checked_at=NOW, components=dict.fromkeys(COMPONENTS, one))


def about() -> routes.About:
    return routes.About(version="1.2.3", mode="paper", role="leader", uptime_s=1234.567)


@pytest.mark.parametrize(
    ("status", "code"), [(Status.HEALTHY, 200), (Status.DEGRADED, 200), (Status.UNHEALTHY, 503)]
)
def test_health_is_503_only_when_unhealthy(status: Status, code: int) -> None:
    assert ask(routes.health(lambda: report(status), about))[0] == code


def test_health_has_the_contracts_body() -> None:
    _, body = ask(routes.health(lambda: report(Status.UNHEALTHY), about))
    component = {
        "status": "unhealthy",
        "cause": "gone",
        "checked_at": "2026-05-04T12:00:00Z",
        "latency_ms": 0.8,
        "detail": {"pool": {"size": 10}, "spent": "0.10", "at": "2026-05-04T12:00:00Z"},
    }
    assert body == {
        "status": "unhealthy",
        "checked_at": "2026-05-04T12:00:00Z",
        "version": "1.2.3",
        "mode": "paper",
        "role": "leader",
        "uptime_s": 1234.6,
        "halted": {"level": "none", "by": None, "since": None, "reason": None},
        "components": dict.fromkeys(COMPONENTS, component),
    }
    assert list(body["components"]) == list(COMPONENTS)


def test_livez_is_503_with_the_cause() -> None:
    assert ask(routes.livez(lambda: (True, None))) == (200, {"alive": True, "cause": None})
    dead = routes.livez(lambda: (False, "no progress of loop"))
    assert ask(dead) == (503, {"alive": False, "cause": "no progress of loop"})


def test_readyz_says_why_not() -> None:
    ready = routes.readyz(lambda: routes.Readiness(ready=True))
    assert ask(ready) == (200, {"ready": True, "reason": None})
    starting = routes.readyz(lambda: routes.Readiness(ready=False, reason="not reconciled"))
    assert ask(starting) == (503, {"ready": False, "reason": "not reconciled"})
    assert ask(starting, standby="ok")[0] == 503
    silent = routes.readyz(lambda: routes.Readiness(ready=False))
    assert ask(silent)[1]["reason"] == "not ready, no reason was given"


def test_a_standby_is_ready_only_for_who_asks_so() -> None:
    waiting = routes.Readiness(ready=False, standby=True, reason="standby")
    standby = routes.readyz(lambda: waiting)
    assert ask(standby) == (503, {"ready": False, "reason": "standby"})
    assert ask(standby, standby="ok") == (200, {"ready": True, "reason": None})


def test_metrics_are_passed_as_they_are() -> None:
    answer = routes.metrics(lambda: b"upbitd_up 1\n")(Request(path="/", query={}, request_id="r"))
    assert answer.body == b"upbitd_up 1\n"
    assert answer.content_type.startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("given", "span_s"),
    [({}, 86400), ({"since": "90s"}, 90), ({"since": "30m"}, 1800), ({"since": "7d"}, 604800)],
)
def test_stats_reads_the_span(given: dict[str, str], span_s: float) -> None:
    assert ask(routes.stats(lambda since_s: {"s": since_s}), **given) == (200, {"s": span_s})


@pytest.mark.parametrize("since", ["", "yesterday", "-1h", "0s", "1.5h", "9999d", "٣h"])
def test_stats_refuses_other_spans(since: str) -> None:
    status, body = ask(routes.stats(lambda _: {}), since=since)
    assert status == 400
    assert body["error"].startswith("since: a number with s, m, h or d")


def test_facts_that_cannot_be_had_are_503() -> None:
    def away() -> dict[str, object]:
        raise routes.NoAnswer("no answer within 2 s")

    assert ask(routes.facts(away)) == (503, {"error": "no answer within 2 s"})
    assert ask(routes.stats(lambda _: away()))[0] == 503
    assert ask(routes.facts(lambda: {"hits": 1})) == (200, {"hits": 1})


def test_json_writes_instants_in_utc_and_decimals_exactly() -> None:
    seoul = NOW.astimezone(timezone(timedelta(hours=9)))
    given = {"at": seoul, "tiny": Decimal("1E-8"), "k": MappingProxyType({"k": "한"})}
    body = json.loads(json_response(given).body)
    assert body == {"at": "2026-05-04T12:00:00Z", "tiny": "0.00000001", "k": {"k": "한"}}


def test_json_of_something_else_is_a_bug() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        json_response({"x": object()})


async def from_a_thread(call: Callable[[], object]) -> object:
    return await asyncio.to_thread(call)


async def double(number: int) -> int:
    return number * 2


async def test_on_loop_brings_a_coroutines_result_to_a_thread() -> None:
    call = routes.on_loop(asyncio.get_running_loop(), double)
    assert await from_a_thread(lambda: call(21)) == 42


async def test_on_loop_lets_a_bug_through_and_translates_what_is_away() -> None:
    async def fails() -> None:
        raise ConnectionError("secret text")

    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionError):
        await from_a_thread(routes.on_loop(loop, fails))
    away = routes.on_loop(loop, fails, unavailable=(ConnectionError,))
    with pytest.raises(routes.NoAnswer, match=r"^not available now: ConnectionError$"):
        await from_a_thread(away)


async def test_on_loop_gives_up_on_a_call_that_hangs_and_cancels_it() -> None:
    cancelled = asyncio.Event()

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    call = routes.on_loop(asyncio.get_running_loop(), hangs, timeout_s=0.01)
    with pytest.raises(routes.NoAnswer, match=r"^no answer within 0\.01 s$"):
        await from_a_thread(call)
    await cancelled.wait()


async def test_on_loop_gives_up_on_a_loop_that_is_stuck() -> None:
    call = routes.on_loop(asyncio.get_running_loop(), double, timeout_s=0.01)
    caught: list[Exception] = []

    def ask_stuck_loop() -> None:
        try:
            call(1)
        except routes.NoAnswer as exc:
            caught.append(exc)

    asking = threading.Thread(target=ask_stuck_loop)
    asking.start()
    asking.join()  # holds the loop
    assert [str(each) for each in caught] == ["no answer within 0.01 s"]


async def test_on_loop_tells_that_the_loop_is_closed() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(routes.NoAnswer, match="stopping"):
        routes.on_loop(closed, double)(1)


async def test_on_loop_tells_that_the_call_was_cancelled() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(routes.NoAnswer, match="stopping"):
        await from_a_thread(routes.on_loop(asyncio.get_running_loop(), cancelled))


async def test_on_loop_keeps_no_more_than_so_many_waiting() -> None:
    inside, go = asyncio.Event(), asyncio.Event()

    async def waits() -> int:
        inside.set()
        await go.wait()
        return 1

    call = routes.on_loop(asyncio.get_running_loop(), waits, at_once=1, timeout_s=60)
    first = asyncio.create_task(asyncio.to_thread(call))
    await inside.wait()
    with pytest.raises(routes.NoAnswer, match=r"^1 others wait for it already$"):
        await from_a_thread(call)
    go.set()
    assert await first == 1
    assert await from_a_thread(call) == 1


def test_a_text_that_is_no_unicode_costs_no_answer() -> None:
    answer = json_response({"cause": "bad \ud800 text \x00"})
    assert json.loads(answer.body)["cause"] == "bad ? text \x00"
