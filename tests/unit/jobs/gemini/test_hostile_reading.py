"""Ten thousand hostile bodies, read: what the daemon takes is what an independent reader takes.

The same answers go through HTTP, database, risk and orders in tests/integration/
test_hostile_answers.py; here it is the reading alone, in seconds.
"""

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import islice

import pytest
from fixtures.hostile_answers import MARKETS, Hostile, answers

from jobs.core.errors import JobError
from jobs.gemini import classify
from jobs.gemini.answer import read_answer
from jobs.gemini.model import Exchange

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
COUNT = 10_400


def taken(hostile: Hostile) -> dict[str, str]:
    """The decisions that the daemon takes from an answer; it raises nothing but JobError."""
    try:
        body = json.loads(hostile.body)
    except (ValueError, RecursionError):
        body = None  # what both adapters make of it
    try:
        reply = classify.read(Exchange(status=hostile.status, headers={}, body=body), NOW)
        answer = read_answer(reply, MARKETS)
    except JobError:
        return {}
    assert all(0 <= each.confidence <= 1 for each in answer.decisions)
    return {each.market: each.action for each in answer.decisions}


@pytest.mark.parametrize("seed", range(1, 5))
def test_nothing_is_taken_that_a_careful_reader_would_not_take(seed: int) -> None:
    read: Counter[str] = Counter()
    for hostile in islice(answers(seed), COUNT // 4):
        decided = taken(hostile)
        assert decided.items() <= hostile.believable.items(), (hostile, decided)
        read["nothing" if not decided else "something"] += 1
    assert min(read["nothing"], read["something"]) > COUNT // 40
