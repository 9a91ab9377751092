"""Nobody sends through a closed gate, and a longer closing in force stays."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.core.cooldowns import Closed, Gates
from jobs.core.errors import Banned, RateLimited

AT = datetime(2026, 1, 5, tzinfo=UTC)


class Wall:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_a_gate_opens_after_its_wait() -> None:
    wall = Wall()
    gates = Gates(wall)
    gates.check("gemini")
    gates.close("gemini", 53.5, source="retry-info", reason="quota")
    wall.pass_s(53.4)
    with pytest.raises(RateLimited) as caught:
        gates.check("gemini")
    assert caught.value.retry_after_s == pytest.approx(0.1)
    assert caught.value.wait_source == "retry-info"
    assert "quota" in str(caught.value)
    wall.pass_s(0.1)
    gates.check("gemini")
    assert gates.closed() == []


def test_a_group_is_closed_with_its_dependency_but_not_the_reverse() -> None:
    gates = Gates(Wall())
    gates.close("upbit:order", 1, source="remaining-req", reason="429")
    gates.check("upbit:candle")
    gates.check("upbit")
    gates.close("upbit", 60, source="ban", reason="418")
    with pytest.raises(Banned):
        gates.check("upbit:candle")
    assert gates.wait_s("upbit:order") == 60
    assert {gate.name for gate in gates.closed()} == {"upbit", "upbit:order"}


def test_the_longer_of_two_closings_holds_and_each_new_one_is_told() -> None:
    told: list[Closed] = []
    gates = Gates(Wall(), told.append)
    gates.close("upbit:order", 60, source="ban", reason="first")
    gates.close("upbit:order", 30, source="retry-after", reason="shorter")
    assert gates.wait_s("upbit:order") == 60
    gates.close("upbit:order", 120, source="ban", reason="longer")
    assert [each.reason for each in told] == ["first", "longer"]


def test_a_stored_closing_is_taken_over_without_being_told_again() -> None:
    told: list[Closed] = []
    wall = Wall()
    gates = Gates(wall, told.append)
    until = AT + timedelta(hours=1)
    gates.restore(Closed(name="upbit:order", until=until, source="ban", reason="418"))
    assert gates.wait_s("upbit:order") == 3600
    assert told == []
