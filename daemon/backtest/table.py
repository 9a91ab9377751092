"""A replay's report on a terminal."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.backtest.words import (
    NONE,
    hit_range,
    hit_rate,
    percent,
    plain,
    ratio,
    span,
    verdict,
    won,
)
from jobs.backtest.report import MarketResult, Report


def show(report: Report, out: Console) -> None:
    """Print the report."""
    out.print(Group(*_parts(report)))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text.assemble(
        ("Replay of ", "bold"), (report.source, "bold cyan"), f"  {span(report)}, "
    ).append(f"{report.candles:,} candles of {len(report.markets)} markets")
    yield Text(" ".join(verdict(report)))
    yield Text()
    yield _totals(report)
    yield Text()
    yield _markets(report)
    yield Text()
    yield Text(_counts(report), style="dim")
    yield Text(f"digest {report.digest}", style="dim")


def _totals(report: Report) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for heading in ("RETURN", "MAX DRAWDOWN", "SHARPE", "SORTINO"):
        table.add_column(heading, justify="right")
    for name, each in (("account", report.total), ("buy and hold", report.hold)):
        error = "" if each.sharpe_error is None else f" \u00b1 {each.sharpe_error:.2f}"
        table.add_row(
            name,
            _toned(percent(each.return_pct), each.return_pct),
            percent(-each.max_drawdown_pct),
            f"{ratio(each.sharpe)}{error}",
            ratio(each.sortino),
        )
    if (null := report.null) is not None:
        table.add_row(
            f"{len(null.returns_pct)} shuffles, mean",
            percent(null.mean_pct),
            *(f"5 to 95 %: {percent(null.low_pct)} to {percent(null.high_pct)}", "", ""),
        )
    return table


def _markets(report: Report) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("MARKET")
    heads = ("PROFIT KRW", "HOLDING", "TRADES", "HIT RATE", "95 %", "TURNOVER KRW", "FEES KRW")
    for heading in (*heads, "BUY", "SELL", "HOLD"):
        table.add_column(heading, justify="right")
    for each in report.markets:
        table.add_row(*_market(each))
    profit = report.end_krw - report.start_krw
    table.add_row(
        "all",
        _toned(won(profit, signed=True), float(profit)),
        percent(report.hold.return_pct),
        f"{report.hits.of:,}",
        hit_rate(report.hits),
        hit_range(report.hits).partition(": ")[2] or NONE,
        won(report.turnover_krw),
        won(report.fees_krw),
        *(f"{report.signals.get(action, 0):,}" for action in ("buy", "sell", "hold")),
        style="bold",
    )
    return table


def _market(each: MarketResult) -> Iterator[str | Text]:
    yield each.market
    yield _toned(won(each.profit_krw, signed=True), float(each.profit_krw))
    yield percent(each.hold_pct)
    yield f"{each.hits.of:,}"
    yield hit_rate(each.hits)
    yield hit_range(each.hits).partition(": ")[2] or NONE
    yield won(each.turnover_krw)
    yield won(each.fees_krw)
    for action in ("buy", "sell", "hold"):
        yield f"{each.signals.get(action, 0):,}"


def _counts(report: Report) -> str:
    counts = {**report.refusals, **report.failures, **report.unanswered}
    refused = ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "nothing"
    return (
        f"{report.orders:,} orders; exposed {percent(report.exposure_pct, 1, signed=False)} on "
        f"average; turnover {report.turnover_times:,.1f} times the account; fee "
        f"{plain(report.fee_rate * 100)} %, slippage {plain(report.slippage_bps)} bps\n"
        f"refused: {refused}"
    )


def _toned(text: str, value: float) -> Text:
    return Text(text, style="" if not value else ("green" if value > 0 else "red"))
