"""Prices by date and model version, worst cases, and a configuration table that is wrong."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.gemini.cost import DEFAULT_TABLE, OVERHEAD_TOKENS, parse_prices
from jobs.gemini.model import Request, Usage

DAY = date(2026, 11, 20)
PRICES = parse_prices({})
REQUEST = Request(
    model="gemini-3.5-flash-lite",
    system="s",
    prompt="p" * 1000,
    schema={},
    max_output_tokens=2000,
    timeout_s=1.0,
)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("gemini-3.5-flash-lite", Usage(prompt=1_000_000), "0.30"),
        ("gemini-3.5-flash-lite", Usage(candidates=1_000_000), "2.50"),
        ("gemini-3.5-flash-lite", Usage(candidates=400_000, thoughts=600_000), "2.50"),
        ("gemini-3.5-flash-lite", Usage(prompt=100_000, cached=50_000), "0.0165"),
        ("gemini-3.5-flash-lite", Usage(tool_use=1_000_000), "0.30"),
        ("gemini-2.5-flash-lite", Usage(prompt=10, candidates=119, thoughts=699), "0.0003282"),
        ("gemini-2.5-pro", Usage(prompt=200_000, candidates=1_000), "0.26"),
        ("gemini-2.5-pro", Usage(prompt=200_001, candidates=1_000), "0.5150025"),
        ("models/gemini-3.6-flash-001", Usage(prompt=1_000_000), "1.50"),
    ],
)
def test_a_call_costs_what_the_table_says(model: str, usage: Usage, usd: str) -> None:
    cost = PRICES.cost(model, usage, DAY)
    assert cost.usd == Decimal(usd)
    assert cost.is_known


def test_a_price_changes_on_its_date() -> None:
    million = Usage(prompt=1_000_000)
    assert PRICES.cost("gemini-3.8-flash", million, date(2026, 12, 31)).usd == Decimal("0.75")
    assert PRICES.cost("gemini-3.8-flash", million, date(2027, 1, 1)).usd == Decimal("1.50")


@pytest.mark.parametrize("model", ["gemini-9-ultra", "gemini-2.5-flash-image", "", "gemini"])
def test_an_unknown_model_costs_what_the_dearest_does_and_is_marked(model: str) -> None:
    cost = PRICES.cost(model, Usage(candidates=1_000_000), DAY)
    assert not cost.is_known
    assert cost.usd == Decimal("12.00")


def test_the_worst_case_covers_whatever_model_answers() -> None:
    bytes_sent = len(REQUEST.record().encode()) + OVERHEAD_TOKENS
    worst = PRICES.worst_case(REQUEST, DAY)
    for model in DEFAULT_TABLE:
        usage = Usage(prompt=bytes_sent, candidates=500, thoughts=1500)
        assert PRICES.cost(model, usage, DAY).usd <= worst
    assert PRICES.estimate(REQUEST, DAY).usd < worst


def test_an_estimate_for_an_unknown_model_is_the_worst_case() -> None:
    unknown = replace(REQUEST, model="gemini-9-ultra-flash")
    estimate = PRICES.estimate(unknown, DAY)
    assert estimate.usd == PRICES.worst_case(unknown, DAY)
    assert not estimate.is_known


@given(prompt=st.text(max_size=400))
def test_no_text_has_more_tokens_than_the_worst_case_counts(prompt: str) -> None:
    """Even one token for each byte of the prompt stays within it."""
    request = replace(REQUEST, prompt=prompt, system="")
    spent = Usage(prompt=len(prompt.encode("utf-8", "surrogatepass")), candidates=2000)
    assert PRICES.cost("gemini-3.1-pro-preview", spent, DAY).usd <= PRICES.worst_case(request, DAY)


def test_a_configured_price_replaces_the_default_and_others_stay() -> None:
    prices = parse_prices({"gemini-3.5-flash-lite": {"input": 1, "output": Decimal(2)}})
    both = Usage(prompt=100_000, cached=100_000, candidates=100_000)
    assert prices.cost("gemini-3.5-flash-lite", both, DAY).usd == Decimal("0.3")
    assert prices.cost("gemini-2.5-flash", Usage(prompt=1_000_000), DAY).usd == Decimal("0.30")


def test_a_list_of_dated_prices_may_come_in_any_order_and_none_means_absent() -> None:
    prices = parse_prices(
        {
            "mine": [
                {"since": "2027-01-01", "input": 2, "output": 2, "cached": None},
                {"input": 1, "output": 1},
            ]
        }
    )
    assert prices.cost("mine", Usage(prompt=1_000_000), DAY).usd == 1
    assert prices.cost("mine", Usage(prompt=1_000_000), date(2027, 6, 1)).usd == 2


def test_before_the_first_date_the_first_price_holds() -> None:
    prices = parse_prices({"mine": {"since": "2030-01-01", "input": 3, "output": 3}})
    assert prices.cost("mine", Usage(prompt=1_000_000), DAY).usd == 3


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (7, "mine: a price is a table"),
        ([], "mine: no price"),
        ({"input": 1}, "input and output are required"),
        ({"input": 1, "output": 1, "outptu": 1}, "'outptu'"),
        ({"input": "cheap", "output": 1}, "mine.input: 'cheap'"),
        ({"input": -1, "output": 1}, "mine.input: -1"),
        ({"input": True, "output": 1}, "mine.input: True"),
        ({"input": "NaN", "output": 1}, "mine.input: 'NaN'"),
        ({"input": 1, "output": 1, "since": "soon"}, "mine.since: 'soon'"),
    ],
)
def test_a_wrong_table_names_what_is_wrong(entry: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_prices({"mine": entry})
