"""What a source of signals is asked and what it decides; sources are gemini, rules or a user's.

    inputs (candles, features, snapshot, own position) ─► Source.decide ─► Verdict

A source sees markets only through `Inputs` and says nothing but `Decision`s, whose limits are
checked here, whoever made them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol, get_args

from jobs.candles.days import Days
from jobs.candles.features import Features
from jobs.core.job import Slot
from jobs.store.llm_calls import Settlement
from jobs.upbit.wire import Candle

Action = Literal["buy", "sell", "hold"]
ACTIONS: tuple[Action, ...] = get_args(Action)
LONGEST_REASON = 500
CONFIDENCE_STEP = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do in one market. Raises ValueError when a field is outside its limits.

    `confidence` is in [0, 1], cut (never rounded up) to four decimals by who makes it.
    """

    market: str
    action: Action
    confidence: Decimal
    reason: str

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action {self.action!r} is not one of {ACTIONS}")
        if not self.confidence.is_finite() or not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence {self.confidence} is not in [0, 1]")
        if not 1 <= len(self.reason) <= LONGEST_REASON:
            raise ValueError(f"reason has {len(self.reason)} characters, not 1 to {LONGEST_REASON}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The daemon's own position in relative terms: no amount and no balance.

    `return_pct` is the unrealised gain on the average price, in per cent.
    """

    return_pct: Decimal
    held_minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketInput:
    """One market as of one closed candle. `candles` are finished, oldest first.

    `market_data_id` names the snapshot that `price`, `change_rate` (signed share of yesterday's
    close) and `value_24h` come from; `name` is what the exchange calls the market, not trusted.
    `longer` are the features on larger candles, shortest first; `spread_pct` is the distance of
    best ask and best bid in per cent of their middle, None where no book is looked at. `marks` are
    what the exchange warns of: "WARNING" first (it may delist the market), then its caution marks.
    `days` go from 09:00 to 09:00 Korean time.
    """

    market: str
    name: str
    market_data_id: int
    price: Decimal
    change_rate: Decimal
    value_24h: Decimal
    candles: tuple[Candle, ...] = field(repr=False)
    features: Features
    holding: Holding | None
    longer: tuple[Features, ...] = ()
    spread_pct: Decimal | None = None
    marks: tuple[str, ...] = ()
    days: Days = field(default_factory=Days, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What one decision is made from. `now` is when it is asked for."""

    slot: Slot
    now: datetime
    markets: tuple[MarketInput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a source decided.

    `refused` names the markets without a usable decision and why. `model` is who decided. A
    source that called a model hands the call's id and what is to be stored about it, so that the
    signals and the end of the call become one transaction.
    """

    decisions: tuple[Decision, ...]
    model: str
    refused: Mapping[str, str] = field(default_factory=dict)
    llm_call_id: int | None = None
    settlement: Settlement | None = None


class Source(Protocol):
    """Something that decides: Gemini, the rules, or a user's own entry point."""

    async def decide(self, inputs: Inputs) -> Verdict:
        """One decision for each market it wants to speak about; raises errors of jobs/core/errors.

        Markets that are not in `inputs` make the whole verdict void.
        """
        ...
