"""The axes of the matrix: what trading wants, how it orders, what the venue answers.

A cell is one of each, and a place to die (or none).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Path = Literal["entry", "exit", "cancel", "follow"]
Style = Mapping[str, str]

POST = {"method": "POST", "path": "/v1/orders"}
DELETE = {"method": "DELETE", "path": "/v1/order"}
GET = {"method": "GET", "path": "/v1/order"}
BOOKS = {"method": "GET", "path": "/v1/orderbook"}
_GATEWAY = "<html><body>502 Bad Gateway</body></html>"


def _error(status: int, name: str, message: str) -> dict[str, object]:
    body = {"error": {"name": name, "message": message}}
    return {"action": "answer", "status": status, "body": body}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of the request that a scenario is about.

    `faults` are the venue's (an empty method and path stand for that request); `refuse_connection`
    lets nothing reach it; `burn` uses the identifier up beforehand; `is_final` never ends, so that
    nobody can know.
    """

    name: str
    faults: tuple[Mapping[str, object], ...] = ()
    refuse_connection: bool = False
    burn: bool = False
    is_final: bool = False

    @property
    def hangs(self) -> bool:
        """Whether somebody has to run out of patience."""
        return any(fault["action"] == "hang" for fault in self.faults)


def _fault(name: str, **fault: object) -> Answer:
    return Answer(name=name, faults=(fault,))


ANSWERED = Answer(name="answered")
COMMON = (
    ANSWERED,
    Answer(name="not connected", refuse_connection=True),
    _fault("never arrived", action="hang", when="before"),
    _fault("reset before", action="reset", when="before"),
    _fault("reset after", action="reset", when="after"),
    _fault("hang", action="hang", when="after"),
    _fault("502 after", action="answer", when="after", status=502, body=_GATEWAY),
    _fault("429", when="before", **_error(429, "too_many_requests", "Too many API requests.")),
    _fault("418", when="before", **_error(418, "blocked", "blocked for 5 seconds")),
    _fault("malformed", action="garble", when="after"),
)
TO_POST = (
    *COMMON,
    _fault("partial fill", action="pass", share="0.4"),
    _fault("visible after 3 s", action="reset", when="after", hide_ms=3000),
    Answer(name="identifier burnt", burn=True),
    _fault("replayed", when="after", **_error(400, "duplicated_identifier", "이미 사용된")),
    Answer(
        name="silent for good",
        faults=(
            {"action": "reset", "when": "after"},
            {**GET, "action": "answer", "when": "before", "status": 502, "count": 0},
        ),
        is_final=True,
    ),
)


def _refused(name: str, status: int, error: str, *, times: int) -> Answer:
    return _fault(name, when="before", count=times, **_error(status, error, "no"))


TO_SALE = (
    *TO_POST,
    _refused("too large, twice", 400, "volume_too_large", times=2),
    _refused("too large in every form", 400, "volume_too_large", times=6),
    _refused("form not taken", 400, "not_supported_ord_type", times=3),
    _refused("under maintenance", 403, "market_offline", times=1),
)
TO_BOOKS = (
    ANSWERED,
    _fault(
        "far ask",
        action="answer",
        when="before",
        status=200,
        count=2,
        body=[
            {
                "market": "KRW-BTC",
                "timestamp": 1767582000000,
                "total_ask_size": 1,
                "total_bid_size": 1,
                "orderbook_units": [
                    {
                        "ask_price": 300_000_000,
                        "bid_price": 33_333_000,
                        "ask_size": 1,
                        "bid_size": 1,
                    }
                ],
                "level": 0,
            }
        ],
    ),
    _fault("no book", action="answer", when="before", status=200, body=[]),
    _fault("502", action="answer", when="before", status=502, body=_GATEWAY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What one life has to do. `about` is the request that the answer is for.

    `setup` names how the account came to be where it is (see stage.py).
    """

    path: Path
    setup: str
    about: Mapping[str, str]
    answers: tuple[Answer, ...]
    style: Style = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The scenario for people."""
        style = " ".join(self.style.values())
        return f"{self.path}: {self.setup}{f' ({style})' if style else ''}"

    @property
    def is_sale(self) -> bool:
        """Whether it ends with nothing held."""
        return "sale" in self.setup


ENTRY_STYLES: tuple[Style, ...] = (
    {"entry_order": "limit"},
    {"entry_order": "limit", "entry_time_in_force": "post_only"},
    {"entry_order": "market"},
    {"entry_order": "best"},
    {"entry_order": "best", "entry_time_in_force": "fok"},
)
EXIT_STYLES: tuple[Style, ...] = (
    {"exit_order": "market"},
    {"exit_order": "limit"},
    {"exit_order": "best"},
)

SCENARIOS = (
    *(
        Scenario(path="entry", setup="purchase", about=POST, answers=TO_POST, style=style)
        for style in ENTRY_STYLES
    ),
    *(
        Scenario(path="exit", setup="sale", about=POST, answers=TO_SALE, style=style)
        for style in EXIT_STYLES
    ),
    Scenario(path="exit", setup="sale into a thin book", about=POST, answers=COMMON),
    Scenario(
        path="exit", setup="sale where limit orders alone are taken", about=POST, answers=COMMON
    ),
    Scenario(path="exit", setup="sale", about=BOOKS, answers=TO_BOOKS),
    Scenario(path="entry", setup="purchase", about=BOOKS, answers=TO_BOOKS),
    Scenario(path="cancel", setup="overdue purchase", about=DELETE, answers=COMMON),
    Scenario(
        path="cancel",
        setup="overdue sale",
        about=DELETE,
        answers=COMMON,
        style={"exit_order": "limit"},
    ),
    Scenario(path="cancel", setup="overdue purchase, slow venue", about=DELETE, answers=COMMON),
    Scenario(path="follow", setup="unanswered purchase", about=GET, answers=COMMON),
    Scenario(path="follow", setup="unanswered sale", about=GET, answers=COMMON),
    Scenario(path="follow", setup="purchase that never arrived", about=GET, answers=COMMON),
    Scenario(path="follow", setup="sale that never arrived", about=GET, answers=COMMON),
    Scenario(path="follow", setup="purchase filled later", about=GET, answers=COMMON),
    Scenario(path="follow", setup="sale filled later", about=GET, answers=COMMON),
    Scenario(path="follow", setup="purchase cancelled by the venue", about=GET, answers=COMMON),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one cell. `failpoint` None: nobody died.

    `outcome`: `agree`, `blocked` (nobody can know yet, and nothing new is begun), or how venue and
    tables differ: `doubled`, `lost`, `differ`; `missed`: the process did not come by the failpoint.
    `was_blocked`: the first pass after the life could not resolve it yet.
    """

    scenario: str
    path: str
    answer: str
    failpoint: str | None
    outcome: str
    detail: str = ""
    was_blocked: bool = False
