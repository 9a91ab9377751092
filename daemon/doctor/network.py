"""What the environment says about the network, for every address that the daemon calls."""

from collections.abc import Iterator, Mapping

from daemon.config.load import Config
from daemon.postgres.encryption import refuse_clear
from jobs.core.http_clients import Proxy, proxy_for, trust
from jobs.gemini.model import PUBLIC_URL


def addresses(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what is called and where; hooks and the ping without their secret paths' names."""
    yield "Upbit", config.upbit.base_url
    if config.signals.source == "gemini":
        yield "Gemini", config.gemini.base_url or PUBLIC_URL
    for hook in config.alerts.hooks:
        if hook.url is not None:
            yield "alerts.hooks", hook.url.get_secret_value()
    if ping := config.health.ping_url.get_secret_value():
        yield "health.ping_url", ping


def proxies(config: Config, environ: Mapping[str, str]) -> dict[str, Proxy]:
    """The proxies in force, by what is called through them. Raises BadEnvironment."""
    found = {name: proxy_for(url, environ) for name, url in addresses(config)}
    return {name: proxy for name, proxy in found.items() if proxy is not None}


def check_network(config: Config, environ: Mapping[str, str]) -> None:
    """Raise before anything is started: BadEnvironment where a variable makes calls impossible,
    ConfigError where a database would be spoken to in clear.
    """
    refuse_clear(config)
    proxies(config, environ)
    trust(environ)
