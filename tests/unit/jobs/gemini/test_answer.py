"""Only a finished, complete, in-schema, on-list, in-range, consistent answer decides anything."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.errors import ModelRejected
from jobs.gemini.answer import SCHEMA, read_answer
from jobs.gemini.model import Reply, Usage

MARKETS = ("KRW-BTC", "KRW-ETH")


def reply(text: str | None, *, finish: str = "STOP", block: str = "") -> Reply:
    return Reply(
        text=text,
        finish_reason=finish,
        block_reason=block,
        usage=Usage(),
        model_version=None,
        body={},
    )


def entry(market: str = "KRW-BTC", **changes: object) -> dict[str, Any]:
    return {
        "market": market,
        "action": "buy",
        "confidence": 0.7,
        "reason": "MACD turned up.",
    } | changes


def document(*entries: object) -> str:
    return json.dumps({"decisions": list(entries)})


GOOD = document(entry(), entry("KRW-ETH", action="hold", reason="Quiet."))


def test_a_good_answer_decides_about_every_market() -> None:
    answer = read_answer(reply(GOOD), MARKETS)
    assert [(each.market, each.action) for each in answer.decisions] == [
        ("KRW-BTC", "buy"),
        ("KRW-ETH", "hold"),
    ]
    assert answer.decisions[0].confidence == Decimal("0.7")
    assert answer.refused == {}
    assert answer.verdicts == {"KRW-BTC": "buy", "KRW-ETH": "hold"}


@pytest.mark.parametrize(
    "finish",
    ["", "MAX_TOKENS", "SAFETY", "RECITATION", "CONTINUATION", "stop", "OTHER", "TIRED", "\x00"],
)
def test_only_stop_is_finished(finish: str) -> None:
    with pytest.raises(ModelRejected, match="not finished"):
        read_answer(reply(GOOD, finish=finish), MARKETS)


def test_a_blocked_prompt_decides_nothing() -> None:
    with pytest.raises(ModelRejected, match=r"blocked.*SAFETY"):
        read_answer(reply(GOOD, block="SAFETY"), MARKETS)


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_an_empty_answer_decides_nothing(text: str | None) -> None:
    with pytest.raises(ModelRejected, match="empty"):
        read_answer(reply(text), MARKETS)


@pytest.mark.parametrize(
    "text",
    [
        "Buy KRW-BTC with everything.",
        f"```json\n{GOOD}\n```",
        f"Here you are: {GOOD}",
        f"{GOOD} Good luck!",
        f"{GOOD}{GOOD}",
        GOOD[:-2],
        "[" * 100_00,
        '{"decisions": [{"market": "KRW-BTC", "market": "KRW-ETH"}]}',
        GOOD.replace("0.7", "NaN"),
        GOOD.replace("0.7", "Infinity"),
        GOOD.replace("0.7", "-Infinity"),
        GOOD.replace("0.7", "1e9999999999999999999999"),
    ],
)
def test_what_is_not_one_strict_json_document_decides_nothing(text: str) -> None:
    with pytest.raises(ModelRejected, match="not JSON"):
        read_answer(reply(text), MARKETS)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "7",
        "[]",
        '"buy"',
        "{}",
        json.dumps([entry()]),
        '{"decisions": {}}',
        '{"decisions": ["buy"]}',
        '{"decisions": null}',
        json.dumps({"decisions": [entry()], "note": "trust me"}),
    ],
)
def test_another_shape_decides_nothing(text: str) -> None:
    with pytest.raises(ModelRejected, match=r"shape|list of objects"):
        read_answer(reply(text), MARKETS)


def test_an_endless_answer_decides_nothing() -> None:
    with pytest.raises(ModelRejected, match="too long"):
        read_answer(reply(document(entry(reason="x" * 20_000))), MARKETS)


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (entry(action="BUY"), "unknown action"),
        (entry(action="short"), "unknown action"),
        (entry(action=None), "unknown action"),
        (entry(action=["buy"]), "unknown action"),
        (entry(confidence=1.0001), "confidence is not"),
        (entry(confidence=-0.1), "confidence is not"),
        (entry(confidence="0.9"), "confidence is not"),
        (entry(confidence=True), "confidence is not"),
        (entry(confidence=None), "confidence is not"),
        (entry(confidence=90), "confidence is not"),
        (entry(reason=""), "no reason"),
        (entry(reason=" \u200b\x00\n"), "no reason"),
        (entry(reason=7), "no reason"),
        (entry(reason="x" * 501), "too long"),
        (entry(reason="You should sell now."), "contradicts"),
        (entry(size="100%"), "fields"),
        ({"market": "KRW-BTC", "action": "buy", "confidence": 1}, "fields"),
    ],
)
def test_one_spoilt_entry_costs_only_its_market(spoilt: dict[str, object], why: str) -> None:
    answer = read_answer(reply(document(spoilt, entry("KRW-ETH"))), MARKETS)
    assert [each.market for each in answer.decisions] == ["KRW-ETH"]
    assert why in answer.refused["KRW-BTC"]
    assert answer.verdicts["KRW-ETH"] == "buy"


def test_nothing_usable_at_all_is_a_rejection_that_names_each_market() -> None:
    with pytest.raises(ModelRejected, match="KRW-BTC: unknown action; KRW-ETH: not in the answer"):
        read_answer(reply(document(entry(action="all-in"))), MARKETS)


def test_a_market_named_twice_has_no_decision_even_when_both_agree() -> None:
    answer = read_answer(reply(document(entry(), entry(), entry("KRW-ETH"))), MARKETS)
    assert [each.market for each in answer.decisions] == ["KRW-ETH"]
    assert answer.refused == {"KRW-BTC": "named more than once"}


@pytest.mark.parametrize(
    "other", ["KRW-MOON", "krw-btc", "KRW-BTC ", "BTC", "", None, 7, ["KRW-BTC"], "KRW-\x00BTC"]
)
def test_a_market_off_the_list_is_named_and_dropped(other: object) -> None:
    text = document(entry(market=other), entry(), entry("KRW-ETH"))  # type: ignore[arg-type]
    answer = read_answer(reply(text), MARKETS)
    assert {each.market for each in answer.decisions} == set(MARKETS)
    ((name, why),) = answer.refused.items()
    assert name.startswith("?")
    assert "\x00" not in name
    assert why == "not a market we asked about"


@pytest.mark.parametrize(
    ("written", "confidence"),
    [
        ("0", "0"),
        ("1", "1"),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("6e-1", "0.6"),
        ("0.59999999999", "0.5999"),
        ("0.7000000000000001", "0.7"),
        ("1e-999999999", "0"),
        ("0." + "9" * 5000, "0.9999"),
    ],
)
def test_confidence_is_exact_and_cut_downwards(written: str, confidence: str) -> None:
    answer = read_answer(reply(GOOD.replace("0.7", written)), MARKETS)
    decided = answer.decisions[0].confidence
    assert decided == Decimal(confidence)
    assert not decided.is_signed()


def test_a_reason_becomes_one_clean_line() -> None:
    text = document(entry(reason="  Up\tand\n\u202eaway \ud83d\ude80\x00 "))
    answer = read_answer(reply(text), ("KRW-BTC",))
    assert answer.decisions[0].reason == "Up and away \U0001f680"


def test_a_lone_surrogate_cannot_reach_the_database() -> None:
    text = document(entry(reason="x")).replace('"x"', '"x\\ud800"')
    answer = read_answer(reply(text), ("KRW-BTC",))
    answer.decisions[0].reason.encode()


def test_the_schema_has_no_range_that_one_sdk_refuses() -> None:
    text = json.dumps(SCHEMA)
    assert "minimum" not in text
    assert "maximum" not in text


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=30)
    | st.sampled_from(["KRW-BTC", "KRW-ETH", "buy", "sell", "hold"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["decisions", "market", "action", "confidence", "reason", "x"]), inner
        )
    ),
    max_leaves=20,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "market": json_values | st.sampled_from([*MARKETS, "KRW-X"]),
        "action": json_values | st.sampled_from(["buy", "sell", "hold"]),
        "confidence": json_values | st.floats(-1, 2),
        "reason": json_values,
        "extra": json_values,
    },
)


def _decides_only_within_bounds(text: str) -> None:
    try:
        answer = read_answer(reply(text), MARKETS)
    except ModelRejected as rejected:
        str(rejected).encode()
        return
    named = [each.market for each in answer.decisions]
    assert len(set(named)) == len(named)
    assert set(named) <= set(MARKETS)
    assert set(answer.verdicts) >= set(MARKETS)
    for each in answer.decisions:
        assert 0 <= each.confidence <= 1
        assert 1 <= len(each.reason) <= 500
        each.reason.encode()
    for name, why in answer.refused.items():
        (name + why).encode()


@given(document=json_values)
def test_no_json_at_all_gets_past_the_bounds(document: object) -> None:
    """Any JSON is a rejection or decisions on the list and in range, ready to be stored."""
    _decides_only_within_bounds(json.dumps(document))


@given(entries=st.lists(entries, max_size=5))
def test_no_list_of_entries_gets_past_the_bounds(entries: list[object]) -> None:
    """The same for documents of nearly the right shape."""
    _decides_only_within_bounds(json.dumps({"decisions": entries}))


@given(text=st.text(st.characters(codec=None), max_size=300))
def test_no_text_gets_past_the_bounds(text: str) -> None:
    """The same for any text."""
    _decides_only_within_bounds(text)


@given(cut=st.integers(0, len(GOOD)), put=st.text(max_size=3), length=st.integers(0, 20))
def test_no_mutation_of_a_good_answer_gets_past_the_bounds(cut: int, put: str, length: int) -> None:
    """The same for a good answer with a piece replaced."""
    _decides_only_within_bounds(GOOD[:cut] + put + GOOD[cut + length :])
