"""Shuffled signals: the same cards, dealt anew."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.backtest.permutation_test import judge, shuffled
from jobs.domain.portfolio import SignalFact

START = datetime(2026, 1, 5, tzinfo=UTC)
SIGNALS = [
    SignalFact(
        id=number,
        market=("KRW-BTC", "KRW-ETH")[number % 2],
        action=("buy", "sell", "hold")[number % 3],
        confidence=Decimal(number) / 100,
        created_at=START + number * timedelta(minutes=1),
    )
    for number in range(60)
]


def cards(signals: list[SignalFact]) -> Counter[tuple[str, str, Decimal]]:
    return Counter((each.market, each.action, each.confidence) for each in signals)


def test_every_market_keeps_its_cards_and_its_instants() -> None:
    dealt = shuffled(SIGNALS, 1)
    assert cards(dealt) == cards(SIGNALS)
    assert [(each.id, each.market, each.created_at) for each in dealt] == [
        (each.id, each.market, each.created_at) for each in SIGNALS
    ]
    assert dealt != SIGNALS


def test_a_seed_always_deals_the_same() -> None:
    assert shuffled(SIGNALS, 7) == shuffled(SIGNALS, 7)
    assert shuffled(SIGNALS, 7) != shuffled(SIGNALS, 8)


def test_the_original_counts_as_one_of_the_shuffles() -> None:
    found = judge([float(number) for number in range(19)], 18.5)
    assert found is not None
    assert found.p_value == pytest.approx(1 / 20)
    assert judge([1.0, 3.0, 2.0], 0.0) == judge([3.0, 2.0, 1.0], 0.0)
    worst = judge([1.0, 2.0, 3.0], 0.0)
    assert worst is not None
    assert worst.p_value == 1


def test_the_middle_nine_tenths_are_given() -> None:
    found = judge([float(number) for number in range(101)], 50.0)
    assert found is not None
    assert (found.mean_pct, found.low_pct, found.high_pct) == (50, 5, 95)
    assert found.p_value == pytest.approx(52 / 102)


def test_without_shuffles_there_is_nothing_to_say() -> None:
    assert judge([], 1.0) is None
