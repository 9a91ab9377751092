"""Which signals are acted on, in which order, and how the others end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.domain.portfolio import SignalFact
from jobs.domain.settings import Settings
from jobs.domain.signal_choice import choose

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SIGNAL = SignalFact(id=1, market="KRW-BTC", action="buy", confidence=Decimal(1), created_at=NOW)


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (SIGNAL, None),
        (replace(SIGNAL, action="sell"), None),
        (replace(SIGNAL, action="hold"), "hold: nothing to do"),
        (replace(SIGNAL, created_at=NOW - timedelta(seconds=300)), None),
        (
            replace(SIGNAL, created_at=NOW - timedelta(seconds=301)),
            "the signal is 301 s old, limit 300 s",
        ),
    ],
)
def test_a_signal_that_asks_for_no_order_ends(signal: SignalFact, reason: str | None) -> None:
    chosen, ended = choose([signal], Settings(), NOW)
    assert [(each.status, each.reason) for each in ended] == (
        [("expired", reason)] if reason else []
    )
    assert chosen == ([] if reason else [signal])


def test_only_the_newest_signal_of_a_market_counts() -> None:
    older = replace(SIGNAL, id=0, action="sell")
    chosen, ended = choose([SIGNAL, older], Settings(), NOW)
    assert chosen == [SIGNAL]
    assert [(each.signal, each.reason) for each in ended] == [(older, "replaced by a newer signal")]


def test_a_new_hold_does_not_take_back_an_older_wish() -> None:
    hold, buy = replace(SIGNAL, id=2, action="hold"), SIGNAL
    assert choose([hold, buy], Settings(), NOW)[0] == [buy]


def test_sales_come_first_then_the_most_confident_then_the_oldest() -> None:
    def signal(number: int, action: str, confidence: str) -> SignalFact:
        return replace(
            SIGNAL,
            id=number,
            market=f"KRW-{number}",
            action=action,
            confidence=Decimal(confidence),
        )

    given = [
        signal(1, "buy", "0.7"),
        signal(2, "buy", "0.9"),
        signal(3, "sell", "0.6"),
        signal(4, "buy", "0.9"),
    ]
    assert [each.id for each in choose(given, Settings(), NOW)[0]] == [3, 2, 4, 1]
