"""The limits of a decision."""

from decimal import Decimal

import pytest

from jobs.signals.protocol import Action, Decision


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
