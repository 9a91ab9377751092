"""What is shared comes back exactly, and nothing else is taken for it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from jobs.store import market_names, snapshots
from jobs.store.market_data import Snapshot
from jobs.store.shared_tier import BROKEN
from jobs.upbit.wire import Market

SNAPSHOT = Snapshot(
    id=7,
    market="KRW-BTC",
    ts=datetime(2026, 11, 20, 1, 2, 3, 456789, UTC),
    price=Decimal("95000000.00000001"),
    volume_24h=Decimal("1E+3"),
    value_24h=Decimal("123456789012345678901234567890.12345678"),
    change_rate=Decimal("-0.0123"),
)
MARKETS = [Market(market="KRW-BTC", korean_name="비트코인", english_name="Bitcoin", warning=True)]
AMOUNTS = ["1", "1", "1", "1"]
NOW = "2026-11-20T00:00:00+00:00"


def test_a_snapshot_comes_back_to_the_last_digit() -> None:
    raw = orjson.loads(orjson.dumps(snapshots.CODEC.encode(SNAPSHOT)))
    assert snapshots.CODEC.decode(raw) == SNAPSHOT


def test_that_there_is_no_snapshot_comes_back_too() -> None:
    nothing: Any = None
    assert snapshots.CODEC.decode(snapshots.CODEC.encode(nothing)) is None


@pytest.mark.parametrize(
    "garbage",
    [
        BROKEN,
        5,
        "text",
        [],
        {},
        [1, "KRW-BTC", NOW],
        [1, "KRW-BTC", NOW, "1", "1", "1", "x"],
        [1, "KRW-BTC", NOW, "NaN", "1", "1", "1"],
        ["1", "KRW-BTC", NOW, *AMOUNTS],
        [1, 5, NOW, *AMOUNTS],
        [1, "KRW-BTC", "2026-11-20T00:00:00", *AMOUNTS],
        [1, "KRW-BTC", "yesterday", *AMOUNTS],
    ],
)
def test_what_is_no_snapshot_is_refused(garbage: Any) -> None:
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        snapshots.CODEC.decode(garbage)


def test_markets_come_back() -> None:
    raw = orjson.loads(orjson.dumps(market_names.CODEC.encode(MARKETS)))
    assert market_names.CODEC.decode(raw) == MARKETS


@pytest.mark.parametrize("garbage", [BROKEN, 5, "text", None, [[1, 2, 3, True]], [["a"]], [5]])
def test_what_is_no_list_of_markets_is_refused(garbage: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        market_names.CODEC.decode(garbage)
