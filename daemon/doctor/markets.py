"""What the doctor finds about the markets that the configuration names."""

from daemon.config.sections import TradingConfig
from daemon.doctor.results import Finding, fault, note, ok, warning
from jobs.candles.selection import unknown_names
from jobs.core.errors import JobError
from jobs.upbit.client import UpbitClient

MARKETS = "markets"


async def markets(trading: TradingConfig, client: UpbitClient) -> list[Finding]:
    """Whether the exchange lists what is named, and what it warns of there."""
    try:
        known = {market.market: market for market in await client.markets()}
    except JobError as exc:
        return [fault(MARKETS, f"the list of markets did not come: {exc}", "try again later")]
    names = trading.markets.names
    found = [
        fault(MARKETS, f"{name} is not a market of the exchange", _mend("markets", nearest))
        for name, nearest in unknown_names(names, known).items()
    ]
    found += [
        warning(MARKETS, f"{name} is not a market of the exchange", _mend("exclude", nearest))
        for name, nearest in unknown_names(trading.exclude, known).items()
    ]
    found += [
        note(MARKETS, f"{name} is under the exchange's warning and is not entered")
        for name in names
        if name in known and known[name].warning and not trading.allow_warned
    ]
    if names and not found:
        found.append(ok(MARKETS, f"the exchange lists all {len(names)}"))
    return found


def _mend(key: str, nearest: str | None) -> str:
    said = "" if nearest is None else f", or write {nearest}"
    return f"take it out of trading.{key}{said}"
