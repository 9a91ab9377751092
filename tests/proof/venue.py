"""A sandbox of its own for each worker, a fresh account for each cell, and a clock they share."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

START_KRW = Decimal(10_000_000)
PRICE = Decimal(100_000_000)
MARKET = "KRW-BTC"
PROMPT = {
    "quotas": False,
    "remaining_req": False,
    "fill_min_ms": 0,
    "fill_max_ms": 0,
    "order_types": {},
}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a process trades, and with which key."""

    base_url: str
    access_key: str
    secret_key: str
    pocket: str


@dataclass(slots=True)
class Control:
    """The sandbox's control endpoint, and the present that venue and daemon share.

    Nobody waits: what is slept is added to the venue's clock.
    """

    base_url: str
    shift: timedelta = timedelta(0)
    account: Account | None = None
    price: Decimal = Decimal(0)
    options: dict[str, object] = field(default_factory=dict)
    is_book_shown: bool = False
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.base_url, verify=False, timeout=30)  # noqa: S501 - no TLS

    def __call__(self) -> datetime:
        """The present."""
        return datetime.now(UTC) + self.shift

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, and learn what others have let pass."""
        told = self.tell("time", advance_s=seconds)
        self.shift = timedelta(seconds=float(told["shift_s"]))

    def tell(self, route: str, /, **body: Any) -> Any:
        """Send `body` to a control route; return its answer."""
        answer = self.http.post(f"/sandbox/{route}", json=body)
        answer.raise_for_status()
        return answer.json()

    def begin(self) -> Account:
        """A well-behaved venue and a new account with its own key."""
        number = next(_numbers)
        name = f"cell-{number}"
        access, secret = f"ACCESS-{number:033}", f"SECRET-{number:033}"
        self.http.delete("/sandbox/faults")
        self.http.delete("/sandbox/requests")
        if self.options != PROMPT:
            self.set_options(**PROMPT)
        if self.is_book_shown:
            self.show_book()
        if self.price != PRICE:
            self.force_price(PRICE)
        self.tell("credit", pocket=name, currency="KRW", amount=str(START_KRW))
        self.tell("keys", access_key=access, secret_key=secret, pocket=name)
        self.account = Account(
            base_url=self.base_url, access_key=access, secret_key=secret, pocket=name
        )
        return self.account

    def force_price(self, price: Decimal) -> None:
        """Let the market trade at `price`."""
        self.tell("price", market=MARKET, price=str(price))
        self.price = price

    def show_book(self, **sides: list[list[Any]]) -> None:
        """Show these `asks` and `bids` in place of the made book; without them that is back."""
        self.tell("book", market=MARKET, **sides)
        self.is_book_shown = bool(sides)

    def set_options(self, **changes: object) -> None:
        """Change how the venue behaves."""
        self.tell("options", **changes)
        self.options = {**self.options, **changes}

    def ledger(self) -> dict[str, Any]:
        """What the venue holds for the newest account."""
        pockets: dict[str, dict[str, Any]] = self.http.get("/sandbox/ledger").json()["pockets"]
        return pockets["" if self.account is None else self.account.pocket]

    def posted(self) -> list[str]:
        """The body of every order that arrived."""
        wanted = {"method": "POST", "path": "/v1/orders"}
        return [entry["body"] for entry in self.http.get("/sandbox/requests", params=wanted).json()]


@contextmanager
def sandbox() -> Iterator[Control]:
    """A running sandbox; it ends with this process at the latest."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--seed", "1", "--stop-on-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("the sandbox has no pipes")
        card = json.loads(process.stdout.readline())
        control = Control(card["base_url"])
        yield control
        control.http.close()
        process.stdin.close()
        process.wait(10)
