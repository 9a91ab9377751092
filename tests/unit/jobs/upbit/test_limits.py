import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.job import current_lane
from jobs.upbit.limits import (
    EXCHANGE,
    KEPT_FOR_ORDERS,
    LIMITS,
    QUOTATION,
    Limit,
    Limiter,
    Remaining,
    parse_remaining,
)

RunVirtual = Callable[[Coroutine[Any, Any, Any]], Any]


def limiter(**changes: Any) -> Limiter:
    """A limiter on the clock of the running loop."""
    return Limiter(**{"monotonic": asyncio.get_running_loop().time, **changes})


async def use(limits: Limiter, group: str, *, answer_s: float = 0.03) -> float:
    """Send one request that is answered after `answer_s`; return when it was sent."""
    async with limits.slot(group) as permit:
        sent = asyncio.get_running_loop().time()
        await asyncio.sleep(answer_s)
        permit.answered(None)
    return sent


@pytest.mark.parametrize(
    ("header", "remaining"),
    [
        ("group=candle; min=600; sec=9", Remaining(group="candle", sec=9)),
        ("group=order-cancel-all; min=1; sec=0", Remaining(group="order-cancel-all", sec=0)),
        ("GROUP = Order ;SEC = 11", Remaining(group="order", sec=11)),
        ("min=600; sec=9", None),
        ("group=candle; sec=many", None),
        ("", None),
        (None, None),
    ],
)
def test_remaining_is_read_leniently(header: str | None, remaining: Remaining | None) -> None:
    assert parse_remaining(header) == remaining


def test_the_table_of_the_reference() -> None:
    assert {group: limit.requests for group, limit in EXCHANGE.items()} == {
        "default": 30,
        "order": 12,
        "order-test": 8,
        "order-cancel-all": 1,
    }
    assert {limit.requests for limit in QUOTATION.values()} == {10}
    assert LIMITS["order-cancel-all"].window_s == 2


def test_one_second_takes_nine_tenths_of_the_published_limit(run_virtual: RunVirtual) -> None:
    async def main() -> list[float]:
        limits = limiter()
        return await asyncio.gather(*(use(limits, "candle") for _ in range(12)))

    sent = run_virtual(main())
    assert sum(at < 1 for at in sent) == 9


@pytest.mark.parametrize(("share", "first_second"), [(1.0, 10), (0.5, 5), (0.01, 1)])
def test_the_share_is_what_may_be_used(
    run_virtual: RunVirtual, share: float, first_second: int
) -> None:
    async def main() -> list[float]:
        limits = limiter(share=share)
        return await asyncio.gather(*(use(limits, "candle") for _ in range(first_second + 1)))

    sent = run_virtual(main())
    assert sum(at < 1 for at in sent) == first_second


def test_first_come_first_served(run_virtual: RunVirtual) -> None:
    async def main() -> list[int]:
        limits = limiter(limits={"x": Limit(3)}, share=1.0)
        order: list[int] = []

        async def ask(number: int) -> None:
            async with limits.slot("x") as permit:
                order.append(number)
                permit.answered(None)

        await asyncio.gather(*(ask(number) for number in range(20)))
        return order

    assert run_virtual(main()) == list(range(20))


def test_groups_do_not_wait_for_each_other(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter()
        busy = [asyncio.create_task(use(limits, "candle")) for _ in range(50)]
        sent = await use(limits, "order")
        await asyncio.gather(*busy)
        return sent

    assert run_virtual(main()) == 0


def test_giving_up_while_waiting_costs_nothing(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter(limits={"x": Limit(1)})
        await use(limits, "x")
        waiting = [asyncio.create_task(use(limits, "x")) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiting[0].cancel()  # the one at the head, asleep
        waiting[1].cancel()  # one behind it
        return await waiting[2]

    assert run_virtual(main()) == pytest.approx(1.03, abs=0.01)


def test_a_request_that_never_left_gives_its_place_back(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter(limits={"x": Limit(1)})
        async with limits.slot("x") as permit:
            permit.unsent()
        return await use(limits, "x")

    assert run_virtual(main()) == 0


def test_a_request_without_an_answer_keeps_its_place_longer(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter(limits={"x": Limit(1)})
        async with limits.slot("x"):
            await asyncio.sleep(5)  # and nobody says what came of it
        return await use(limits, "x")

    assert run_virtual(main()) == pytest.approx(7, abs=0.01)


def test_all_in_flight_means_waiting_for_an_answer(run_virtual: RunVirtual) -> None:
    async def main() -> list[float]:
        limits = limiter(limits={"x": Limit(1)})
        return [*await asyncio.gather(use(limits, "x", answer_s=30), use(limits, "x"))]

    assert run_virtual(main()) == [0, pytest.approx(31, abs=0.01)]


def test_what_the_server_says_remains_is_heeded(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter()
        async with limits.slot("candle") as permit:
            permit.answered(Remaining(group="candle", sec=0))  # others used all the rest
        return await use(limits, "candle")

    assert run_virtual(main()) == pytest.approx(1, abs=0.01)


def test_what_another_group_has_left_is_not(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter()
        async with limits.slot("candle") as permit:
            permit.answered(Remaining(group="origin", sec=0))
        return await use(limits, "candle")

    assert run_virtual(main()) == 0


def test_a_refusal_is_an_answer(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter(limits={"x": Limit(1)})
        async with limits.slot("x") as permit:
            permit.refused()
        return await use(limits, "x")

    assert run_virtual(main()) == pytest.approx(1, abs=0.01)


async def hang(limits: Limiter, group: str) -> None:
    """Send one request that is never answered."""
    async with limits.slot(group):
        await asyncio.sleep(1e6)


async def use_for_orders(limits: Limiter, group: str) -> float:
    current_lane.set("orders")
    return await use(limits, group)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("group", sorted(KEPT_FOR_ORDERS))
def test_hung_calls_hold_no_place_that_is_kept_for_orders(
    run_virtual: RunVirtual, group: str, share: float
) -> None:
    async def main() -> list[float]:
        limits = limiter(share=share)
        hung = [asyncio.create_task(hang(limits, group)) for _ in range(50)]
        await asyncio.sleep(100)
        began = asyncio.get_running_loop().time()
        orders = [asyncio.create_task(use_for_orders(limits, group)) for _ in range(2)]
        sent = await asyncio.gather(*orders)
        for each in hung:
            each.cancel()
        return [at - began for at in sent]

    assert run_virtual(main()) == [0, pytest.approx(0, abs=0.51)]  # a half sights the boundary


def test_with_the_places_for_orders_there_are_no_more_than_the_share(
    run_virtual: RunVirtual,
) -> None:
    async def main() -> list[float]:
        limits = limiter()
        lanes = [use(limits, "ticker") for _ in range(20)]
        lanes += [use_for_orders(limits, "ticker") for _ in range(20)]
        return await asyncio.gather(*(asyncio.create_task(each) for each in lanes))

    sent = run_virtual(main())
    assert sum(at < 1 for at in sent) == 9
    assert sum(at < 1 for at in sent[20:]) >= 2
    assert all(sum(at <= each < at + 1 for each in sent) <= 9 for at in sent)


def test_others_keep_going_while_orders_take_all_they_may(run_virtual: RunVirtual) -> None:
    async def main() -> float:
        limits = limiter()
        orders = [asyncio.create_task(use_for_orders(limits, "default")) for _ in range(200)]
        await asyncio.sleep(0)
        await use(limits, "default")
        await asyncio.gather(*orders)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) < 10


@given(st.text(max_size=300) | st.from_regex(r"group=\w+; min=\d+; sec=\d{1,6000}", fullmatch=True))
def test_any_header_is_a_hint_or_nothing(header: str) -> None:
    found = parse_remaining(header)
    assert found is None or 0 <= found.sec < 10**9
