"""The part of the page that the database fills: figures and tables."""

import math
from collections.abc import Sequence
from typing import Final

from health.figures import NONE, count, instant, krw, number, price, seconds, signed, usd
from health.markup import Html, join, tag
from health.page_model import (
    Board,
    CostToday,
    EquityPoint,
    JobRow,
    OrderRow,
    PositionRow,
    SignalRow,
)
from health.sparkline import sparkline

NEARLY: Final = 0.8
"""The share of the day's budget from which on its bar warns."""


def sections(board: Board | None) -> Html:
    """Equity, cost, positions, orders, signals and jobs; each says so when it has nothing."""
    if board is None:
        return tag("p", "No data yet.", class_="empty card")
    return join(
        tag("div", _equity(board.equity), _cost(board.cost), class_="pair"),
        _positions(board.positions),
        _orders(board.orders),
        _signals(board.signals),
        _jobs(board.jobs),
    )


def _equity(points: Sequence[EquityPoint]) -> Html:
    if not points:
        body = tag("p", "No equity recorded yet.", class_="empty")
        return tag("section", tag("h2", "Equity"), body, class_="card equity")
    first, last = points[0].total_krw, points[-1].total_krw
    change = last - first
    pct = signed(change / first * 100, " %") if first else Html()
    figure = tag("p", krw(last), tag("span", "KRW", class_="unit"), class_="figure")
    span = tag("p", signed(change), " KRW · ", pct, " since ", instant(points[0].ts), class_="meta")
    chart = sparkline([float(each.total_krw) for each in points])
    return tag("section", tag("h2", "Equity"), figure, span, chart, class_="card equity")


def _cost(cost: CostToday) -> Html:
    used = cost.spent_usd + cost.reserved_usd
    share = min(float(used / cost.budget_usd), 1.0) if cost.budget_usd else 1.0
    level = "healthy" if share < NEARLY else "degraded" if share < 1 else "unhealthy"
    bar = tag(
        "svg",
        tag("rect", class_="rail", x=0, y=0, width=100, height=6),
        tag("rect", class_="used", x=0, y=0, width=f"{share * 100:.1f}", height=6),
        class_=f"bar {level}",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{share:.0%} of the day's budget",
    )
    reserved = f" · {usd(cost.reserved_usd)} reserved" if cost.reserved_usd else None
    of = tag("p", f"of {usd(cost.budget_usd)} today (KST)", reserved, class_="meta")
    facts = (
        ("calls", count(cost.calls)),
        ("tokens in", count(cost.tokens_in)),
        ("tokens out", count(cost.tokens_out)),
        ("thought", count(cost.tokens_thought)),
    )
    items = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag(
        "section",
        tag("h2", "Model cost"),
        tag("p", usd(cost.spent_usd), class_="figure"),
        of,
        bar,
        tag("dl", *items),
        class_="card cost",
    )


Cell = tuple[str, object]
"""A cell's CSS classes and its content."""


def _table(title: str, heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], empty: str) -> Html:
    """A table that folds into blocks on a narrow screen; `heads` are class and label."""
    if not rows:
        return tag("section", tag("h2", title), tag("p", empty, class_="empty"), class_="card")
    head = tag("tr", *[tag("th", label, class_=kind or None, scope="col") for kind, label in heads])
    body = [
        tag(
            "tr",
            *[
                tag(
                    "td", value, class_=" ".join({kind, head_kind} - {""}) or None, data_label=label
                )
                for (kind, value), (head_kind, label) in zip(row, heads, strict=True)
            ],
        )
        for row in rows
    ]
    table = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("section", tag("h2", title), table, class_="card wide")


def _positions(rows: Sequence[PositionRow]) -> Html:
    heads = (
        ("", "Market"),
        ("num", "Volume"),
        ("num", "Average"),
        ("num", "Last"),
        ("num", "Value"),
        ("num", "Unrealized"),
        ("", "Opened"),
    )
    return _table("Positions", heads, [_position(row) for row in rows], "No open position.")


def _position(row: PositionRow) -> list[Cell]:
    pnl: object = NONE
    if row.unrealized_krw is not None and row.unrealized_pct is not None:
        pct = tag("span", signed(row.unrealized_pct, " %"), class_="sub")
        pnl = join(signed(row.unrealized_krw), pct)
    marks = "" if row.marks is None else tag("span", row.marks, class_="sub")
    return [
        ("key", join(row.market, marks)),
        ("", number(row.volume)),
        ("", price(row.avg_price)),
        ("", price(row.last_price)),
        ("", krw(row.value_krw)),
        ("", pnl),
        ("", instant(row.opened_at)),
    ]


def _orders(rows: Sequence[OrderRow]) -> Html:
    heads = (
        ("", "Time"),
        ("", "Market"),
        ("", "Side"),
        ("num", "Price"),
        ("num", "Filled"),
        ("num", "Funds"),
        ("num", "Fee"),
        ("whole", "State"),
    )
    return _table("Latest orders", heads, [_order(row) for row in rows], "No order yet.")


def _order(row: OrderRow) -> list[Cell]:
    side = "buy" if row.side == "bid" else "sell"
    asked = price(row.price) if row.ord_type == "limit" else row.ord_type
    of = f"of {number(row.volume)}" if row.volume is not None else None
    fills = f"{row.fills or 'no'} fill{'' if row.fills == 1 else 's'}"
    filled = join(
        number(row.executed_volume),
        tag("span", join(of, " · " if of else None, fills), class_="sub"),
    )
    state = join(
        tag("span", row.state, class_=f"chip order-{row.state}"),
        tag("span", row.reason, class_="sub") if row.reason else None,
    )
    return [
        ("", instant(row.at)),
        ("key", row.market),
        (
            "",
            join(
                tag("span", side, class_=f"chip {side}"),
                tag("span", row.purpose.replace("_", " "), class_="sub"),
            ),
        ),
        ("", asked),
        ("", filled),
        ("", krw(row.executed_funds) if row.fills else NONE),
        ("", krw(row.paid_fee) if row.fills else NONE),
        ("", state),
    ]


def _signals(rows: Sequence[SignalRow]) -> Html:
    heads = (
        ("", "Time"),
        ("", "Market"),
        ("", "Action"),
        ("num", "Confidence"),
        ("text", "Reason"),
        ("whole", "Status"),
    )
    return _table("Latest signals", heads, [_signal(row) for row in rows], "No signal yet.")


def _signal(row: SignalRow) -> list[Cell]:
    status = join(
        tag("span", row.status, class_=f"chip signal-{row.status}"),
        tag("span", row.status_reason, class_="sub") if row.status_reason else None,
    )
    return [
        ("", instant(row.at)),
        ("key", row.market),
        ("", tag("span", row.action, class_=f"chip {row.action}")),
        ("", f"{row.confidence:.0%}"),
        ("", join(row.reason, tag("span", row.model, class_="sub"))),
        ("", status),
    ]


def _jobs(rows: Sequence[JobRow]) -> Html:
    heads = (
        ("", "Job"),
        ("", "Last slot"),
        ("whole", "Outcome"),
        ("num", "Took"),
        ("num", "Success 24 h"),
        ("num", "Runs 24 h"),
        ("num", "p95"),
    )
    return _table("Jobs", heads, [_job(row) for row in rows], "No job is configured.")


def _job(row: JobRow) -> list[Cell]:
    outcome: object = tag("span", "not run yet", class_="none")
    if row.outcome is not None:
        outcome = join(
            tag("span", row.outcome, class_=f"chip run-{row.outcome}"),
            tag("span", row.reason, class_="sub") if row.reason else None,
        )
    return [
        ("key", join(row.name, tag("span", row.schedule, class_="sub"))),
        ("", instant(row.scheduled_at, "age")),
        ("", outcome),
        ("", seconds(row.duration_s)),
        ("", _rate(row)),
        ("", count(row.runs)),
        ("", seconds(row.p95_s)),
    ]


def _rate(row: JobRow) -> str:
    """The share of good runs, rounded down: 100 % means every one."""
    if not row.runs:
        return NONE
    return f"{math.floor(row.ok / row.runs * 1000) / 10:.1f} %"
