"""Which changes of settings risk more."""

from decimal import Decimal

import pytest

from jobs.domain.halt import HaltLevel
from jobs.domain.settings import HALTED, SPECS, Value
from jobs.store.loosening import LESS, MORE, NEUTRAL, OFF_AT_ZERO, is_looser


def test_every_setting_is_judged() -> None:
    judged = MORE | LESS | OFF_AT_ZERO | NEUTRAL | {HALTED}
    assert judged == SPECS.keys()
    assert not MORE & LESS
    assert not NEUTRAL & (MORE | LESS | OFF_AT_ZERO)


@pytest.mark.parametrize("key", sorted(OFF_AT_ZERO))
def test_switching_a_limit_off_is_looser_and_on_is_not(key: str) -> None:
    assert "0: off" in SPECS[key].help
    assert is_looser(key, Decimal(5), Decimal(0))
    assert not is_looser(key, Decimal(0), Decimal(5))
    assert not is_looser(key, Decimal(0), Decimal(0))


def test_every_setting_that_zero_switches_off_is_known() -> None:
    assert {key for key, spec in SPECS.items() if "0: off" in spec.help} == OFF_AT_ZERO


@pytest.mark.parametrize(
    ("key", "old", "new", "looser"),
    [
        ("max_position_krw", Decimal(10**6), Decimal(10**12), True),
        ("max_position_krw", Decimal(10**6), Decimal(10**6), False),
        ("max_position_krw", Decimal(10**6), Decimal(1), False),
        ("max_open_positions", 5, 6, True),
        ("stop_loss_pct", Decimal(5), Decimal(6), True),
        ("stop_loss_pct", Decimal(5), Decimal(4), False),
        ("take_profit_pct", Decimal(10), Decimal(20), False),
        ("min_confidence", Decimal("0.6"), Decimal("0.5"), True),
        ("cooldown_s", 60, 0, True),
        ("cooldown_s", 60, 120, False),
        ("entry_order", "limit", "market", False),
        ("halted", HaltLevel.ALL, HaltLevel.ENTRIES, True),
        ("halted", HaltLevel.ENTRIES, HaltLevel.NONE, True),
        ("halted", HaltLevel.NONE, HaltLevel.ALL, False),
    ],
)
def test_what_risks_more(key: str, old: Value, new: Value, looser: bool) -> None:
    assert is_looser(key, old, new) is looser
