"""The limits of a decision, and how a source is found by its name."""

from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from jobs import decisions
from jobs.decisions import Action, Decision, Source, load_source
from jobs.rules import RulesSource

BUILTIN: dict[str, Callable[[], Source]] = {"rules": RulesSource}


def decide(
    action: Action = "buy", confidence: Decimal = Decimal("0.5"), reason: str = "Because."
) -> Decision:
    return Decision(market="KRW-BTC", action=action, confidence=confidence, reason=reason)


@pytest.mark.parametrize("confidence", [Decimal(0), Decimal(1), Decimal("0.6")])
def test_confidence_may_be_all_of_zero_to_one(confidence: Decimal) -> None:
    assert decide(confidence=confidence).confidence == confidence


@pytest.mark.parametrize(
    "confidence", [Decimal("-0.0001"), Decimal("1.0001"), Decimal("NaN"), Decimal("Infinity")]
)
def test_confidence_beyond_zero_to_one_is_refused(confidence: Decimal) -> None:
    with pytest.raises(ValueError, match="not in"):
        decide(confidence=confidence)


def test_another_action_is_refused() -> None:
    with pytest.raises(ValueError, match="short"):
        decide(action="short")  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["", "x" * 501])
def test_a_reason_has_a_length(reason: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        decide(reason=reason)


def test_a_builtin_source_is_made() -> None:
    assert isinstance(load_source("rules", BUILTIN), RulesSource)


def test_an_installed_entry_point_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="mine", value="jobs.rules:RulesSource", group=decisions.GROUP)
    installed = EntryPoints([point])
    monkeypatch.setattr(decisions, "entry_points", installed.select)
    assert isinstance(load_source("mine", BUILTIN), RulesSource)
    with pytest.raises(LookupError, match="mine"):
        load_source("yours", BUILTIN)


def test_an_unknown_source_is_named_with_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"'astrology'.*'rules'"):
        load_source("astrology", BUILTIN)
