"""What the data jobs are built with, by configuration."""

from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.config.load import Config, from_mapping
from daemon.wiring.data_jobs import _again, days_wanted, history_in_flight

AT = datetime(2026, 1, 5, tzinfo=UTC)


def config(**sections: Any) -> Config:
    return from_mapping(sections, {}, keys=False)


async def deferred(_job: str, _at: datetime) -> None:
    """Stands for the follow-up runs of the leader."""


@pytest.mark.parametrize(
    ("units", "signals", "is_far"),
    [
        ([1], {}, False),
        ([60], {}, False),  # every five minutes: the next slot is soon enough
        ([60], {"every": "1h"}, True),
        ([60], {"cron": "5 * * * *"}, True),
        ([240], {"every": "30m"}, True),
        ([1], {"every": "1h"}, False),  # another run would be another decision, and its cost
    ],
)
def test_a_late_candle_is_looked_for_where_slots_are_far_and_candles_long(
    units: list[int], signals: dict[str, Any], is_far: bool
) -> None:
    jobs = {"market": {"candle_units": units}, "signals": signals}
    assert (_again(config(jobs=jobs), deferred) is not None) == is_far


@pytest.mark.parametrize(
    ("share", "concurrency", "in_flight"), [(0.1, 10, 1), (0.3, 10, 2), (0.9, 10, 5), (0.9, 1, 1)]
)
def test_history_is_never_far_before_the_newest(
    share: float, concurrency: int, in_flight: int
) -> None:
    made = config(upbit={"rate_share": share, "max_concurrency": concurrency})
    assert history_in_flight(made) == in_flight


@pytest.mark.parametrize(
    ("source", "days", "wanted"),
    [("rules", 200, 0), ("gemini", 200, 0), ("mine", 200, 200), ("mine", 0, 0)],
)
def test_days_are_collected_for_strategies_that_may_look_at_them(
    source: str, days: int, wanted: int
) -> None:
    made = config(jobs={"market": {"days": days}})
    signals = made.signals.model_copy(update={"source": source})  # "mine" need not be installed
    assert days_wanted(made.model_copy(update={"signals": signals})) == wanted
