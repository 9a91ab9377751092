"""`upbitd backfill --market M --from T`: candles of the past, as far as the exchange has them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Annotated

import typer

from daemon.cli.arguments import instant
from daemon.cli.names import market_name
from daemon.cli.options import BAD_CONFIGURATION, ConfigOption, fail, read_config
from daemon.cli.progress import Advance, progress
from daemon.cli.session import with_database
from daemon.config.load import Config
from jobs.candles.backlog import floor
from jobs.core.cooldowns import Gates
from jobs.core.errors import Permanent, Transient
from jobs.market.backfill import Backfill, Done
from jobs.store import partitions
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import Limiter
from jobs.upkeep import Keep

UNITS = (1, 3, 5, 10, 15, 30, 60, 240)
MarketOption = Annotated[
    str,
    typer.Option("--market", metavar="KRW-BTC", help="The market.", callback=market_name),
]
FromOption = Annotated[
    str, typer.Option("--from", help='From when on: "30d", or 2026-01-01T00:00+09:00.')
]
ToOption = Annotated[str | None, typer.Option("--to", help="Up to when; now unless said.")]
UnitOption = Annotated[int, typer.Option(help="Minutes a candle: 1, 3, 5, 10, 15, 30, 60, 240.")]
ShareOption = Annotated[
    float,
    typer.Option(min=0.1, max=0.9, help="Of Upbit's limit; a running daemon uses rate_share."),
]


def backfill(
    config: ConfigOption = None,
    *,
    market: MarketOption,
    since: FromOption,
    until: ToOption = None,
    unit: UnitOption = 1,
    share: ShareOption = 0.3,
) -> None:
    """Fetch and store the candles that are missing. Stop it and run it again as you like.

    Example: upbitd backfill --market KRW-BTC --from 90d
    """
    if unit not in UNITS:
        fail(f"--unit {unit}: one of {', '.join(map(str, UNITS))}", BAD_CONFIGURATION)
    settings = read_config(config, keys=False)
    now = _now()
    begin, end = floor(instant(since) or now, unit), floor(instant(until) or now, unit)
    if begin >= end:
        fail("--from must lie before --to, and both in the past", BAD_CONFIGURATION)
    kept = partitions.month_of(now - Keep().candles.get(unit, Keep().other_candles))
    if begin < kept:
        fail(
            f"--from: candles of {unit} minutes are kept from {kept:%Y-%m-%d} on; "
            "take a later day, or a larger --unit",
            BAD_CONFIGURATION,
        )
    with progress(1, unit="minutes") as advance:

        async def work(db: Database) -> Done:
            async with _client(settings, share) as client:
                wanted = Backfill(
                    client=client,
                    db=db,
                    sleep=asyncio.sleep,
                    market=market,
                    unit=unit,
                    since=begin,
                    until=end,
                )
                return await _run(wanted, advance)

        done = with_database(settings, work)
    typer.echo(f"{done.rows:,} candles stored with {done.requests} requests; {_left(done)}")


def _left(done: Done) -> str:
    if not done.unproven:
        return "nothing is missing"
    return (
        f"for {done.unproven:,} minutes the exchange showed nothing and no proof: before the "
        "market was listed, or candles that come late; run it again to ask once more"
    )


async def _run(wanted: Backfill, advance: Advance) -> Done:
    def told(done: Done) -> None:
        what = f"{wanted.market} {done.rows:,} candles"
        advance(what, done.minutes, done.total)

    try:
        return await wanted.run(told)
    except (Transient, Permanent) as error:
        fail(f"{error}; what came is stored: run it again")


def _client(config: Config, share: float) -> AbstractAsyncContextManager[UpbitClient]:
    return open_client(
        base_url=config.upbit.base_url,
        keys=None,
        gates=Gates(_now),
        limiter=Limiter(share=share),
        clock=_now,
        timeout_s=config.upbit.timeout.total_seconds(),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(backfill)
