"""The page: a report and a board as one self-contained document."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from string import Template
from typing import Final, Self

from health.figures import instant
from health.markup import Html, join, tag
from health.page_model import BoardState
from health.page_sections import sections
from health.report import Component, Report, Status
from health.response import Request, Response, Route, json_response
from health.routes import About, Halted, health_body
from health.summaries import summary_of

TITLES: Final = {
    "database": "Database",
    "upbit": "Upbit",
    "gemini": "Gemini",
    "scheduler": "Scheduler",
    "latest_signal": "Latest signal",
    "latest_order": "Latest order",
}
SUMMARY: Final = {
    Status.HEALTHY: "Everything is healthy",
    Status.DEGRADED: "Running, with something to look at",
    Status.UNHEALTHY: "Something is broken",
}
HALTED: Final = {
    "entries": "No new positions: trading is halted (entries); exits and stop-losses go on",
    "all": "Trading is halted (all): no new order is sent, stop-losses are off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page's files and the policy that lets exactly them run."""

    template: Template
    style: Html
    script: Html
    policy: str

    @classmethod
    def load(cls) -> Self:
        """Read the files that are installed beside this module."""
        folder = files("health") / "page"
        style = (folder / "page.css").read_text("utf-8")
        script = (folder / "page.js").read_text("utf-8")
        policy = "; ".join(
            (
                "default-src 'none'",
                f"style-src '{_hash(style)}'",
                f"script-src '{_hash(script)}'",
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )
        return cls(
            template=Template((folder / "page.html").read_text("utf-8")),
            style=Html(style),
            script=Html(script),
            policy=policy,
        )

    def html(self, report: Report, about: About, state: BoardState) -> str:
        """The whole document."""
        live = join(
            _header(report, about),
            _fault(state),
            _halted(about.halted),
            _components(report),
            sections(state.board),
        )
        return self.template.substitute(
            title=join(report.status.value, " · upbitd"),
            status=report.status.value,
            style=self.style,
            script=self.script,
            live=live,
        )


def page(
    snapshot: Callable[[], Report],
    about: Callable[[], About],
    board: Callable[[], BoardState],
) -> Route:
    """The route of `/`. `board` waits for nothing longer than a moment and does not raise."""
    loaded = Page.load()

    def route(request: Request) -> Response:
        del request
        document = loaded.html(snapshot(), about(), board())
        return Response(
            body=document.encode("utf-8", "replace"),
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": loaded.policy},
        )

    return route


def page_json(
    snapshot: Callable[[], Report],
    about: Callable[[], About],
    board: Callable[[], BoardState],
) -> Route:
    """The route of `/page.json`: what the page shows, for programs."""

    def route(request: Request) -> Response:
        del request
        state = board()
        return json_response(
            {
                "health": health_body(snapshot(), about()),
                "board": None if state.board is None else asdict(state.board),
                "fault": state.fault,
            }
        )

    return route


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _header(report: Report, about: About) -> Html:
    badge = tag("span", about.mode, class_=f"badge mode-{about.mode}")
    role = tag("span", about.role, class_="badge")
    note = tag("span", about.note, class_="badge") if about.note else None
    meta = tag("p", "version ", about.version, " · up ", _uptime(about.uptime_s), class_="meta")
    brand = tag("div", tag("h1", "upbitd"), badge, note, role, class_="brand")
    status = tag(
        "div",
        tag("span", class_="dot"),
        tag("strong", report.status.value),
        tag("span", SUMMARY[report.status], class_="summary"),
        class_=f"overall {report.status.value}",
        role="status",
    )
    checked = tag("p", "as of ", instant(report.checked_at, "clock"), class_="meta", id="checked")
    return tag("header", brand, status, tag("div", meta, checked, class_="facts"))


def _uptime(uptime_s: float) -> str:
    minutes = int(uptime_s) // 60
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(uptime_s)} s"


def _fault(state: BoardState) -> Html:
    if state.fault is None:
        return Html()
    of = (
        join(" Below is what was known ", instant(state.board.at, "age"), ".")
        if state.board
        else ""
    )
    return tag(
        "p",
        "The database part of this page is not of now: ",
        state.fault,
        ".",
        of,
        class_="notice",
        role="alert",
    )


def _halted(halted: Halted) -> Html:
    if halted.level == "none":
        return Html()
    why = f" by {halted.by}" if halted.by else ""
    said = f": {halted.reason}" if halted.reason else ""
    since = join(", ", instant(halted.since, "age")) if halted.since else Html()
    words = (HALTED[halted.level], why, said, since, "; ", halted.ended_by, ".")
    return tag("p", *words, class_="notice halted", role="status")


def _components(report: Report) -> Html:
    cards = [_card(name, each) for name, each in report.components.items()]
    return tag("section", *cards, class_="components", aria_label="Components")


def _card(name: str, component: Component) -> Html:
    head = tag(
        "div",
        tag("span", class_="dot"),
        tag("h2", TITLES[name]),
        tag("span", component.status.value, class_="state"),
        class_="head",
    )
    body = tag("p", component.cause or summary_of(name, component.detail), class_="cause")
    latency = component.latency_ms
    took = None if latency is None else f" · {latency:,.1f} ms"
    checked = tag("p", "checked ", instant(component.checked_at, "age"), took, class_="meta")
    return tag("article", head, body, checked, class_=f"card {component.status.value}")
