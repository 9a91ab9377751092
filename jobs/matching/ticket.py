"""An order inside the venue: what it asked for, what it got, and what it still binds."""

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, cast

from jobs.matching.balances import exact
from jobs.matching.rules import truncate
from jobs.upbit.wire import Order, OrderRequest, OrdType, Side, Trade

ZERO = Decimal(0)
TicketState = Literal["wait", "done", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution; `fee` is in quote currency and not part of `funds`."""

    uuid: str
    price: Decimal
    volume: Decimal
    funds: Decimal
    fee: Decimal
    ts: datetime
    trend: Literal["up", "down"]
    is_maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """The order that follows when its predecessor's cancel succeeds (cancel and new).

    `request.volume` None stands for whatever the predecessor leaves.
    """

    uuid: str
    request: OrderRequest


@dataclass(slots=True, kw_only=True)
class Ticket:
    """One order of the account.

    `due_at` is when a new order meets the book, `cancel_at` when an accepted cancel takes effect.
    `share` caps what may ever be filled, as a part of the whole (a test's partial fill).
    """

    uuid: str
    identifier: str | None
    market: str
    side: Side
    ord_type: OrdType
    price: Decimal | None
    volume: Decimal | None
    time_in_force: str | None
    smp_type: str
    fee_rate: Decimal
    reserved: Decimal
    reserved_fee: Decimal
    created_at: datetime
    due_at: datetime
    sequence: int
    state: TicketState = "wait"
    is_resting: bool = False
    cancel_at: datetime | None = None
    closed_at: datetime | None = None
    share: Decimal | None = None
    executed_volume: Decimal = ZERO
    executed_funds: Decimal = ZERO
    paid_fee: Decimal = ZERO
    prevented_volume: Decimal = ZERO
    prevented_locked: Decimal = ZERO
    prevented_fee: Decimal = ZERO
    fills: tuple[Fill, ...] = ()
    successor: Successor | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether the order may still be filled."""
        return self.state == "wait"

    @property
    def is_budget(self) -> bool:
        """Whether the order spends an amount instead of naming a volume."""
        return self.volume is None

    @property
    def remaining_volume(self) -> Decimal | None:
        """What is left to fill, in base currency; None for an order that spends an amount."""
        if self.volume is None:
            return None
        return self.volume - self.executed_volume - self.prevented_volume

    @property
    def remaining_fee(self) -> Decimal:
        """The part of the reserved fee that was not (or not yet) paid."""
        if self.side == "ask":
            return ZERO
        return self.reserved_fee - self.paid_fee - self.prevented_fee

    @property
    def locked(self) -> Decimal:
        """What the order binds while open; once it is closed, what was given back then."""
        if self.side == "ask":
            return self.reserved - self.executed_volume - self.prevented_locked
        return self.reserved - self.executed_funds - self.paid_fee - self.prevented_locked

    @property
    def is_spent(self) -> bool:
        """Whether nothing at all is left to fill."""
        if self.volume is None:
            return self._budget_left() == 0
        return self.remaining_volume == 0

    def wanted(self, price: Decimal) -> Decimal:
        """The volume that the order would still take at `price`."""
        share = self.share if self.share is not None else Decimal(1)
        if self.volume is None:
            left = self._budget_left() - (self.price or ZERO) * (1 - share)
            return truncate(max(left, ZERO) / price)
        left = (self.remaining_volume or ZERO) - (self.volume - truncate(self.volume * share))
        return max(left, ZERO)

    def crosses(self, price: Decimal) -> bool:
        """Whether the order trades against the opposite `price`; market orders take any."""
        if self.ord_type != "limit" or self.price is None:
            return True
        return price <= self.price if self.side == "bid" else price >= self.price

    def _budget_left(self) -> Decimal:
        prevented = self.prevented_locked - self.prevented_fee
        return (self.price or ZERO) - self.executed_funds - prevented

    def snapshot(self) -> "Ticket":
        """A copy that later fills do not change."""
        return replace(self)

    @exact
    def order(self, *, with_trades: bool = False) -> Order:
        """The order as the venue shows it, with its trades when asked."""
        return Order(
            uuid=self.uuid,
            market=self.market,
            side=self.side,
            ord_type=self.ord_type,
            state=self.state,
            created_at=self.created_at,
            identifier=self.identifier,
            price=self.price,
            volume=self.volume,
            remaining_volume=self.remaining_volume,
            executed_volume=self.executed_volume,
            executed_funds=self.executed_funds,
            reserved_fee=self.reserved_fee,
            remaining_fee=self.remaining_fee,
            paid_fee=self.paid_fee,
            locked=self.locked,
            time_in_force=self.time_in_force,
            smp_type=self.smp_type,
            trades_count=len(self.fills),
            trades=tuple(self._trade(fill) for fill in self.fills) if with_trades else None,
        )

    def _trade(self, fill: Fill) -> Trade:
        return Trade(
            uuid=fill.uuid,
            price=fill.price,
            volume=fill.volume,
            funds=fill.funds,
            ts=fill.ts,
            side=self.side,
        )


_DECIMALS = (
    *("price", "volume", "fee_rate", "reserved", "reserved_fee", "share", "funds", "fee"),
    *("executed_volume", "executed_funds", "paid_fee"),
    *("prevented_volume", "prevented_locked", "prevented_fee"),
)
_TIMES = ("created_at", "due_at", "cancel_at", "closed_at", "ts")


def to_json(ticket: Ticket) -> dict[str, object]:
    """Everything about `ticket` but its successor as JSON values; amounts and times are text."""
    body = _plain(ticket)
    body["fills"] = [_plain(fill) for fill in ticket.fills]
    return body


def from_json(body: dict[str, object]) -> Ticket:
    """The ticket that `to_json` wrote. Raises KeyError, ValueError or TypeError on other input."""
    parts = _typed(body)
    fills = cast(list[dict[str, object]], parts.pop("fills"))
    # the keys are the dataclass's own, written by to_json
    return Ticket(**parts, fills=tuple(Fill(**_typed(fill)) for fill in fills))  # type: ignore[arg-type]


def _plain(record: Ticket | Fill) -> dict[str, object]:
    names = (each.name for each in fields(record) if each.name not in ("fills", "successor"))
    return {name: _text(getattr(record, name)) for name in names}


def _text(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else value


def _typed(body: dict[str, object]) -> dict[str, object]:
    return {name: _value(name, value) for name, value in body.items()}


def _value(name: str, value: object) -> object:
    if value is not None and name in _DECIMALS:
        return Decimal(str(value))
    if value is not None and name in _TIMES:
        return datetime.fromisoformat(str(value))
    return value
