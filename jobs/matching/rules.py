"""What the venue accepts: the shape of an order, its price, its amounts, and what it locks.

Source: the exchange's order pages of 2026-10. Pure; nothing here knows an account.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from types import MappingProxyType
from typing import Literal

from jobs.upbit import ticks
from jobs.upbit.ticks import StatedTicks
from jobs.upbit.wire import OrderRequest, Side

SmpType = Literal["cancel_maker", "cancel_taker", "reduce", "none"]

VOLUME_STEP = Decimal("0.00000001")
SMP_TYPES = frozenset({"cancel_maker", "cancel_taker", "reduce", "none"})
TIMES_IN_FORCE: Mapping[str, frozenset[str | None]] = MappingProxyType(
    {
        "limit": frozenset({None, "ioc", "fok", "post_only"}),
        "best": frozenset({"ioc", "fok"}),
        "price": frozenset({None}),
        "market": frozenset({None}),
    }
)
BID_TYPES = ("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "price")
ASK_TYPES = ("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "market")

MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "create": "주문 요청 정보가 올바르지 않습니다.",
        "insufficient_funds_bid": "주문 가능한 금액({quote})이 부족합니다.",
        "insufficient_funds_ask": "주문 가능한 수량이 부족합니다.",
        "under_min_total": "최소주문금액 이상으로 주문해주세요",
        "invalid_price": "주문가격 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요.",
        "invalid_volume": "주문수량 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요.",
        "order_not_found": "주문을 찾지 못했습니다.",
        "notfoundmarket": "다음 마켓에 없는 종목입니다: {market}",
        "over_krw_funds": "최대 주문 가능 금액 {max_total} {quote} 보다 작은 주문을 입력해 주세요.",
        "market_offline": "시스템 점검 중입니다. 잠시 후 이용해주세요.",
        "invalid_parameter": "잘못된 파라미터",
        "invalid_time_in_force": "주문 유형에 맞지 않는 time_in_force 입니다.",
        "invalid_post_only": "post_only 주문에는 사용할 수 없는 smp_type 입니다.",
        "not_supported_ord_type": "지원하지 않는 주문 유형입니다.",
        "duplicated_identifier": "이미 사용된 identifier 입니다.",
        "deep": "주문이 호가에 표시된 수량을 초과합니다.",
    }
)


class VenueError(Exception):
    """The venue says no: its error `name`, the HTTP `status` that goes with it, a `message`."""

    def __init__(self, name: str, status: int = 400, message: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What differs between venues, days and tests; the defaults are today's.

    `order_types` are the forms that a market takes, where it does not take all of them.
    `listed` None accepts every well-formed market code. `fees` overrides the share of a market,
    `ticks` the price steps of a market's bands.
    """

    fee_krw: Decimal = Decimal("0.0005")
    fee_other: Decimal = Decimal("0.0025")
    fees: Mapping[str, Decimal] = field(default_factory=dict)
    default_smp: SmpType = "cancel_maker"
    refuse_crossing_post_only: bool = False
    deep_bid_error: str = "invalid_funds"
    deep_ask_error: str = "volume_too_large"
    identifier_max: int = 64
    refusal_burns_identifier: bool = True
    listed: frozenset[str] | None = None
    offline: frozenset[str] = frozenset()
    order_types: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ticks: Mapping[str, StatedTicks] = field(default_factory=dict)

    def fee(self, market: str) -> Decimal:
        """The fee of `market` as a share of the funds, the same for makers and takers."""
        if market in self.fees:
            return self.fees[market]
        return self.fee_krw if market.startswith("KRW-") else self.fee_other


PUBLISHED = Rules()
"""Today's rules, with the published price steps."""


def quote_of(market: str) -> str:
    """The currency that `market` is priced in: KRW of KRW-BTC."""
    return market.partition("-")[0]


def base_of(market: str) -> str:
    """The currency that `market` trades: BTC of KRW-BTC."""
    return market.partition("-")[2]


def truncate(volume: Decimal) -> Decimal:
    """Cut `volume` to the 8 decimals that the venue computes with; never up."""
    return volume.quantize(VOLUME_STEP, rounding=ROUND_DOWN)


def is_budget(request: OrderRequest) -> bool:
    """Whether the order spends an amount of quote currency instead of naming a volume."""
    return request.ord_type == "price" or (request.ord_type == "best" and request.side == "bid")


def check_shape(request: OrderRequest, rules: Rules) -> None:
    """Refuse an order whose fields do not fit each other. Raises VenueError."""
    _check_market(request.market, rules)
    _check_type(request)
    if len(request.identifier) > rules.identifier_max:
        raise refusal("invalid_parameter", request)
    if request.smp_type is not None and request.smp_type not in SMP_TYPES:
        raise refusal("invalid_parameter", request)
    if request.time_in_force not in TIMES_IN_FORCE[request.ord_type]:
        raise refusal("invalid_time_in_force", request)
    if request.time_in_force == "post_only" and request.smp_type not in (None, "none"):
        raise refusal("invalid_post_only", request)
    taken = rules.order_types.get(request.market)
    if taken is not None and _form(request) not in taken:
        raise refusal("not_supported_ord_type", request)


def _form(request: OrderRequest) -> str:
    """How `orders/chance` names it; post_only is not listed apart."""
    force = request.time_in_force
    return request.ord_type if force in (None, "post_only") else f"{request.ord_type}_{force}"


def _check_market(market: str, rules: Rules) -> None:
    known = "-" in market if rules.listed is None else market in rules.listed
    if not known:
        raise VenueError("notfoundmarket", 400, MESSAGES["notfoundmarket"].format(market=market))
    if market in rules.offline:
        raise VenueError("market_offline", 403, MESSAGES["market_offline"])


def _check_type(request: OrderRequest) -> None:
    sides: dict[str, tuple[Side, ...]] = {
        "limit": ("bid", "ask"),
        "best": ("bid", "ask"),
        "price": ("bid",),
        "market": ("ask",),
    }
    if request.ord_type not in sides or request.side not in ("bid", "ask"):
        raise refusal("invalid_parameter", request)
    needs_price = request.ord_type == "limit" or is_budget(request)
    needs_volume = request.ord_type == "limit" or not is_budget(request)
    fits = (
        request.side in sides[request.ord_type]
        and needs_price == (request.price is not None)
        and needs_volume == (request.volume is not None)
    )
    if not fits:
        raise VenueError(f"create_{request.side}_error", 400, MESSAGES["create"])


def check_amounts(
    request: OrderRequest, best_bid: Decimal | None, rules: Rules = PUBLISHED
) -> None:
    """Refuse a price off the tick, too many decimals, too small and too large totals.

    A market sell is valued at `best_bid`; without one its total is not judged.
    """
    if request.price is not None and not _price_fits(request.price, request, rules):
        raise refusal(f"invalid_price_{request.side}", request)
    if request.volume is not None and not _volume_fits(request.volume):
        raise refusal(f"invalid_volume_{request.side}", request)
    total = _total(request, best_bid)
    if total is None:
        return
    if total < ticks.min_total(request.market):
        raise refusal(f"under_min_total_{request.side}", request)
    limit = ticks.max_total(request.market)
    if limit is not None and total > limit:
        raise refusal(f"over_krw_funds_{request.side}", request)


def _price_fits(price: Decimal, request: OrderRequest, rules: Rules) -> bool:
    if price <= 0:
        return False
    if is_budget(request):
        return price == truncate(price)
    return ticks.is_on_tick(
        request.market, price, rules.ticks.get(request.market, ticks.NONE_STATED)
    )


def _volume_fits(volume: Decimal) -> bool:
    return volume > 0 and volume == truncate(volume)


def _total(request: OrderRequest, best_bid: Decimal | None) -> Decimal | None:
    if is_budget(request):
        return request.price
    price = request.price if request.ord_type == "limit" else best_bid
    if price is None or request.volume is None:
        return None
    return price * request.volume


def locks(request: OrderRequest, fee: Decimal) -> tuple[Decimal, Decimal]:
    """What the order binds: (amount of quote for a bid or base for an ask, fee inside it)."""
    if request.side == "ask":
        return request.volume or Decimal(0), Decimal(0)
    price = request.price or Decimal(0)
    amount = price if is_budget(request) else price * (request.volume or Decimal(0))
    return amount * (1 + fee), amount * fee


def refusal(name: str, request: OrderRequest) -> VenueError:
    """The 400 called `name`, with the venue's wording filled in for this order."""
    key = name if name in MESSAGES else name.rpartition("_")[0]
    text = MESSAGES.get(key, MESSAGES["invalid_parameter"])
    market = request.market
    return VenueError(
        name,
        400,
        text.format(market=market, quote=quote_of(market), max_total=ticks.max_total(market)),
    )
