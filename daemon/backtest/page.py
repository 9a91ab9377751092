"""One self-contained page: figures, plots, tables. No script, nothing from elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from importlib.resources import files

from daemon.backtest.charts import Dot, Line, framed, histogram, plot
from daemon.backtest.words import (
    NONE,
    SHARE,
    assumptions,
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
from jobs.backtest.statistics import drawdowns_pct

MOST_TRADES = 200


def render(report: Report) -> str:
    """The whole page. The same report gives the same bytes."""
    css = files("daemon.backtest").joinpath("page.css").read_text("utf-8")
    parts = (
        _header(report),
        _cards(report),
        _equity(report),
        _risk_and_luck(report),
        _market_table(report),
        _market_plots(report),
        _counts(report),
        _trades(report),
        _small_print(report),
    )
    title = f"Replay of {escape(report.source)}, {escape(span(report))}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>\n{css}</style></head><body><main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main><footer>upbitd replay \u00b7 digest <code>{report.digest}</code></footer>"
        "</body></html>\n"
    )


def _header(report: Report) -> str:
    markets = ", ".join(each.market for each in report.markets)
    about = (
        f"{escape(span(report))} \u00b7 {escape(markets)} \u00b7 {report.candles:,} candles of "
        f"{report.unit} min \u00b7 starting with {won(report.start_krw)} KRW"
    )
    said = " ".join(verdict(report))
    return (
        f"<header><h1>Replay of \u201c{escape(report.source)}\u201d</h1>"
        f'<p class="about">{about}</p></header><p class="verdict">{escape(said)}</p>'
    )


def _cards(report: Report) -> str:
    total, hold = report.total, report.hold
    error = "" if total.sharpe_error is None else f"\u00b1 {total.sharpe_error:.2f}, a year"
    luck = report.null
    tiles = [
        ("Return", percent(total.return_pct), f"{won(report.end_krw)} KRW", total.return_pct),
        ("Buy and hold", percent(hold.return_pct), "same money, evenly", hold.return_pct),
        (
            "Deepest fall",
            percent(-total.max_drawdown_pct),
            f"holding {percent(-hold.max_drawdown_pct)}",
            None,
        ),
        ("Sharpe", ratio(total.sharpe), error, None),
        ("Sortino", ratio(total.sortino), f"holding {ratio(hold.sortino)}", None),
        ("Hit rate", hit_rate(report.hits), hit_range(report.hits), None),
        (
            "Mean win / loss",
            _both(report.mean_win_pct, report.mean_loss_pct),
            "of a closed trade, fees in it",
            None,
        ),
        ("Fees", f"{won(report.fees_krw)}", f"KRW, {report.orders:,} orders", None),
        (
            "Turnover",
            f"{report.turnover_times:,.1f}\u00d7",
            f"exposed {percent(report.exposure_pct, 1, signed=False)} on average",
            None,
        ),
        (
            "Beside luck",
            NONE if luck is None else f"p = {luck.p_value:.2f}",
            "no shuffles" if luck is None else f"{len(luck.returns_pct)} shuffles",
            None,
        ),
    ]
    cells = (
        f'<div class="tile"><dt>{name}</dt><dd class="{_tone(tone)}">{escape(value)}</dd>'
        f"<small>{escape(note)}</small></div>"
        for name, value, note, tone in tiles
    )
    return f'<dl class="cards">{"".join(cells)}</dl>'


def _both(win: float | None, loss: float | None) -> str:
    first = percent(win)
    return f"{first.removesuffix(SHARE) if loss is not None else first} / {percent(loss)}"


def _equity(report: Report) -> str:
    mine = [(each.at, float(each.equity_krw)) for each in report.curve]
    held = [(each.at, float(each.hold_krw)) for each in report.curve]
    start = float(report.start_krw)
    values = [value for _, value in (*mine, *held)]
    frame = framed(report.since, report.until, [*values, start])
    lines = [
        Line(kind="start", points=[(report.since, start), (report.until, start)]),
        Line(kind="hold", points=held),
        Line(kind="account", points=mine),
    ]
    legend = _legend(("account", "var(--blue)"), ("buy and hold", "var(--hold)"))
    label = f"Equity beside buy and hold, {span(report)}"
    return (
        f'<section class="card"><div class="title"><h2>Equity, KRW</h2>{legend}</div>'
        f"{plot(frame, lines, label=label)}</section>"
    )


def _risk_and_luck(report: Report) -> str:
    falls = drawdowns_pct(float(each.equity_krw) for each in report.curve)
    holding = drawdowns_pct(float(each.hold_krw) for each in report.curve)
    at = [each.at for each in report.curve]
    frame = framed(report.since, report.until, [*falls, *holding, 0.0], margin=0.02)
    lines = [
        Line(kind="hold", points=list(zip(at, holding, strict=True))),
        Line(kind="fall", points=list(zip(at, falls, strict=True)), area=0.0),
    ]
    legend = _legend(("account", "var(--down)"), ("buy and hold", "var(--hold)"))
    fall = (
        f'<section class="card"><div class="title"><h2>Drawdown, %</h2>{legend}</div>'
        f"{plot(frame, lines, label='Fall under the highest value so far', tall=False)}</section>"
    )
    return fall if report.null is None else f'<div class="pair even">{fall}{_luck(report)}</div>'


def _luck(report: Report) -> str:
    null = report.null
    assert null is not None  # noqa: S101 - asked by the caller
    range_ = f"{percent(null.low_pct)} to {percent(null.high_pct)}"
    picture = histogram(
        null.returns_pct,
        report.total.return_pct,
        unit=" %",
        label="Returns of the shuffled signals, and where this replay stands",
    )
    return (
        '<section class="card"><div class="title"><h2>Shuffled signals, return</h2>'
        f'<span class="legend">mean {percent(null.mean_pct)}; nine of ten from {range_}</span>'
        f"</div>{picture}</section>"
    )


def _market_table(report: Report) -> str:
    heads = (
        *("Market", "Profit KRW", "Holding", "Trades", "Hit rate", "95 %"),
        *("Best", "Worst", "Turnover KRW", "Fees KRW", "Buy", "Sell", "Hold"),
    )
    rows = [_market_row(each) for each in report.markets]
    return (
        '<section class="card"><div class="title"><h2>Markets</h2></div>'
        f"{_table(heads, rows, text=(0,))}</section>"
    )


def _market_row(each: MarketResult) -> list[str]:
    low, high = each.hits.low, each.hits.high
    return [
        escape(each.market),
        _toned(won(each.profit_krw, signed=True), float(each.profit_krw)),
        percent(each.hold_pct),
        f"{each.hits.of:,}",
        hit_rate(each.hits),
        NONE if low is None or high is None else f"{low * 100:.0f}\u2013{high * 100:.0f} %",
        percent(each.best_pct),
        percent(each.worst_pct),
        won(each.turnover_krw),
        won(each.fees_krw),
        *(f"{each.signals.get(action, 0):,}" for action in ("buy", "sell", "hold")),
    ]


def _market_plots(report: Report) -> str:
    legend = _legend(("bought", "var(--up)"), ("sold", "var(--down)"), is_round=True)
    plots = "".join(_market_plot(report, each) for each in report.markets)
    return (
        f'<section class="card"><div class="title"><h2>Trades on the price</h2>{legend}</div>'
        f'<div class="markets">{plots}</div></section>'
    )


def _market_plot(report: Report, result: MarketResult) -> str:
    points = [(each.at, float(each.price)) for each in report.prices[result.market]]
    trades = [each for each in report.trades if each.market == result.market]
    dots = [
        Dot(
            kind="buy" if each.side == "bid" else "sell",
            at=each.at,
            value=float(each.price),
        )
        for each in trades
    ]
    values = [*(value for _, value in points), *(dot.value for dot in dots)]
    picture = (
        plot(
            framed(report.since, report.until, values),
            [Line(kind="price", points=points)],
            dots,
            label=f"{result.market}: price with {len(dots)} trades",
        )
        if values
        else '<p class="note">No candle in this time.</p>'
    )
    profit = _toned(won(result.profit_krw, signed=True), float(result.profit_krw))
    return (
        f'<div><div class="title"><h3>{escape(result.market)}</h3>'
        f'<span class="meta">{profit} KRW \u00b7 {len(dots):,} fills</span></div>{picture}</div>'
    )


def _counts(report: Report) -> str:
    signals = ", ".join(f"{name} {count:,}" for name, count in report.signals.items()) or "none"
    rows = [
        *(["risk", escape(name), f"{count:,}"] for name, count in _most(report.refusals)),
        *(["source", escape(name), f"{count:,}"] for name, count in _most(report.failures)),
        *(["no answer", escape(name), f"{count:,}"] for name, count in _most(report.unanswered)),
    ]
    table = (
        _table(("By", "Limit or fault", "Times"), rows, text=(0, 1))
        if rows
        else '<p class="note">Nothing was refused.</p>'
    )
    settings = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_value(value))}</dd></div>"
        for name, value in report.settings.items()
    )
    return (
        '<div class="pair"><section class="card"><div class="title"><h2>What was refused</h2>'
        f'<span class="legend">signals: {escape(signals)}</span></div>{table}</section>'
        '<section class="card"><div class="title"><h2>Settings in force</h2></div>'
        f'<dl class="settings">{settings}</dl></section></div>'
    )


def _trades(report: Report) -> str:
    if not report.trades:
        return ""
    shown = report.trades[-MOST_TRADES:]
    heads = ("Time (UTC)", "Market", "Side", "Why", "Price", "Volume", "KRW", "Fee", "Profit")
    rows = [
        [
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            escape(each.market),
            "buy" if each.side == "bid" else "sell",
            escape(each.purpose.replace("_", "-")),
            plain(each.price),
            plain(each.volume),
            won(each.funds),
            won(each.fee),
            NONE
            if each.side == "bid"
            else _toned(won(each.profit_krw, signed=True), float(each.profit_krw)),
        ]
        for each in reversed(shown)
    ]
    told = f"all {len(shown):,}" if len(shown) == len(report.trades) else f"the last {len(shown)}"
    return (
        f'<details class="card"><summary>Fills: {told} of {len(report.trades):,}</summary>'
        f"{_table(heads, rows, text=(0, 1, 2, 3))}</details>"
    )


def _small_print(report: Report) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in assumptions(report))
    models = ", ".join(report.models) or NONE
    return (
        '<section class="card"><div class="title"><h2>What was taken for granted</h2>'
        f'<span class="legend">decided by {escape(models)}; signals every '
        f"{report.signals_every_s:g} s</span></div><ul>{lines}</ul></section>"
    )


def _legend(*entries: tuple[str, str], is_round: bool = False) -> str:
    shape = ' class="round"' if is_round else ""
    spell = "background" if is_round else "border-color"
    marks = (
        f'<span><i{shape} style="{spell}:{colour}"></i>{name}</span>' for name, colour in entries
    )
    return f'<span class="legend">{"".join(marks)}</span>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: Sequence[int]) -> str:
    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=text' if place in text else ''}>{cell}</{kind}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", heads)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _tone(value: float | None) -> str:
    return "" if not value else ("up" if value > 0 else "down")


def _toned(text: str, value: float) -> str:
    return f'<span class="{_tone(value)}">{escape(text)}</span>'


def _value(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value).lower()
