"""The seam: what a request's fingerprint covers, and how much each family may think."""

from dataclasses import replace

import pytest

from jobs.gemini.model import Request, Thinking, Usage, thinking_for

REQUEST = Request(
    model="gemini-3.5-flash-lite",
    system="Be careful.",
    prompt="표",
    schema={"type": "OBJECT"},
    max_output_tokens=100,
    timeout_s=30.0,
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gemini-3.6-flash"},
        {"system": "Be bold."},
        {"prompt": "other"},
        {"schema": {"type": "ARRAY"}},
        {"max_output_tokens": 101},
        {"temperature": 0.5},
    ],
)
def test_whatever_decides_the_answer_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(REQUEST, **change).fingerprint() != REQUEST.fingerprint()  # type: ignore[arg-type]


def test_a_timeout_does_not_change_the_fingerprint() -> None:
    assert replace(REQUEST, timeout_s=1.0).fingerprint() == REQUEST.fingerprint()


def test_the_order_of_schema_keys_does_not_change_the_fingerprint() -> None:
    one = replace(REQUEST, schema={"type": "OBJECT", "required": ["a"]})
    two = replace(REQUEST, schema={"required": ["a"], "type": "OBJECT"})
    assert one.fingerprint() == two.fingerprint()


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("gemini-2.5-flash", Thinking(budget=0)),
        ("gemini-2.5-flash-lite", Thinking(budget=0)),
        ("models/gemini-2.5-pro", Thinking(budget=128)),
        ("gemini-3.5-flash", Thinking(level="LOW")),
        ("gemini-3.8-flash", Thinking(level="LOW")),
        ("gemini-3.1-flash-lite", Thinking(level="MINIMAL")),
        ("gemini-4-flash", Thinking(level="LOW")),
        ("gemini-2.0-flash", None),
        ("gemini-flash-latest", None),
        ("another-model", None),
    ],
)
def test_thinking_is_as_little_as_the_family_allows(model: str, thinking: Thinking | None) -> None:
    assert thinking_for(model) == thinking


def test_thoughts_are_billed_as_output() -> None:
    assert Usage(candidates=10, thoughts=32).output == 42
