"""What a healthy component has to tell in one line, from its detail."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from health.figures import instant
from health.markup import join

Detail = Mapping[str, Any]


def summary_of(component: str, detail: Detail) -> object:
    """One line; a detail that is not complete makes it shorter, never an error."""
    if note := detail.get("note"):
        return note
    return TELLERS[component](detail)


def _database(detail: Detail) -> object:
    pool = detail.get("pool") or {}
    if "size" not in pool:
        return "answers"
    return f"{pool['size']} connections, {pool.get('available', 0)} free"


def _upbit(detail: Detail) -> object:
    return "answers, keys accepted" if detail.get("authenticated") else "answers"


def _gemini(detail: Detail) -> object:
    last = detail.get("last_call") or {}
    if not isinstance(last.get("at"), datetime):
        return "answers"
    return join(f"answers, last call {last.get('outcome')} ", instant(last["at"], "age"))


def _scheduler(detail: Detail) -> object:
    jobs, lanes = len(detail.get("jobs") or ()), len(detail.get("lanes") or ())
    if detail.get("role") == "standby":
        return "standby, waits for the leader to go"
    return "; ".join([f"{jobs} jobs on time, {lanes} lanes moving", *_progress(detail)])


def _progress(detail: Detail) -> Iterator[str]:
    for job, each in (detail.get("jobs") or {}).items():
        if isinstance(each, Mapping) and each.get("progress"):
            yield f"{job}: {each['progress']}"


def _signal(detail: Detail) -> object:
    return _event(detail, f"{detail.get('action')} {detail.get('market')}")


def _order(detail: Detail) -> object:
    side = {"bid": "buy", "ask": "sell"}.get(str(detail.get("side")), "")
    return _event(detail, f"{side} {detail.get('market')}, {detail.get('state')}")


def _event(detail: Detail, what: str) -> object:
    at = detail.get("at")
    return join(f"{what}, ", instant(at, "age")) if isinstance(at, datetime) else "nothing yet"


TELLERS: Final[Mapping[str, Callable[[Detail], object]]] = {
    "database": _database,
    "upbit": _upbit,
    "gemini": _gemini,
    "scheduler": _scheduler,
    "latest_signal": _signal,
    "latest_order": _order,
}
