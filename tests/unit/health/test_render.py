"""The page: everything is shown, nothing unknown is claimed, nothing foreign becomes markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from health.page_model import (
    Board,
    BoardState,
    CostToday,
    EquityPoint,
    JobRow,
    OrderRow,
    PositionRow,
    SignalRow,
)
from health.render import Page, page, page_json
from health.report import COMPONENTS, Component, Report, Status
from health.response import Request
from health.routes import About, Halted
from health.summaries import summary_of

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'&"
ABOUT = About(version="1.2.3", mode="paper", role="leader", uptime_s=93784)
GOOD = Component(
    status=Status.HEALTHY, cause=None, checked_at=NOW, latency_ms=1.25, detail={"note": "fine"}
)
REPORT = Report(checked_at=NOW, components=dict.fromkeys(COMPONENTS, GOOD))
COST = CostToday(
    spent_usd=Decimal("0.2501"),
    reserved_usd=Decimal(0),
    budget_usd=Decimal(1),
    calls=12,
    tokens_in=1_500_000,
    tokens_out=4000,
    tokens_thought=5,
)
EMPTY = Board(at=NOW, jobs=[], signals=[], orders=[], positions=[], equity=[], cost=COST)
JOB = JobRow(
    name="market",
    schedule="every 1m",
    scheduled_at=NOW,
    outcome="ok",
    reason=None,
    duration_s=0.31,
    runs=3,
    ok=2,
    p95_s=1.25,
)
SIGNAL = SignalRow(
    id=1,
    at=NOW,
    market="KRW-BTC",
    action="buy",
    confidence=Decimal("0.82"),
    reason="RSI turns",
    status="refused",
    status_reason="cooldown",
    model="gemini-x",
)
ORDER = OrderRow(
    id=1,
    at=NOW,
    market="KRW-ETH",
    side="ask",
    ord_type="market",
    purpose="stop_loss",
    price=None,
    volume=Decimal("0.50000000"),
    state="cancel",
    reason="as asked",
    executed_volume=Decimal("0.25"),
    executed_funds=Decimal("1234567.8"),
    paid_fee=Decimal("617.28"),
    fills=2,
)
POSITION = PositionRow(
    market="KRW-DOGE",
    volume=Decimal(1000),
    avg_price=Decimal(400),
    last_price=Decimal(390),
    opened_at=None,
)


class Reader(HTMLParser):
    """The words of a document and its elements with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def render(
    board: Board | None = EMPTY,
    fault: str | None = None,
    report: Report = REPORT,
    about: About = ABOUT,
) -> str:
    return Page.load().html(report, about, BoardState(board=board, fault=fault))


def words(html: str) -> str:
    return " ".join(" ".join(read(html).words).split())


def with_component(name: str, **changes: Any) -> Report:
    return replace(REPORT, components={**REPORT.components, name: replace(GOOD, **changes)})


def test_components_stand_with_status_and_cause() -> None:
    ill = with_component("upbit", status=Status.DEGRADED, cause="public call failed", detail={})
    shown = words(render(report=ill))
    for title in ("Database", "Upbit", "Gemini", "Scheduler", "Latest signal", "Latest order"):
        assert title in shown
    assert "Upbit degraded public call failed" in shown
    assert "degraded Running, with something to look at" in shown
    assert "paper leader" in shown
    assert "version 1.2.3 · up 1 d 2 h" in shown


def test_the_status_is_readable_for_the_script_and_in_the_title() -> None:
    ill = with_component("upbit", status=Status.UNHEALTHY, cause="gone")
    html = render(report=ill)
    assert ("html", {"lang": "en", "data-status": "unhealthy"}) in read(html).elements
    assert "<title>unhealthy · upbitd</title>" in html


def test_an_unchecked_component_claims_no_time() -> None:
    report = with_component(
        "gemini", status=Status.UNHEALTHY, cause="not checked yet", checked_at=None, latency_ms=None
    )
    assert "Gemini unhealthy not checked yet checked — Scheduler" in words(render(report=report))


def test_empty_tables_say_so() -> None:
    shown = words(render())
    for sentence in (
        "No equity recorded yet.",
        "No open position.",
        "No order yet.",
        "No signal yet.",
        "No job is configured.",
    ):
        assert sentence in shown


def test_without_any_board_the_page_says_why() -> None:
    shown = words(render(board=None, fault="no answer within 2 s"))
    assert "The database part of this page is not of now: no answer within 2 s." in shown
    assert "No data yet." in shown


def test_an_old_board_is_shown_as_old() -> None:
    shown = words(render(fault="the database does not answer"))
    assert "does not answer. Below is what was known 2026-05-04 12:00:00 UTC ." in shown


def test_a_halt_is_not_to_be_overlooked() -> None:
    assert "halted" not in words(render())
    halted = Halted(
        level="all", by="cli:me", since=NOW, reason=EVIL, ended_by="`upbitd resume` ends it"
    )
    shown = words(render(about=replace(ABOUT, halted=halted)))
    assert "Trading is halted (all): no new order is sent, stop-losses are off by cli:me" in shown
    assert EVIL in shown
    assert "`upbitd resume` ends it." in shown
    entries = words(render(about=replace(ABOUT, halted=Halted(level="entries"))))
    assert "exits and stop-losses go on" in entries


def test_tables_show_their_rows() -> None:
    board = replace(EMPTY, jobs=[JOB], signals=[SIGNAL], orders=[ORDER], positions=[POSITION])
    shown = words(render(board))
    assert "KRW-DOGE 1,000 400 390 390,000 \u221210,000 \u22122.50 %" in shown
    assert (
        "KRW-ETH sell stop loss market 0.25 of 0.5 · 2 fills 1,234,568 617 cancel as asked" in shown
    )
    assert "KRW-BTC buy 82% RSI turns gemini-x refused cooldown" in shown
    assert "market every 1m 2026-05-04 12:00:00 UTC ok 310 ms 66.6 % 3 1.2 s" in shown


def test_what_has_not_happened_is_a_dash() -> None:
    board = replace(
        EMPTY,
        jobs=[replace(JOB, scheduled_at=None, outcome=None, duration_s=None, runs=0, p95_s=None)],
        orders=[
            replace(
                ORDER,
                ord_type="limit",
                side="bid",
                price=Decimal("412.5"),
                volume=None,
                fills=0,
                executed_volume=Decimal(0),
                reason=None,
            )
        ],
        positions=[replace(POSITION, last_price=None)],
    )
    shown = words(render(board))
    assert "KRW-DOGE 1,000 400 — — — —" in shown
    assert "buy stop loss 412.5 0 no fills — — cancel" in shown
    assert "market every 1m — not run yet — — 0 —" in shown


def test_almost_all_is_not_shown_as_all() -> None:
    jobs = [replace(JOB, runs=10_000, ok=9_999)]
    assert "99.9 %" in words(render(replace(EMPTY, jobs=jobs)))


@pytest.mark.parametrize(
    ("uptime_s", "shown"),
    [(59, "up 59 s"), (61, "up 1 min"), (3725, "up 1 h 2 min"), (90000, "up 1 d 1 h")],
)
def test_uptime_in_two_units(uptime_s: float, shown: str) -> None:
    about = replace(ABOUT, uptime_s=uptime_s)
    assert shown in words(Page.load().html(REPORT, about, BoardState(board=EMPTY)))


def test_a_note_stands_beside_the_mode() -> None:
    about = replace(ABOUT, note="local exchange")
    html = Page.load().html(REPORT, about, BoardState(board=EMPTY))
    assert "paper local exchange leader" in words(html)


def test_a_position_without_a_cost_has_no_percentage() -> None:
    free = replace(POSITION, avg_price=Decimal(0))
    assert "KRW-DOGE 1,000 0 390 390,000 — —" in words(render(replace(EMPTY, positions=[free])))


def test_a_marked_market_is_shown_beside_its_name() -> None:
    marked = replace(POSITION, marks="WARNING, <PRICE_FLUCTUATIONS>")
    assert "KRW-DOGE WARNING, <PRICE_FLUCTUATIONS> 1,000" in words(
        render(replace(EMPTY, positions=[marked]))
    )


def test_a_failed_job_shows_its_reason() -> None:
    jobs = [replace(JOB, outcome="failed", reason="Unavailable: gone")]
    assert "failed Unavailable: gone" in words(render(replace(EMPTY, jobs=jobs)))


def test_equity_shows_its_change_since_the_first_point() -> None:
    points = [EquityPoint(ts=NOW, total_krw=Decimal(total)) for total in (10_000_000, 10_250_000)]
    shown = words(render(replace(EMPTY, equity=points)))
    assert "10,250,000 KRW +250,000 KRW · +2.50 % since" in shown


def test_an_equity_that_began_at_nothing_has_no_percentage() -> None:
    points = [EquityPoint(ts=NOW, total_krw=Decimal(total)) for total in (0, 0)]
    assert "0 KRW ±0 KRW · since" in words(render(replace(EMPTY, equity=points)))


@pytest.mark.parametrize(
    ("spent", "reserved", "budget", "level"),
    [
        ("0.79", "0", "1", "healthy"),
        ("0.79", "0.02", "1", "degraded"),
        ("1", "0", "1", "unhealthy"),
        ("0", "0", "0", "unhealthy"),
    ],
)
def test_the_cost_bar_warns_before_the_budget_is_gone(
    spent: str, reserved: str, budget: str, level: str
) -> None:
    cost = replace(
        COST, spent_usd=Decimal(spent), reserved_usd=Decimal(reserved), budget_usd=Decimal(budget)
    )
    html = render(replace(EMPTY, cost=cost))
    assert f'class="bar {level}"' in html
    assert ("reserved" in words(html)) is (reserved != "0")


def test_foreign_text_stays_text_everywhere() -> None:
    board = replace(
        EMPTY,
        jobs=[replace(JOB, name=EVIL, schedule=EVIL, outcome=EVIL, reason=EVIL)],
        signals=[
            replace(
                SIGNAL,
                market=EVIL,
                action=EVIL,
                reason=EVIL,
                status=EVIL,
                status_reason=EVIL,
                model=EVIL,
            )
        ],
        orders=[replace(ORDER, market=EVIL, ord_type=EVIL, purpose=EVIL, state=EVIL, reason=EVIL)],
        positions=[replace(POSITION, market=EVIL)],
    )
    components = {name: replace(GOOD, detail={"note": EVIL, "at": NOW}) for name in COMPONENTS[:-1]}
    ill = replace(GOOD, status=Status.DEGRADED, cause=EVIL)
    report = replace(REPORT, components={**components, "latest_order": ill})
    about = replace(ABOUT, mode=EVIL, role=EVIL, version=EVIL)
    html = Page.load().html(report, about, BoardState(board=board, fault=EVIL))
    reader = read(html)
    scripts = [attrs for tag, attrs in reader.elements if tag == "script"]
    handlers = [name for _, attrs in reader.elements for name in attrs if name.startswith("on")]
    assert scripts == [{}]
    assert handlers == []
    assert " ".join(reader.words).count("<script>alert(1)</script>") == 26


def test_the_document_is_well_formed() -> None:
    points = [EquityPoint(ts=NOW, total_krw=Decimal(1))]
    board = replace(
        EMPTY, jobs=[JOB], signals=[SIGNAL], orders=[ORDER], positions=[POSITION], equity=points
    )
    html = render(board, "fault")
    for name in ("table", "tr", "td", "section", "article", "div", "p", "span", "svg", "time"):
        assert len(re.findall(rf"<{name}[ >]", html)) == html.count(f"</{name}>"), name


def ask(route: Any) -> Any:
    return route(Request(path="/", query={}, request_id="r"))


def test_the_policy_lets_exactly_the_pages_own_script_and_style_run() -> None:
    answer = ask(page(lambda: REPORT, lambda: ABOUT, lambda: BoardState(board=EMPTY)))
    policy = answer.headers["Content-Security-Policy"]
    html = answer.body.decode()
    assert answer.content_type == "text/html; charset=utf-8"
    for element in ("script", "style"):
        [source] = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    addresses = [
        attrs[name]
        for _, attrs in read(render()).elements
        for name in ("src", "href", "action")
        if name in attrs
    ]
    assert addresses == ["data:,", "health", "stats", "cache-stats", "metrics"]


def test_the_same_as_json() -> None:
    state = BoardState(board=replace(EMPTY, orders=[ORDER]), fault="old")
    body = json.loads(ask(page_json(lambda: REPORT, lambda: ABOUT, lambda: state)).body)
    assert body["health"]["status"] == "healthy"
    assert body["board"]["orders"][0]["executed_funds"] == "1234567.8"
    assert body["fault"] == "old"


def test_json_without_a_board() -> None:
    state = BoardState(board=None, fault="gone")
    body = json.loads(ask(page_json(lambda: REPORT, lambda: ABOUT, lambda: state)).body)
    assert (body["board"], body["fault"]) == (None, "gone")


@pytest.mark.parametrize(
    ("component", "detail", "told"),
    [
        ("database", {"pool": {"size": 10, "available": 9}}, "10 connections, 9 free"),
        ("database", {}, "answers"),
        ("upbit", {"authenticated": {"ok": True}}, "answers, keys accepted"),
        ("upbit", {"authenticated": None}, "answers"),
        ("gemini", {"last_call": None}, "answers"),
        ("gemini", {"note": "not used"}, "not used"),
        ("scheduler", {"role": "leader", "jobs": {"a": 1}, "lanes": {"l": 1}}, "1 jobs on time"),
        (
            "scheduler",
            {"jobs": {"a": {"progress": "3 of 9"}}},
            "1 jobs on time, 0 lanes moving; a: 3 of 9",
        ),
        ("scheduler", {"role": "standby"}, "standby, waits for the leader to go"),
        ("latest_signal", {"at": None}, "nothing yet"),
        (
            "latest_signal",
            {"at": NOW, "action": "hold", "market": "KRW-BTC"},
            "hold KRW-BTC, <time",
        ),
        (
            "latest_order",
            {"at": NOW, "side": "bid", "market": "KRW-BTC", "state": "done"},
            "buy KRW-BTC, done, <time",
        ),
        ("gemini", {"last_call": {"at": NOW, "outcome": "ok"}}, "answers, last call ok <time"),
    ],
)
def test_what_is_well_has_something_to_tell(
    component: str, detail: dict[str, object], told: str
) -> None:
    assert str(summary_of(component, detail)).startswith(told)
