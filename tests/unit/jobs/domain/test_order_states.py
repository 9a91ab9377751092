"""The state machine of an order: nine arrows, and nothing else."""

import itertools

import pytest

from jobs.domain import order_states
from jobs.domain.order_states import ARROWS, FINAL, OPEN, Arrow, ForbiddenArrow, State, may

TABLE = [
    (order_states.send, "intent", "sent"),
    (order_states.withdraw, "intent", "refused"),
    (order_states.accept, "sent", "wait"),
    (order_states.doubt, "sent", "unknown"),
    (order_states.reject, "sent", "refused"),
    (order_states.adopt, "unknown", "wait"),
    (order_states.bury, "unknown", "refused"),
    (order_states.complete, "wait", "done"),
    (order_states.end, "wait", "cancel"),
]


@pytest.mark.parametrize(("arrow", "source", "target"), TABLE)
def test_each_arrow_leads_from_its_source_to_its_target(
    arrow: Arrow, source: str, target: str
) -> None:
    assert arrow(State(source)) is State(target)


@pytest.mark.parametrize(("arrow", "source", "_target"), TABLE)
def test_each_arrow_starts_nowhere_else(arrow: Arrow, source: str, _target: str) -> None:
    for state in set(State) - {State(source)}:
        with pytest.raises(ForbiddenArrow, match=arrow.name):
            arrow(state)


def test_the_table_names_every_arrow_there_is() -> None:
    assert [arrow for arrow, _, _ in TABLE] == list(ARROWS)


def test_of_all_49_pairs_only_the_nine_arrows_and_staying_are_allowed() -> None:
    allowed = {(State(source), State(target)) for _, source, target in TABLE}
    for source, target in itertools.product(State, repeat=2):
        assert may(source, target) is (source is target or (source, target) in allowed)


def test_final_states_are_never_left_and_open_ones_can_be() -> None:
    sources = {arrow.source for arrow in ARROWS}
    assert sources == OPEN
    assert {State.DONE, State.CANCEL, State.REFUSED} == FINAL
