"""Every key of the configuration and every setting: its default, and that it can be overridden."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from pathlib import Path

import pytest

from daemon.config.load import ConfigError, from_mapping
from daemon.config.sections import Config
from daemon.config.types import Markets
from jobs.domain.settings import SPECS, Settings

FIVE = ("KRW-BTC", "KRW-ETH", "KRW-XRP", "KRW-SOL", "KRW-DOGE")


def span(text: str) -> timedelta:
    """A duration as the contract writes it."""
    for unit, part in (("ms", "milliseconds"), ("s", "seconds"), ("m", "minutes"), ("h", "hours")):
        if text.endswith(unit) and text.removesuffix(unit).isdigit():
            return timedelta(**{part: int(text.removesuffix(unit))})
    return timedelta(days=int(text.removesuffix("d")))


NOTHING: dict[str, object] = {}
KEYS: tuple[tuple[str, object, str, object], ...] = (
    # key, default, text of a variable, what it means
    ("daemon.timezone", "Asia/Seoul", "UTC", "UTC"),
    ("daemon.state_dir", Path("var").absolute(), "/tmp/elsewhere", Path("/tmp/elsewhere")),
    ("daemon.shutdown_grace", span("20s"), "500ms", span("500ms")),
    ("daemon.standby", True, "false", False),
    ("daemon.instance", "default", "second", "second"),
    ("trading.mode", "paper", "live", "live"),
    ("trading.markets", Markets(names=FIVE), '["KRW-BTC"]', Markets(names=("KRW-BTC",))),
    ("trading.markets", Markets(names=FIVE), '{"top": 3}', Markets(top=3)),
    ("database.url", "embedded", "postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
    ("database.pool_min", 10, "4", 4),
    ("database.pool_max", 20, "30", 30),
    ("database.acquire_timeout", span("5s"), "1s", span("1s")),
    ("database.max_waiting", 200, "7", 7),
    ("database.statement_timeout", span("30s"), "1m", span("1m")),
    ("database.isolation", "read committed", "repeatable read", "repeatable read"),
    ("database.slow_query", span("100ms"), "1s", span("1s")),
    ("redis.url", "", "redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ("upbit.base_url", "https://api.upbit.com", "http://127.0.0.1:1", "http://127.0.0.1:1"),
    (
        *("upbit.websocket_url", "wss://api.upbit.com/websocket/v1"),
        *("ws://127.0.0.1:1/websocket/v1", "ws://127.0.0.1:1/websocket/v1"),
    ),
    ("upbit.timeout", span("5s"), "2s", span("2s")),
    ("upbit.max_concurrency", 10, "3", 3),
    ("upbit.rate_share", 0.9, "0.5", 0.5),
    ("gemini.sdk", "google-genai", "google-generativeai", "google-generativeai"),
    ("gemini.base_url", "", "http://127.0.0.1:1", "http://127.0.0.1:1"),
    ("gemini.api_version", "v1beta", "v1", "v1"),
    ("gemini.model", "gemini-3.5-flash-lite", "gemini-9", "gemini-9"),
    ("gemini.timeout", span("30s"), "10s", span("10s")),
    ("gemini.daily_budget_usd", Decimal("1.00"), "0.5", Decimal("0.5")),
    ("gemini.max_output_tokens", 65536, "4096", 4096),
    ("gemini.temperature", 1.0, "0", 0.0),
    ("jobs.market.every", span("1m"), "2m", span("2m")),
    ("jobs.market.offset", span("2s"), "0s", span("0s")),
    ("jobs.market.enabled", True, "false", False),
    ("jobs.market.candle_units", (1,), "[1, 5]", (1, 5)),
    ("jobs.market.history", span("24h"), "3h", span("3h")),
    ("jobs.signals.every", span("5m"), "1h", span("1h")),
    ("jobs.signals.offset", span("5s"), "1s", span("1s")),
    ("jobs.signals.enabled", True, "false", False),
    ("jobs.orders.every", span("10s"), "5s", span("5s")),
    ("jobs.orders.enabled", True, "false", False),
    ("jobs.orders.deadline", span("60s"), "30s", span("30s")),
    ("jobs.upkeep.every", span("1h"), "2h", span("2h")),
    ("jobs.upkeep.cron", None, "7 3 * * mon-fri", "7 3 * * mon-fri"),
    ("jobs.upkeep.enabled", True, "false", False),
    ("signals.source", "gemini", "rules", "rules"),
    ("signals.shadow", False, "true", True),
    ("retry.delays", (1.0, 2.0, 4.0), "[0.5]", (0.5,)),
    ("retry.max_wait", span("5m"), "1m", span("1m")),
    ("health.host", "127.0.0.1", "::1", "::1"),
    ("health.port", 8787, "0", 0),
    ("health.signal_max_age", span("1h"), "2h", span("2h")),
    ("health.order_max_age", span("24h"), "2h", span("2h")),
    ("alerts.dedupe", span("15m"), "1m", span("1m")),
    ("log.level", "INFO", "DEBUG", "DEBUG"),
    ("log.format", "auto", "json", "json"),
    ("log.file", "", "/tmp/log", "/tmp/log"),
    ("log.retention", span("14d"), "1d", span("24h")),
    ("cache.settings_ttl", span("1h"), "1m", span("1m")),
    ("cache.price_ttl", span("30s"), "1s", span("1s")),
    ("cache.signal_ttl", span("10m"), "1m", span("1m")),
    ("cache.market_info_ttl", span("1h"), "1m", span("1m")),
    ("cache.max_entries", 10000, "10", 10),
)
SETTINGS: Mapping[str, object] = {
    "stop_loss_pct": 5,
    "take_profit_pct": 10,
    "trailing_stop_pct": 0,
    "position_size_pct": 10,
    "max_position_krw": 1000000,
    "max_open_positions": 5,
    "min_confidence": Decimal("0.6"),
    "max_orders_per_day": 50,
    "cooldown_s": 60,
    "daily_loss_limit_krw": 100000,
    "max_drawdown_pct": 20,
    "order_timeout_s": 60,
    "signal_max_age_s": 300,
    "entry_order": "limit",
    "max_spread_pct": 1,
    "max_entry_deviation_pct": 1,
    "max_exit_slippage_pct": 3,
    "entries_per_position": 1,
    "halted": "none",
}


def value(config: Config, dotted: str) -> object:
    return reduce(getattr, dotted.split("."), config)


@pytest.mark.parametrize(("key", "default"), dict.fromkeys((row[0], row[1]) for row in KEYS))
def test_a_key_has_its_default(key: str, default: object) -> None:
    assert value(from_mapping({}, {}, keys=False), key) == default


@pytest.mark.parametrize(("key", "default", "text", "meant"), KEYS)
def test_a_variable_goes_over_every_key(
    key: str, default: object, text: str, meant: object
) -> None:
    variable = f"UPBITD_{key.upper().replace('.', '__')}"
    found = value(from_mapping({}, {variable: text}, keys=False), key)
    assert found == meant != default


def test_tables_come_as_json() -> None:
    environ = {
        "UPBITD_ALERTS__HOOKS": '[{"exec": ["/bin/true"], "min_severity": "critical"}]',
        "UPBITD_GEMINI__PRICES": '{"gemini-9": {"input": 1, "output": 2}}',
    }
    config = from_mapping({}, environ, keys=False)
    assert config.alerts.hooks[0].exec == ("/bin/true",)
    assert config.gemini.prices["gemini-9"][0].output == 2


def test_a_port_open_to_others_needs_a_token() -> None:
    environ = {"UPBITD_HEALTH__HOST": "0.0.0.0"}  # noqa: S104 - a setting, nothing is bound
    with pytest.raises(ConfigError, match=r"health\.token"):
        from_mapping({}, environ, keys=False)
    token = {"UPBITD_HEALTH__TOKEN": "0123456789abcdef"}
    assert from_mapping({}, environ | token, keys=False).health.host == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(("key", "default"), SETTINGS.items())
def test_a_runtime_setting_has_its_default(key: str, default: object) -> None:
    assert SPECS[key].default == default
    assert getattr(Settings(), key) == default


def test_no_setting_of_the_contract_is_missing() -> None:
    assert SETTINGS.keys() <= SPECS.keys()
