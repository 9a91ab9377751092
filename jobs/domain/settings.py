"""The runtime settings as values: what each may be, and what people may type. Pure."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

from jobs.domain.halt import NOT_HALTED, Halt, HaltLevel

Value = Decimal | int | str

LONGEST_NUMBER = 40
HALTED = "halted"
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
"""Won as people write and as our own tables show it: 1,000,000."""
TRUTHS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
"""How `halted` is typed as well, and was stored by releases that knew one level only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every runtime setting. `_pct` are percentages (5 means 5 %), `_krw` won, `_s` seconds.

    In stop_loss_pct, take_profit_pct, trailing_stop_pct, daily_loss_limit_krw, max_drawdown_pct,
    max_spread_pct and max_entry_deviation_pct 0 switches the limit off.
    """

    stop_loss_pct: Decimal = Decimal(5)
    take_profit_pct: Decimal = Decimal(10)
    trailing_stop_pct: Decimal = Decimal(0)
    position_size_pct: Decimal = Decimal(10)
    max_position_krw: Decimal = Decimal(1_000_000)
    max_open_positions: int = 5
    min_confidence: Decimal = Decimal("0.6")
    max_orders_per_day: int = 50
    cooldown_s: int = 60
    daily_loss_limit_krw: Decimal = Decimal(100_000)
    max_drawdown_pct: Decimal = Decimal(20)
    order_timeout_s: int = 60
    signal_max_age_s: int = 300
    entry_order: str = "limit"
    entry_time_in_force: str = "auto"
    exit_order: str = "market"
    exit_time_in_force: str = "auto"
    max_spread_pct: Decimal = Decimal(1)
    max_entry_deviation_pct: Decimal = Decimal(1)
    max_exit_slippage_pct: Decimal = Decimal(3)
    entries_per_position: int = 1
    halt: Halt = NOT_HALTED

    @property
    def halted(self) -> HaltLevel:
        """The setting `halted`, or the file in its place; `halt` says by whom and why."""
        return self.halt.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What one setting may be, and what it does in a sentence."""

    key: str
    kind: type
    default: Value
    help: str
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What may stand there, for people."""
        if self.choices:
            return ", ".join(self.choices)
        noun = "a whole number" if self.kind is int else "a number"
        return f"{noun} from {self.low} to {self.high}"

    def check(self, value: object) -> Value:
        """Return `value` as this setting's type. Raises ValueError that says what is allowed."""
        fits: Value | None = None
        if self.kind is HaltLevel and isinstance(value, bool):
            fits = HaltLevel.ALL if value else HaltLevel.NONE
        elif self.choices:
            fits = self.kind(value) if isinstance(value, str) and value in self.choices else None
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            fits = self._number(Decimal(value))
        if fits is None:
            raise ValueError(f"{self.key}: {value!s} is not allowed: {self.allowed}")
        return fits

    def _number(self, number: Decimal) -> Value | None:
        if not number.is_finite() or not self.low <= number <= self.high:
            return None
        if self.kind is Decimal:
            return number
        return int(number) if number == number.to_integral_value() else None


def _spec(key: str, meaning: str, low: str = "0", high: str = "0", *choices: str) -> Spec:
    default: Value = getattr(Settings(), key)
    return Spec(
        key=key,
        kind=type(default),
        default=default,
        help=meaning,
        low=Decimal(low),
        high=Decimal(high),
        choices=choices,
    )


_MOST_KRW = "1000000000000"
_DAY_S = "86400"
_STYLES = ("limit", "market", "best")

SPECS: Mapping[str, Spec] = MappingProxyType(
    {
        spec.key: spec
        for spec in (
            _spec("stop_loss_pct", "sell so far below the entry; 0: off", "0", "99"),
            _spec("take_profit_pct", "sell so far above the entry; 0: off", "0", "10000"),
            _spec("trailing_stop_pct", "sell so far below the highest price; 0: off", "0", "99"),
            _spec("position_size_pct", "size of an entry as a share of equity", "0.01", "100"),
            _spec("max_position_krw", "the most that one position may cost", "1", _MOST_KRW),
            _spec("max_open_positions", "the most positions open at once", "0", "1000"),
            _spec("min_confidence", "weaker signals are refused", "0", "1"),
            _spec("max_orders_per_day", "the most orders of a day (KST)", "0", "100000"),
            _spec("cooldown_s", "pause after an order in the same market", "0", _DAY_S),
            _spec("daily_loss_limit_krw", "no entries after such a day; 0: off", "0", _MOST_KRW),
            _spec("max_drawdown_pct", "no entries so far below the peak; 0: off", "0", "100"),
            _spec("order_timeout_s", "an unfilled limit order is cancelled then", "1", _DAY_S),
            _spec("signal_max_age_s", "older signals are not acted on", "1", _DAY_S),
            _spec("entry_order", "how a position is entered", "0", "0", *_STYLES),
            _spec(
                "entry_time_in_force",
                "of an entry; auto: a limit order rests, a best order is ioc",
                "0",
                "0",
                *("auto", "ioc", "fok", "post_only"),
            ),
            _spec("exit_order", "how a position is left", "0", "0", *_STYLES),
            _spec(
                "exit_time_in_force",
                "of an exit; what does not fit becomes a market order",
                "0",
                "0",
                *("auto", "ioc", "fok"),
            ),
            _spec("max_spread_pct", "no entry into a wider order book; 0: off", "0", "100"),
            _spec(
                "max_entry_deviation_pct",
                "no entry so far above the last price or the last minute's close; 0: off",
                "0",
                "100",
            ),
            _spec(
                "max_exit_slippage_pct",
                "an exit's first price so far below the best bid, widened step by step",
                "0.1",
                "50",
            ),
            _spec("entries_per_position", "the most entries into one position", "1", "1000"),
            _spec(
                HALTED,
                "entries: no new exposure; all: no new order, stop-losses are off",
                "0",
                "0",
                *HaltLevel,
            ),
        )
    }
)
"""Every setting by its key, in the order people read them."""


def parse_value(key: str, entered: str) -> Value:
    """Return what a person typed as the setting's type.

    Raises ValueError that names the key, what was typed and what is allowed.
    """
    spec = spec_of(key)
    entered = entered.strip()
    value: object = entered
    if spec.kind is HaltLevel:
        value = TRUTHS.get(entered.lower(), entered.lower())
    elif not spec.choices and len(entered) <= LONGEST_NUMBER:
        try:
            value = Decimal(entered.replace(",", "") if THOUSANDS.fullmatch(entered) else entered)
        except InvalidOperation:
            value = entered
    return spec.check(value)


def spec_of(key: str) -> Spec:
    """The setting of that name. Raises ValueError that names near ones."""
    if (spec := SPECS.get(key)) is not None:
        return spec
    near = difflib.get_close_matches(key, SPECS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(SPECS)}"
    raise ValueError(f"{key} is no setting: {hint}")
