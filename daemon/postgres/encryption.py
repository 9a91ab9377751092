"""Databases on other machines: spoken to encrypted and verified, or only on somebody's word."""

from daemon.config.load import Config, ConfigError
from daemon.config.types import postgres_in_clear, redis_in_clear


def in_clear(config: Config) -> dict[str, str]:
    """The hosts that would be spoken to in clear or unverified over a network, by section."""
    found = {
        "database": postgres_in_clear(config.database.url),
        "redis": redis_in_clear(config.redis.url),
    }
    return {section: host for section, host in found.items() if host is not None}


def refuse_clear(config: Config) -> None:
    """Raise ConfigError for a database elsewhere whose connection anybody on the way may change.

    Who sits there writes settings (halted, limits) and signals (a new row is an order).
    """
    allowed = {"database": config.database.allow_clear, "redis": config.redis.allow_clear}
    mends = {
        "database": "add ?sslmode=verify-full&sslrootcert=system to it",
        "redis": "use rediss://",
    }
    for section, host in in_clear(config).items():
        if not allowed[section]:
            raise ConfigError(
                f"{section}.url: {host} would be spoken to in clear or unverified; "
                f"{mends[section]}, or set {section}.allow_clear = true"
            )
