"""What a call costs: prices by model version and date, worst cases before the call, USD Decimal.

Prices are configuration; `DEFAULT_TABLE` is what holds when nothing else is said. It was
transcribed on 2026-11-20 from Google's pricing page as mirrored by api-evangelist/deepmind (read
2026-10-07), simonw/llm-prices and LiteLLM discussion 39357; USD per 1,000,000 tokens, paid tier.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from jobs.gemini.model import Request, Usage

MILLION = Decimal(1_000_000)
LONG_PROMPT = 200_000
"""Prompt tokens above which some models charge their long-context price."""

OVERHEAD_TOKENS = 200
"""Roles, separators and the schema's own framing, on top of the bytes we send."""

DEFAULT_TABLE: Mapping[str, object] = {
    "gemini-3.8-flash": [
        {"input": "0.75", "output": "3.75", "cached": "0.075"},
        {"since": "2027-01-01", "input": "1.50", "output": "7.50", "cached": "0.15"},
    ],
    "gemini-3.7-flash": {"input": "0.75", "output": "3.75"},
    "gemini-3.6-flash": {"input": "1.50", "output": "7.50", "cached": "0.15"},
    "gemini-3.5-flash": {"input": "1.50", "output": "9.00", "cached": "0.15"},
    "gemini-3.5-flash-lite": {"input": "0.30", "output": "2.50", "cached": "0.03"},
    "gemini-3.1-flash-lite": {"input": "0.25", "output": "1.50", "cached": "0.025"},
    "gemini-3.1-pro-preview": {
        "input": "2.00",
        "output": "12.00",
        "long_input": "4.00",
        "long_output": "18.00",
    },
    "gemini-2.5-pro": {
        "input": "1.25",
        "output": "10.00",
        "cached": "0.125",
        "long_input": "2.50",
        "long_output": "15.00",
    },
    "gemini-2.5-flash": {"input": "0.30", "output": "2.50", "cached": "0.03"},
    "gemini-2.5-flash-lite": {"input": "0.10", "output": "0.40", "cached": "0.01"},
}

AMOUNTS = ("input", "output", "cached", "long_input", "long_output")
VERSION_SUFFIX = re.compile(r"-\d{3}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens from `since` on. Thinking is output; cached input has its own."""

    since: date
    input: Decimal
    output: Decimal
    cached: Decimal
    long_input: Decimal
    long_output: Decimal

    def cost(self, usage: Usage) -> Decimal:
        """USD of `usage`, exact."""
        is_long = usage.prompt > LONG_PROMPT
        per_input = self.long_input if is_long else self.input
        per_output = self.long_output if is_long else self.output
        fresh = usage.prompt - usage.cached + usage.tool_use
        # a long prompt's cached tokens have no published price of their own: the full one
        per_cached = self.long_input if is_long else self.cached
        total = fresh * per_input + usage.cached * per_cached + usage.output * per_output
        return total / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """USD of a call; `is_known` False when the model has no price and the dearest was taken."""

    usd: Decimal
    is_known: bool


class Prices:
    """Every model's prices by date. An unknown model costs what the dearest one does."""

    def __init__(self, table: Mapping[str, Sequence[Price]]) -> None:
        if not table:
            raise ValueError("the price table is empty")
        self._table = table

    def knows(self, model: str) -> bool:
        """Whether `model` has a price of its own."""
        return self._entries(model) is not None

    def cost(self, model: str, usage: Usage, on: date) -> Cost:
        """The cost of `usage` by the model version that answered, at the price of `on`."""
        price = self._price(model, on)
        if price is None:
            return Cost(usd=self._dearest(usage, on), is_known=False)
        return Cost(usd=price.cost(usage), is_known=True)

    def worst_case(self, request: Request, on: date) -> Decimal:
        """The most that `request` can cost, whichever model of the table answers it.

        Google routes old names to dearer models, so the model asked for bounds nothing.
        """
        return self._dearest(_most_tokens(request), on)

    def estimate(self, request: Request, on: date) -> Cost:
        """What to count for a call that may have been billed without saying so."""
        return self.cost(request.model, _most_tokens(request), on)

    def _dearest(self, usage: Usage, on: date) -> Decimal:
        prices = (_in_force(table, on) for table in self._table.values())
        return max(price.cost(usage) for price in prices)

    def _price(self, model: str, on: date) -> Price | None:
        table = self._entries(model)
        return None if table is None else _in_force(table, on)

    def _entries(self, model: str) -> Sequence[Price] | None:
        name = model.removeprefix("models/")
        return self._table.get(name) or self._table.get(VERSION_SUFFIX.sub("", name))


def parse_prices(table: Mapping[str, object]) -> Prices:
    """Prices of a configuration table laid over the default one.

    A model maps to `{input, output, cached?, long_input?, long_output?, since?}` or a list of
    those with different `since` dates; amounts are decimal strings or numbers. Raises ValueError
    that names the model and what is wrong.
    """
    merged = {**DEFAULT_TABLE, **table}
    return Prices({model: _parse_model(model, entry) for model, entry in merged.items()})


def _parse_model(model: str, entry: object) -> tuple[Price, ...]:
    entries = entry if isinstance(entry, (list, tuple)) else [entry]
    if not entries:
        raise ValueError(f"{model}: no price given")
    return tuple(sorted((_parse_price(model, each) for each in entries), key=lambda p: p.since))


def _parse_price(model: str, entry: object) -> Price:
    if not isinstance(entry, Mapping):
        problem = f"{model}: a price is a table with input and output, not {entry!r}"
        raise ValueError(problem)  # noqa: TRY004  a wrong setting, not a wrong call
    if unknown := set(entry) - {*AMOUNTS, "since"}:
        raise ValueError(f"{model}: unknown key {min(unknown)!r}; allowed: {AMOUNTS} and since")
    given = {name: value for name, value in entry.items() if value is not None}
    amounts = {name: _amount(model, name, given[name]) for name in AMOUNTS if name in given}
    if "input" not in amounts or "output" not in amounts:
        raise ValueError(f"{model}: input and output are required")
    price_in, price_out = amounts["input"], amounts["output"]
    return Price(
        since=_since(model, entry.get("since")),
        input=price_in,
        output=price_out,
        cached=amounts.get("cached", price_in),
        long_input=amounts.get("long_input", price_in),
        long_output=amounts.get("long_output", price_out),
    )


def _amount(model: str, name: str, value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{model}.{name}: {value!r} is no amount in USD") from None
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise ValueError(f"{model}.{name}: {value!r} is no amount in USD")
    return amount


def _since(model: str, value: object) -> date:
    if value is None:
        return date.min
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{model}.since: {value!r} is no date such as 2027-01-01") from None


def _in_force(table: Sequence[Price], on: date) -> Price:
    """The newest price that holds on `on`; before the first one, the first."""
    return next((price for price in reversed(table) if price.since <= on), table[0])


def _most_tokens(request: Request) -> Usage:
    """No tokenizer gives more tokens than bytes; thoughts count against the output limit."""
    return Usage(
        prompt=len(request.record().encode()) + OVERHEAD_TOKENS,
        candidates=request.max_output_tokens,
    )
