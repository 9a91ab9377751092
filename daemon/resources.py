"""What jobs work with: clients, sources, caches. Opened together, closed in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from daemon.caching.caches import Caches, open_caches
from daemon.config.load import Config
from daemon.redaction import Masker
from jobs.core.cooldowns import Gates
from jobs.core.job import Clock, Notifier
from jobs.domain.exchange import Exchange
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.source import Asking, GeminiSource
from jobs.orders.paper_exchange import PaperExchange
from jobs.signals.protocol import Source
from jobs.signals.registry import load_source
from jobs.signals.rule_source import RulesSource
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.stated_ticks import TickWatch

GEMINI = "gemini"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What is open before any client is."""

    config: Config
    database: Database
    clock: Clock
    notifier: Notifier
    gates: Gates


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Everything that jobs and probes use. `model` is None where no model is asked."""

    base: Foundation
    caches: Caches
    upbit: UpbitClient
    model: GeminiClient | None
    source: Source


@asynccontextmanager
async def open_resources(base: Foundation) -> AsyncIterator[Resources]:
    """Open what the configuration asks for; nothing is sent to anybody yet."""
    config = base.config
    async with AsyncExitStack() as stack:
        upbit = await stack.enter_async_context(
            open_client(
                base_url=config.upbit.base_url,
                keys=upbit_keys(config),
                gates=base.gates,
                limiter=Limiter(share=config.upbit.rate_share),
                clock=base.clock,
                timeout_s=config.upbit.timeout.total_seconds(),
                max_connections=2 * config.upbit.max_concurrency,
            )
        )
        caches = await stack.enter_async_context(
            open_caches(base.database, config.cache, config.redis.url)
        )
        model = None
        if config.signals.source == GEMINI:
            model = await stack.enter_async_context(_open_model(base))
        yield Resources(
            base=base,
            caches=caches,
            upbit=upbit,
            model=model,
            source=_source(base, model),
        )


def upbit_keys(config: Config) -> Keys | None:
    """Return the configured pair of Upbit keys, None unless both are there."""
    access, secret = config.secrets.upbit_access_key, config.secrets.upbit_secret_key
    if access is None or secret is None:
        return None
    return Keys(access_key=access.get_secret_value(), secret_key=secret.get_secret_value())


def exchange_of(
    base: Foundation, database: Database, upbit: UpbitClient, ticks: TickWatch | None = None
) -> Exchange:
    """Return where orders go: the venue, or the paper account that is kept in `database`.

    A paper account demands the price steps that `ticks` has heard of.
    """
    if base.config.trading.mode == "live":
        return upbit
    start_krw = base.config.trading.paper_balance_krw
    stated = dict if ticks is None else lambda: ticks.stated
    return PaperExchange(
        database, upbit, clock=base.clock, start_krw=start_krw, ticks_stated=stated
    )


@asynccontextmanager
async def _open_model(base: Foundation) -> AsyncIterator[GeminiClient]:
    gemini, key = base.config.gemini, base.config.secrets.gemini_api_key
    connection = Connection(
        sdk=gemini.sdk,
        model=gemini.model,
        api_key="" if key is None else key.get_secret_value(),
        base_url=gemini.base_url,
        api_version=gemini.api_version,
        timeout_s=gemini.timeout.total_seconds(),
    )
    async with open_model(connection, gates=base.gates, clock=base.clock) as model:
        yield model


def _source(base: Foundation, model: GeminiClient | None) -> Source:
    gemini = base.config.gemini

    def ask_gemini() -> Source:
        assert model is not None, "opened whenever the source is Gemini"  # noqa: S101
        return GeminiSource(
            model=model,
            db=base.database,
            prices=gemini.price_table(),
            asking=Asking(
                model=gemini.model,
                max_output_tokens=gemini.max_output_tokens,
                timeout_s=gemini.timeout.total_seconds(),
                daily_budget_usd=gemini.daily_budget_usd,
                temperature=gemini.temperature,
            ),
            notifier=base.notifier,
            gates=base.gates,
            clock=base.clock,
            mask=Masker(base.config.sensitive()),
        )

    return load_source(base.config.signals.source, {GEMINI: ask_gemini, "rules": RulesSource})
