"""Options change whole or not at all."""

import pytest

from sandbox.options import LIMITS, Options


def test_changes_are_taken_over_and_shown() -> None:
    options = Options()
    options.update(
        {"ban_s": 5, "limits": {"order": 8}, "get_body": "refuse", "offline": ["KRW-BTC"]}
    )
    assert options.shown()["ban_s"] == 5
    assert options.limits == LIMITS | {"order": 8}
    assert (options.get_body, options.offline) == ("refuse", ["KRW-BTC"])
    assert Options().limits == LIMITS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fill_max": 1}, "no such option"),
        ({"get_body": "maybe"}, "none of accept, refuse"),
        ({"fill_max_ms": "1"}, "not like"),
        ({"fill_max_ms": True}, "not like"),
        ({"quotas": 1}, "not like"),
        ({"limits": {"order": "8"}}, "whole number"),
        ({"offline": "KRW-BTC"}, "not like"),
        ({"ticks": {"KRW-BTC": 5}}, "above zero"),
        ({"ticks": {"KRW-BTC": "0"}}, "above zero"),
        ({"cautions": {"KRW-BTC": "X"}}, "a list of marks"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    changes: dict[str, object], message: str
) -> None:
    options = Options()
    with pytest.raises(ValueError, match=message):
        options.update({"ban_s": 5.0} | changes)
    assert options == Options()
