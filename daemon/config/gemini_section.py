"""The table [gemini]: which model is asked, how, and what it costs."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WrapValidator

from daemon.config.job_sections import DURATION, Section
from daemon.config.types import Amount, Duration, Number, unversioned
from jobs.gemini.cost import Prices, parse_prices

PRICE = "0 or more USD for a million tokens"
PRICES = "{input = 0.30, output = 2.50, cached = 0.03}, or a list of those with `since` dates"


def _day(value: object) -> object:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("not a day such as 2027-01-01") from None
    if isinstance(value, datetime):
        raise ValueError("not a day such as 2027-01-01")  # noqa: TRY004 - a wrong setting
    return value


class ModelPrice(Section):
    """What a model costs from `since` on, in USD for a million tokens; thinking is output.

    `cached` counts as `input` where it is missing. The long ones hold for the whole of a prompt of
    more than 200,000 tokens.
    """

    input: Annotated[Amount, Field(ge=0, description=PRICE)]
    output: Annotated[Amount, Field(ge=0, description=PRICE)]
    cached: Annotated[Amount | None, Field(ge=0, description=PRICE)] = None
    long_input: Annotated[Amount | None, Field(ge=0, description=PRICE)] = None
    long_output: Annotated[Amount | None, Field(ge=0, description=PRICE)] = None
    since: Annotated[
        date | None, BeforeValidator(_day), Field(description="a day such as 2027-01-01")
    ] = None


def _one_or_many(value: object, many: Callable[[object], Any]) -> tuple[ModelPrice, ...]:
    if not isinstance(value, list | tuple):
        return (ModelPrice.model_validate(value),)
    prices: tuple[ModelPrice, ...] = many(value)
    if not prices:
        raise ValueError("holds no price")
    if len({price.since for price in prices}) != len(prices):
        raise ValueError("two prices begin on the same day")
    return prices


DatedPrices = Annotated[
    tuple[ModelPrice, ...],
    Field(strict=False),
    WrapValidator(_one_or_many),
]
"""The prices of one model: a table, or a list of tables with different `since`."""


class GeminiConfig(Section):
    """[gemini]"""

    sdk: Annotated[
        Literal["google-genai", "google-generativeai"],
        Field(description='"google-genai" or "google-generativeai"'),
    ] = "google-genai"
    base_url: Annotated[
        str,
        AfterValidator(unversioned),
        Field(description='"" for Google\'s own, or https:// (http:// on this machine)'),
    ] = ""
    api_version: Annotated[
        Literal["v1", "v1beta", "v1alpha"], Field(description='"v1beta", "v1" or "v1alpha"')
    ] = "v1beta"
    model: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description='a model\'s name without "models/"',
        ),
    ] = "gemini-3.5-flash-lite"
    timeout: Annotated[Duration, Field(description=DURATION)] = timedelta(seconds=30)
    daily_budget_usd: Annotated[
        Amount, Field(ge=0, le=100_000, description="an amount from 0 to 100000 USD")
    ] = Decimal("1.00")
    max_output_tokens: Annotated[int, Field(ge=64, le=65_536, description="64 to 65536")] = 65_536
    temperature: Annotated[Number, Field(ge=0, le=2, description="0 to 2")] = 1.0
    prices: Annotated[dict[str, DatedPrices], Field(description=PRICES)] = Field(
        default_factory=dict
    )

    def price_table(self) -> Prices:
        """Every model's prices: the published ones with `prices` laid over them."""
        return parse_prices(
            {name: [price.model_dump() for price in each] for name, each in self.prices.items()}
        )
