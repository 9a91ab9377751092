"""What a setting may be, and what is said when it may not."""

from dataclasses import fields
from decimal import Decimal

import pytest

from jobs.domain.halt import HaltLevel
from jobs.domain.settings import SPECS, Settings, Value, parse_value

DEFAULTS = {
    "stop_loss_pct": "5",
    "take_profit_pct": "10",
    "trailing_stop_pct": "0",
    "position_size_pct": "10",
    "max_position_krw": "1000000",
    "max_open_positions": "5",
    "min_confidence": "0.6",
    "max_orders_per_day": "50",
    "cooldown_s": "60",
    "daily_loss_limit_krw": "100000",
    "max_drawdown_pct": "20",
    "order_timeout_s": "60",
    "signal_max_age_s": "300",
    "entry_order": "limit",
    "entry_time_in_force": "auto",
    "exit_order": "market",
    "exit_time_in_force": "auto",
    "max_spread_pct": "1",
    "max_entry_deviation_pct": "1",
    "max_exit_slippage_pct": "3",
    "entries_per_position": "1",
    "halted": "none",
}


def test_every_setting_has_a_spec_and_its_documented_default() -> None:
    names = [each.name.replace("halt", "halted") for each in fields(Settings)]
    assert names == list(SPECS) == list(DEFAULTS)
    for key, entered in DEFAULTS.items():
        assert parse_value(key, entered) == SPECS[key].default == getattr(Settings(), key)
        assert SPECS[key].help


@pytest.mark.parametrize(
    ("key", "entered", "value"),
    [
        ("stop_loss_pct", " 2.5 ", Decimal("2.5")),
        ("stop_loss_pct", "0", Decimal(0)),
        ("max_position_krw", "1e6", Decimal("1E+6")),
        ("max_position_krw", "1,000,000", Decimal(1_000_000)),
        ("max_position_krw", "12,345.5", Decimal("12345.5")),
        ("cooldown_s", "90", 90),
        ("cooldown_s", "90.0", 90),
        ("entry_order", "best", "best"),
        ("halted", "entries", HaltLevel.ENTRIES),
        ("halted", "ALL", HaltLevel.ALL),
        ("halted", "TRUE", HaltLevel.ALL),
        ("halted", "off", HaltLevel.NONE),
    ],
)
def test_what_people_type_becomes_the_settings_type(key: str, entered: str, value: Value) -> None:
    parsed = parse_value(key, entered)
    assert parsed == value
    assert type(parsed) is type(value) is SPECS[key].kind


@pytest.mark.parametrize(
    ("key", "entered", "allowed"),
    [
        ("stop_loss_pct", "-1", "a number from 0 to 99"),
        ("stop_loss_pct", "100", "a number from 0 to 99"),
        ("stop_loss_pct", "NaN", "a number from 0 to 99"),
        ("stop_loss_pct", "Infinity", "a number from 0 to 99"),
        ("stop_loss_pct", "five", "a number from 0 to 99"),
        ("stop_loss_pct", "", "a number from 0 to 99"),
        ("stop_loss_pct", "true", "a number from 0 to 99"),
        ("min_confidence", "1.01", "a number from 0 to 1"),
        ("min_confidence", "0." + "1" * 50, "a number from 0 to 1"),
        ("position_size_pct", "0", "a number from 0.01 to 100"),
        ("max_position_krw", "1,00", "a number from 1"),
        ("max_position_krw", "1,000,00", "a number from 1"),
        ("max_position_krw", ",000", "a number from 1"),
        ("cooldown_s", "1.5", "a whole number from 0 to 86400"),
        ("order_timeout_s", "0", "a whole number from 1 to 86400"),
        ("max_spread_pct", "101", "a number from 0 to 100"),
        ("max_exit_slippage_pct", "0", "a number from 0.1 to 50"),
        ("entries_per_position", "0", "a whole number from 1 to 1000"),
        ("entry_order", "stop", "limit, market, best"),
        ("entry_order", "", "limit, market, best"),
        ("halted", "1", "none, entries, all"),
        ("halted", "maybe", "none, entries, all"),
    ],
)
def test_what_is_not_allowed_is_told_with_what_is(key: str, entered: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: .*is not allowed: {allowed}") as caught:
        parse_value(key, entered)
    assert entered in str(caught.value)


def test_a_misspelt_key_gets_a_hint_and_a_strange_one_the_list() -> None:
    with pytest.raises(ValueError, match=r"no setting: did you mean stop_loss_pct\?"):
        parse_value("stop_los_pct", "1")
    with pytest.raises(ValueError, match=r"known are stop_loss_pct, .*halted"):
        parse_value("zzz", "1")


@pytest.mark.parametrize("value", [True, None, "5", 2.5, [5], {"a": 1}])
def test_only_exact_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        SPECS["stop_loss_pct"].check(value)


@pytest.mark.parametrize("value", [0, 1, "true", None, "All", ["all"]])
def test_only_a_level_is_a_level(value: object) -> None:
    with pytest.raises(ValueError, match="none, entries, all"):
        SPECS["halted"].check(value)


def test_what_earlier_releases_stored_is_a_level() -> None:
    assert SPECS["halted"].check(value=True) is HaltLevel.ALL
    assert SPECS["halted"].check(value=False) is HaltLevel.NONE
