"""Lines about changes come so many a second, however many roles notify."""

from collections.abc import Iterator

import psycopg
import pytest
from loguru import logger

from jobs.cache import listener


@pytest.fixture
def lines() -> Iterator[list[str]]:
    told: list[str] = []
    sink = logger.add(told.append, format="{message} {extra[key]}", level="DEBUG")
    yield told
    logger.remove(sink)


def test_a_flood_is_cut_and_said(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 10.0
    monkeypatch.setattr("jobs.cache.listener.time.monotonic", lambda: now_s)
    told = listener._Lines()
    for number in range(500):
        told.tell(psycopg.Notify("settings_changed", f"key {number}", 1))
    assert len(lines) == listener.MOST_LINES_A_SECOND + 1
    assert lines[-1].startswith("many rows change")
    now_s = 11.0
    told.tell(psycopg.Notify("settings_changed", "after", 1))
    assert lines[-1] == "a row changed after\n"
