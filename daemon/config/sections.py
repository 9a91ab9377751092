"""The sections of config.toml with every key, its default and what it may be.

A field's description is what an error message calls allowed. Sections are frozen; their text form
shows no secret.
"""

from datetime import timedelta
from decimal import Decimal
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from daemon.config.gemini_section import GeminiConfig
from daemon.config.job_sections import DURATION, JobsConfig, Section
from daemon.config.types import (
    Amount,
    Duration,
    Folder,
    Markets,
    Number,
    Offset,
    Rotation,
    database_address,
    is_loopback,
    parse_market_list,
    parse_markets,
    password_of,
    redis_address,
    secrets_of,
    stream_address,
    time_zone,
    unversioned,
)
from jobs.domain.ceilings import Ceilings

MARKETS = 'a list such as ["KRW-BTC", "KRW-ETH"], or "KRW-*", or {top = 10}'
MARKET_LIST = 'a list of markets such as ["KRW-BTC", "KRW-ETH"]'
DEFAULT_MARKETS = ("KRW-BTC", "KRW-ETH", "KRW-XRP", "KRW-SOL", "KRW-DOGE")


class DaemonConfig(Section):
    """[daemon]"""

    timezone: Annotated[
        str, AfterValidator(time_zone), Field(description='a zone name such as "Asia/Seoul"')
    ] = "Asia/Seoul"
    state_dir: Annotated[Folder, Field(description="the path of a folder")] = Field(
        default="./var", validate_default=True
    )
    shutdown_grace: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=20)
    standby: Annotated[bool, Field(description="true or false")] = True
    instance: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
            description="1 to 32 of a-z 0-9 _ -, a letter or digit first",
        ),
    ] = "default"

    @property
    def halt_file(self) -> Path:
        """The file that halts trading as long as it exists, whatever is in it."""
        return self.state_dir / "HALT"


class TradingConfig(Section):
    """[trading]"""

    mode: Annotated[Literal["paper", "live"], Field(description='"paper" or "live"')] = "paper"
    allow_warned: Annotated[bool, Field(description="true or false")] = False
    exclude: Annotated[
        tuple[str, ...], BeforeValidator(parse_market_list), Field(description=MARKET_LIST)
    ] = ()
    markets: Annotated[Markets, BeforeValidator(parse_markets), Field(description=MARKETS)] = (
        Markets(names=DEFAULT_MARKETS)
    )
    paper_balance_krw: Annotated[
        Amount, Field(ge=10_000, le=10**15, description="an amount of 10000 KRW or more")
    ] = Decimal(10_000_000)

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.markets.names and set(self.markets.names) <= set(self.exclude):
            raise ValueError("exclude: leaves no market to trade")
        return self


CEILING = "an amount of 1 KRW or more; leave the key out for none"


class LimitsConfig(Section):
    """[limits]: what no runtime setting can pass, because this file belongs to root."""

    max_position_krw: Annotated[Amount | None, Field(ge=1, description=CEILING)] = None
    max_orders_per_day: Annotated[
        int | None, Field(ge=0, description="a whole number; leave the key out for none")
    ] = None
    daily_loss_limit_krw: Annotated[Amount | None, Field(ge=1, description=CEILING)] = None

    def ceilings(self) -> Ceilings:
        """The same for whoever decides about orders."""
        return Ceilings(
            max_position_krw=self.max_position_krw,
            max_orders_per_day=self.max_orders_per_day,
            daily_loss_limit_krw=self.daily_loss_limit_krw,
        )


class DatabaseConfig(Section):
    """[database]"""

    url: Annotated[
        str,
        AfterValidator(database_address),
        Field(description='"embedded" or postgresql://user@host:5432/name'),
    ] = "embedded"
    pool_min: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 10
    pool_max: Annotated[int, Field(ge=3, le=1000, description="a whole number from 3 to 1000")] = 20
    acquire_timeout: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=5)
    max_waiting: Annotated[int, Field(ge=1, le=100_000, description="1 to 100000")] = 200
    statement_timeout: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=30)
    isolation: Annotated[
        Literal["read committed", "repeatable read", "serializable"],
        Field(description='"read committed", "repeatable read" or "serializable"'),
    ] = "read committed"
    slow_query: Annotated[Duration, Field(description=DURATION)] = timedelta(milliseconds=100)
    allow_clear: Annotated[bool, Field(description="true or false")] = False

    @model_validator(mode="after")
    def _pool_is_possible(self) -> Self:
        if self.pool_min > self.pool_max:
            raise ValueError(f"pool_min: must not be more than pool_max ({self.pool_max})")
        return self


class RedisConfig(Section):
    """[redis]"""

    url: Annotated[
        str,
        AfterValidator(redis_address),
        Field(description='"" for none, or redis://, rediss:// or unix://'),
    ] = ""
    allow_clear: Annotated[bool, Field(description="true or false")] = False


class UpbitConfig(Section):
    """[upbit]"""

    base_url: Annotated[
        str,
        Field(min_length=1, description="https:// (http:// on this machine), without /v1"),
        AfterValidator(unversioned),
    ] = "https://api.upbit.com"
    websocket_url: Annotated[
        str,
        AfterValidator(stream_address),
        Field(description="wss:// (ws:// on this machine)"),
    ] = "wss://api.upbit.com/websocket/v1"
    timeout: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=5)
    max_concurrency: Annotated[int, Field(ge=1, le=100, description="1 to 100")] = 10
    rate_share: Annotated[Number, Field(gt=0, le=1, description="more than 0, at most 1")] = 0.9


def _known_source(value: str) -> str:
    known = {each.name for each in entry_points(group="upbitd.signals")}
    if value not in {"gemini", "rules"} | known:
        raise ValueError("no entry point of that name in the group upbitd.signals")
    return value


class SignalsConfig(Section):
    """[signals]"""

    source: Annotated[
        str,
        AfterValidator(_known_source),
        Field(description='"gemini", "rules" or an installed entry point of upbitd.signals'),
    ] = "gemini"
    shadow: Annotated[bool, Field(description="true or false")] = False
    longer_units: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1440)], ...],
        Field(
            strict=False, max_length=4, description="up to 4 candle lengths of 1 to 1440 minutes"
        ),
    ] = (15, 60)
    spread: Annotated[bool, Field(description="true or false")] = False


class RetryConfig(Section):
    """[retry]"""

    delays: Annotated[
        tuple[Annotated[Number, Field(gt=0, le=3600)], ...],
        Field(strict=False, max_length=10, description="up to 10 waits above 0, in seconds"),
    ] = (1.0, 2.0, 4.0)
    max_wait: Annotated[Duration, Field(description=DURATION)] = timedelta(minutes=5)


class HealthConfig(Section):
    """[health]"""

    host: Annotated[str, Field(min_length=1, description="a host name or address")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="0 (any free one) to 65535")] = 8787
    signal_max_age: Annotated[Duration, Field(description=DURATION)] = timedelta(hours=1)
    order_max_age: Annotated[Duration, Field(description=DURATION)] = timedelta(hours=24)
    token: Annotated[SecretStr, Field(description="a text of 16 characters or more, or none")] = (
        SecretStr("")
    )
    ping_url: Annotated[SecretStr, Field(description='"" or an http:// or https:// address')] = (
        SecretStr("")
    )
    ping_every: Annotated[Duration, Field(description=DURATION)] = timedelta(minutes=1)

    @field_validator("ping_url")
    @classmethod
    def _ping_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(
            ("http://", "https://")
        ):
            raise ValueError("must begin with http:// or https://")
        return value

    @model_validator(mode="after")
    def _open_port_needs_a_token(self) -> Self:
        if 0 < len(self.token.get_secret_value()) < 16:  # noqa: PLR2004 - described above
            raise ValueError("token: is shorter than 16 characters")
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"token: is missing, and host {self.host!r} can be reached from other machines"
            )
        return self


SEVERITIES = 'one of "info", "warning", "critical"'

# never by our own name from an index: nobody has that name there, so anybody may take it
NO_APPRISE = "run `make setup` in the program's folder, or there `pip install -e '.[apprise]'`"


class HookConfig(Section):
    """One entry of alerts.hooks: exactly one of `exec`, `url`, `apprise`."""

    exec: Annotated[
        tuple[str, ...] | None, Field(strict=False, description='["/path", "argument"]')
    ] = None
    url: Annotated[SecretStr | None, Field(description="an http:// or https:// address")] = None
    apprise: Annotated[SecretStr | None, Field(description="an address for apprise")] = None
    min_severity: Annotated[
        Literal["info", "warning", "critical"], Field(description=SEVERITIES)
    ] = "info"
    timeout: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=10)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [each for each in (self.exec, self.url, self.apprise) if each is not None]
        if len(given) != 1:
            raise ValueError(f"has {len(given)} of exec, url and apprise; give exactly one")
        if self.exec is not None and not (self.exec and self.exec[0].startswith("/")):
            raise ValueError("exec: must begin with the full path of a program")
        if self.apprise is not None and find_spec("apprise") is None:
            raise ValueError(f"apprise: is not installed: {NO_APPRISE}")
        if self.url is not None and not self.url.get_secret_value().startswith(
            ("http://", "https://")
        ):
            raise ValueError("url: must begin with http:// or https://")
        return self


class AlertsConfig(Section):
    """[alerts]"""

    hooks: Annotated[
        tuple[HookConfig, ...],
        Field(strict=False, description='a list of {exec = ["/path"]} or {url = "https://..."}'),
    ] = ()
    dedupe: Annotated[Duration, Field(description=DURATION)] = timedelta(minutes=15)
    max_unhealthy: Annotated[Offset, Field(description='"0s" (off) or a duration')] = timedelta(
        minutes=2
    )
    max_degraded: Annotated[Offset, Field(description='"0s" (off) or a duration')] = timedelta(
        minutes=30
    )
    max_paused: Annotated[Offset, Field(description='"0s" (off) or a duration')] = timedelta(days=1)
    max_memory_mb: Annotated[Number, Field(ge=0, description="0 (off) or an amount in MB")] = 512
    min_disk_free_mb: Annotated[Number, Field(ge=0, description="0 (off) or an amount in MB")] = 500
    max_failed_pct: Annotated[Number, Field(ge=0, le=100, description="0 (off) to 100")] = 20
    max_lateness: Annotated[Offset, Field(description='"0s" (off) or a duration')] = timedelta(
        seconds=5
    )


class LogConfig(Section):
    """[log]"""

    level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        Field(description="TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ] = "INFO"
    format: Annotated[
        Literal["auto", "json", "text"], Field(description='"auto", "json" or "text"')
    ] = "auto"
    file: Annotated[str, Field(description='"" for none, or a path')] = ""
    rotation: Annotated[
        Rotation, Field(description='a size such as "50 MB" or a duration such as "1d"')
    ] = 50_000_000
    retention: Annotated[Duration, Field(description='a duration such as "14d"')] = timedelta(
        days=14
    )


class CacheConfig(Section):
    """[cache]"""

    settings_ttl: Annotated[Duration, Field(description=DURATION)] = timedelta(hours=1)
    price_ttl: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=30)
    signal_ttl: Annotated[Duration, Field(description=DURATION)] = timedelta(minutes=10)
    market_info_ttl: Annotated[Duration, Field(description=DURATION)] = timedelta(hours=1)
    max_entries: Annotated[int, Field(ge=1, le=10_000_000, description="1 to 10000000")] = 10_000


class Secrets(Section):
    """Keys, which come from the environment or from systemd credentials only."""

    upbit_access_key: SecretStr | None = None
    upbit_secret_key: SecretStr | None = None
    gemini_api_key: SecretStr | None = None

    def values(self) -> tuple[str, ...]:
        """The keys that are set, in clear: for the log's masking and nothing else."""
        keys = (self.upbit_access_key, self.upbit_secret_key, self.gemini_api_key)
        return tuple(key.get_secret_value() for key in keys if key is not None)


CREDENTIALS = {
    "health_token": "health.token",
    "database_url": "database.url",
    "redis_url": "redis.url",
    "alerts_hooks": "alerts.hooks",
    "ping_url": "health.ping_url",
}
"""Systemd credentials for the keys that hold secrets beside `Secrets`; hooks as JSON."""


class Config(Section):
    """The whole configuration, checked against itself."""

    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    trading: TradingConfig = TradingConfig()
    limits: LimitsConfig = LimitsConfig()
    database: DatabaseConfig = DatabaseConfig()
    redis: RedisConfig = RedisConfig()
    upbit: UpbitConfig = UpbitConfig()
    gemini: GeminiConfig = Field(default_factory=GeminiConfig)
    jobs: JobsConfig = JobsConfig()
    signals: SignalsConfig = SignalsConfig()
    retry: RetryConfig = RetryConfig()
    health: HealthConfig = HealthConfig()
    alerts: AlertsConfig = AlertsConfig()
    log: LogConfig = LogConfig()
    cache: CacheConfig = CacheConfig()
    secrets: Secrets = Secrets()

    @property
    def is_exchange_local(self) -> bool:
        """Whether the exchange runs on this machine: a sandbox, so that all money is pretended."""
        return is_loopback(urlsplit(self.upbit.base_url).hostname or "")

    @property
    def risks_real_money(self) -> bool:
        """Whether orders go to a real account."""
        return self.trading.mode == "live" and not self.is_exchange_local

    def missing_keys(self) -> str | None:
        """What is wrong with the keys for what the configuration asks for, or None."""
        keys = self.secrets
        if self.trading.mode == "live" and not (keys.upbit_access_key and keys.upbit_secret_key):
            return (
                'trading.mode: "live" needs UPBIT_ACCESS_KEY and UPBIT_SECRET_KEY in the '
                'environment or as systemd credentials; without them use mode = "paper"'
            )
        if self.signals.source == "gemini" and not keys.gemini_api_key:
            return (
                'signals.source: "gemini" needs GEMINI_API_KEY in the environment or as a systemd '
                'credential; without it use source = "rules"'
            )
        return None

    def sensitive(self) -> tuple[str, ...]:
        """Every secret text that this configuration holds, for the log's masking."""
        hooks = [each for hook in self.alerts.hooks for each in (hook.url, hook.apprise) if each]
        addresses = [each.get_secret_value() for each in (*hooks, self.health.ping_url)]
        passwords = [password_of(url) for url in (self.database.url, self.redis.url)]
        told = [*self.secrets.values(), self.health.token.get_secret_value(), *passwords]
        told += [part for address in addresses for part in secrets_of(address)]
        return tuple(dict.fromkeys(each for each in told if each))
