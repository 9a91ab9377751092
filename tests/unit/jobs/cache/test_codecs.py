"""What is shared comes back exactly, and nothing else is taken for it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from jobs.cache import snapshots
from jobs.cache.shared_tier import BROKEN
from jobs.store.market_data import Snapshot

SNAPSHOT = Snapshot(
    id=7,
    market="KRW-BTC",
    ts=datetime(2026, 11, 20, 1, 2, 3, 456789, UTC),
    price=Decimal("95000000.00000001"),
    volume_24h=Decimal("1E+3"),
    value_24h=Decimal("123456789012345678901234567890.12345678"),
    change_rate=Decimal("-0.0123"),
)
AT = datetime(2026, 11, 20, 2, tzinfo=UTC)
BTC = "KRW-BTC"
CODEC = snapshots.codec(lambda: AT)
AMOUNTS = ["1", "1", "1", "1"]
NOW = "2026-11-20T00:00:00+00:00"


def test_a_snapshot_comes_back_to_the_last_digit() -> None:
    raw = orjson.loads(orjson.dumps(CODEC.encode(SNAPSHOT)))
    assert CODEC.decode(BTC, raw) == SNAPSHOT


def test_that_there_is_no_snapshot_comes_back_too() -> None:
    nothing: Any = None
    assert CODEC.decode(BTC, CODEC.encode(nothing)) is None


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
        [1, "KRW-ETH", NOW, *AMOUNTS],
        [1, "krw-btc", NOW, *AMOUNTS],
        [1, "KRW-BTC", "2026-11-20T02:00:05.000001+00:00", *AMOUNTS],
        [1, "KRW-BTC", "9999-12-31T23:59:59+00:00", *AMOUNTS],
        [1, "KRW-BTC", NOW, "0", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "-1", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "sNaN", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "Infinity", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "1E+31", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "1E-31", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "1E+999999999", "1", "1", "1"],
        [1, "KRW-BTC", NOW, "1" * 81, "1", "1", "1"],
        [1, "KRW-BTC", NOW, 1, "1", "1", "1"],
        [1, "KRW-BTC", NOW, True, "1", "1", "1"],
        [1, "KRW-BTC", NOW, "1", "NaN", "1", "1"],
        [1, "KRW-BTC", NOW, "1", "1", "1E+3000000", "1"],
        [1, "KRW-BTC", NOW, "1", "-1", "1", "1"],
        [1, "KRW-BTC", NOW, "1", "1", "1", "Infinity"],
        [1, "KRW-BTC", NOW, "1", "1", "1", "0E-3000000"],
        [True, "KRW-BTC", NOW, *AMOUNTS],
        [0, "KRW-BTC", NOW, *AMOUNTS],
        [-7, "KRW-BTC", NOW, *AMOUNTS],
        [2**63, "KRW-BTC", NOW, *AMOUNTS],
        [1.5, "KRW-BTC", NOW, *AMOUNTS],
    ],
)
def test_what_is_no_snapshot_is_refused(garbage: Any) -> None:
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        CODEC.decode(BTC, garbage)
