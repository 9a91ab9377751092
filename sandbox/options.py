"""Every switch in one place: what is unknown of the real venue, or wanted different by a test."""

from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args, get_origin

from jobs.matching.rules import ASK_TYPES, BID_TYPES

ORDER_TYPES = tuple(dict.fromkeys((*BID_TYPES, *ASK_TYPES)))
TooManyBody = Literal["json", "text", "empty", "html"]
BodyParameters = Literal["accept", "refuse"]

LIMITS = {
    "market": 10,
    "candle": 10,
    "trade": 10,
    "ticker": 10,
    "orderbook": 10,
    "default": 30,
    "order": 12,
    "order-test": 8,
    "order-cancel-all": 1,
    "origin": 1,
    "websocket-connect": 5,
    "websocket-message": 5,
    "websocket-minute": 100,
}
"""Requests per window; a window is a second, 2 s for order-cancel-all and 10 s for origin.

The last two are counted per socket, the very last one in a minute.
"""


@dataclass(slots=True, kw_only=True)
class Options:
    """The venue's behaviour. Changed while running by `POST /sandbox/options`.

    Quotas and bans: `limits` per group; `quotas` False never refuses; `ban_after` refusals within
    `ban_window_s` block for `ban_s`, and `ban_factor` times longer each further time.
    Orders: `fill_min_ms`..`fill_max_ms` until an order meets the book or a cancel takes effect;
    `hide_new_order_ms` during which a query for a new order answers 404.
    Bodies: the old clients' parameters in the body of a GET (form) or DELETE (JSON) are accepted
    as long as the request has no query string; "refuse" is what the documentation says.
    """

    quotas: bool = True
    limits: dict[str, int] = field(default_factory=lambda: dict(LIMITS))
    too_many_body: TooManyBody = "json"
    ban_after: int = 10
    ban_window_s: float = 10.0
    ban_s: float = 60.0
    ban_factor: float = 2.0
    remaining_req: bool = True
    fill_min_ms: int = 50
    fill_max_ms: int = 500
    hide_new_order_ms: int = 0
    default_smp: Literal["cancel_maker", "none"] = "cancel_maker"
    crossing_post_only: Literal["cancel", "refuse"] = "cancel"
    deep_bid_error: str = "invalid_funds"
    deep_ask_error: str = "volume_too_large"
    refusal_burns_identifier: bool = True
    get_body: BodyParameters = "accept"
    delete_body: BodyParameters = "accept"
    inapplicable_keys: Literal["absent", "null"] = "absent"
    candle_lag_ms: int = 0
    candle_count_over_200: Literal["refuse", "clamp"] = "refuse"
    ip_error: str = "no_authorization_ip"
    out_of_scope_status: int = 401
    offline: list[str] = field(default_factory=list)
    delisted: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    cautions: dict[str, list[str]] = field(default_factory=dict)
    ticks: dict[str, str] = field(default_factory=dict)
    order_types: dict[str, list[str]] = field(default_factory=dict)
    date_skew_s: float = 0.0
    ws_grid_ms: int = 100
    ws_idle_s: float = 60.0

    def update(self, changes: dict[str, object]) -> None:
        """Take over `changes`; `limits` are merged. Raises ValueError for what does not fit."""
        for name, value in changes.items():
            self._check(name, value)
        for name, value in changes.items():
            if name == "limits" and isinstance(value, dict):
                self.limits |= value
            else:
                setattr(self, name, value)

    def _check(self, name: str, value: object) -> None:
        kinds = {each.name: each.type for each in fields(self)}
        if name not in kinds:
            raise ValueError(f"{name}: no such option; there are {', '.join(kinds)}")
        is_choice = get_origin(kinds[name]) is Literal
        choices = get_args(kinds[name]) if is_choice else ()
        if choices and value not in choices:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(map(str, choices))}")
        present = getattr(self, name)
        wanted = (int, float) if isinstance(present, float) else type(present)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(present, bool):
            raise ValueError(f"{name}: {value!r} is not like {present!r}")
        if isinstance(value, dict):
            _check_table(name, value)

    def shown(self) -> dict[str, object]:
        """All options and their values."""
        return asdict(self)


def _check_table(name: str, values: dict[object, object]) -> None:
    if name == "limits" and not all(isinstance(each, int) for each in values.values()):
        raise ValueError(f"{name}: every limit is a whole number")
    if name == "order_types" and not all(map(_are_order_types, values.values())):
        raise ValueError(f"{name}: a list of {', '.join(ORDER_TYPES)} for each market")
    if name == "cautions" and not all(isinstance(each, list) for each in values.values()):
        raise ValueError(f"{name}: a list of marks for each market")
    if name == "ticks" and not all(map(_is_tick, values.values())):
        raise ValueError(f"{name}: a number above zero, as text, for each market")


def _are_order_types(value: object) -> bool:
    return isinstance(value, list) and set(value) <= set(ORDER_TYPES)


def _is_tick(value: object) -> bool:
    try:
        return isinstance(value, str) and Decimal(value) > 0
    except InvalidOperation:
        return False
