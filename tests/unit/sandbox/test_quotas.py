"""Quotas count in fixed windows; who goes on after refusals is blocked, longer each time."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox.options import Options
from sandbox.quotas import Limited, Quotas

NOW = datetime(2026, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def refused(quotas: Quotas, at: datetime, group: str = "order") -> Limited:
    with pytest.raises(Limited) as caught:
        quotas.take("p", group, at)
    return caught.value


def test_the_header_counts_down_within_a_second_and_starts_anew() -> None:
    quotas = Quotas(Options())
    headers = [quotas.take("p", "order", NOW) for _ in range(12)]
    assert headers[0] == "group=order; min=720; sec=11"
    assert headers[11] == "group=order; min=720; sec=0"
    assert refused(quotas, NOW).status == 429
    assert quotas.header("p", "order", NOW).endswith("sec=0")
    assert quotas.take("p", "order", after(0.1)) == headers[0]


@pytest.mark.parametrize(
    ("group", "limit", "window_s", "minute"),
    [
        ("candle", 10, 1, 600),
        ("default", 30, 1, 1800),
        ("order-test", 8, 1, 480),
        ("order-cancel-all", 1, 2, 30),
        ("origin", 1, 10, 6),
    ],
)
def test_every_group_has_its_own_limit_and_window(
    group: str, limit: int, window_s: int, minute: int
) -> None:
    quotas, start = Quotas(Options()), NOW.replace(microsecond=0)
    for used in range(1, limit + 1):
        assert quotas.take("p", group, start) == f"group={group}; min={minute}; sec={limit - used}"
    last = start + timedelta(seconds=window_s - 0.001)
    assert refused(quotas, last, group).status == 429
    quotas.take("p", group, start + timedelta(seconds=window_s))


def test_groups_and_scopes_do_not_share() -> None:
    quotas = Quotas(Options(limits={"order": 1, "default": 1}))
    for scope in ("p", "q"):
        quotas.take(scope, "order", NOW)
        quotas.take(scope, "default", NOW)


def test_ten_refusals_in_ten_seconds_block_for_a_minute_then_for_two() -> None:
    options = Options(limits={"order": 0})
    quotas = Quotas(options)
    for _ in range(10):
        assert refused(quotas, NOW).status == 429
    assert quotas.blocks(NOW) == {"p": 60}
    blocked = refused(quotas, after(20.5), "default")
    assert (blocked.status, blocked.wait_s) == (418, 40)
    assert "40 seconds" in blocked.message
    assert quotas.blocks(after(60)) == {}
    for _ in range(10):
        assert refused(quotas, after(61)).status == 429
    assert refused(quotas, after(61)).wait_s == 120
    assert quotas.refusals == {"429": 20, "418": 2}


def test_refusals_far_apart_do_not_block() -> None:
    quotas = Quotas(Options(limits={"order": 0}))
    for step in range(30):
        assert refused(quotas, after(step * 2)).status == 429
    assert quotas.blocks(after(60)) == {}


def test_counting_without_refusing_and_forgetting() -> None:
    options = Options(quotas=False, limits={"order": 1})
    quotas = Quotas(options)
    assert [quotas.take("p", "order", NOW)[-5:] for _ in range(3)] == ["sec=0"] * 3
    options.quotas = True
    assert refused(quotas, NOW).message == "Too many API requests."
    quotas.reset()
    quotas.take("p", "order", NOW)
