"""The decision record: what was asked, what came back, what was decided, and the same made anew.

`replay` reads the stored answer again with the code of today, offline, and compares everything
that follows from it with what was stored: bit for bit, or it says where not.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from jobs.core.errors import JobError, ModelRejected
from jobs.gemini import classify
from jobs.gemini.answer import Answer, read_answer
from jobs.gemini.model import Exchange, Reply
from jobs.gemini.prompt import markets_of, storable
from jobs.signals.protocol import Decision
from jobs.store.db import Database
from jobs.store.llm_calls import ANSWERED
from jobs.store.llm_records import StoredCall, StoredSignal, find

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # the present decides about waits alone, not answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision record.

    `asked` is everything that decided the answer (model, template, system, prompt, schema, limits),
    empty once its retention is over; `markets` those that the prompt asked about; `text` what the
    model wrote, None when nothing came.
    """

    call: StoredCall
    asked: Mapping[str, object]
    markets: tuple[str, ...]
    text: str | None

    @property
    def template(self) -> str | None:
        """Version and fingerprint of the prompt's template, None where it is not recorded."""
        template = self.asked.get("template")
        return template if isinstance(template, str) and template else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the stored answer says today, and in what that differs from what was stored."""

    outcome: str
    verdicts: Mapping[str, str] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def is_identical(self) -> bool:
        """Whether everything was reproduced."""
        return not self.differences


async def decision_of(db: Database, llm_call_id: int) -> Record | None:
    """The decision record of a model call, None when there is no such call."""
    call = await find(db, llm_call_id)
    return None if call is None else read_record(call)


def read_record(call: StoredCall) -> Record:
    """What a stored row says; pure."""
    asked = _object(call.prompt)
    prompt = asked.get("prompt")
    reply = _reply(call)
    return Record(
        call=call,
        asked=asked,
        markets=markets_of(prompt) if isinstance(prompt, str) else (),
        text=None if reply is None else reply.text,
    )


def replay(record: Record, *, mask: Callable[[str], str] = str) -> Replayed:
    """Read the stored answer again and compare; asks nobody. `mask` is what errors went through."""
    call = record.call
    differences = list(_asked_differs(record))
    if call.outcome not in ANSWERED:
        differences += [f"signal {each.id} came from no answer" for each in call.signals]
        return Replayed(outcome=call.outcome, differences=tuple(differences))
    reply = _reply(call)
    if reply is None:
        return Replayed(outcome="unreadable", differences=(*differences, "the answer is no JSON"))
    differences += _reply_differs(call, reply)
    try:
        answer = read_answer(reply, record.markets)
    except ModelRejected as exc:
        differences += _rejection_differs(call, exc, mask)
        return Replayed(outcome="rejected", differences=tuple(differences))
    outcome = "partial" if answer.refused else "ok"
    if call.outcome != outcome:
        differences.append(f"outcome: stored {call.outcome}, now {outcome}")
    differences += _verdicts_differ(call.verdicts, answer.verdicts)
    differences += _signals_differ(call, answer)
    return Replayed(
        outcome=outcome,
        verdicts=answer.verdicts,
        decisions=answer.decisions,
        differences=tuple(differences),
    )


def _asked_differs(record: Record) -> Iterator[str]:
    call = record.call
    if not call.prompt:
        yield "the prompt's retention is over: what was asked is not known any more"
        return
    if hashlib.sha256(call.prompt.encode()).hexdigest() != call.prompt_hash:
        yield "the stored prompt has another fingerprint than the one that was sent"
    if _canonical(record.asked) != call.prompt:
        yield "the stored prompt is not in its canonical form"
    if not record.markets:
        yield "the stored prompt asks about no market"


def _reply_differs(call: StoredCall, reply: Reply) -> Iterator[str]:
    usage = reply.usage
    if json.dumps(reply.body, sort_keys=True, separators=(",", ":")) != call.answer:
        yield "the stored answer is not in its canonical form"
    now = {
        "model_version": reply.model_version,
        "tokens_in": usage.prompt + usage.tool_use,
        "tokens_out": usage.candidates,
        "tokens_thought": usage.thoughts,
        "tokens_cached": usage.cached,
    }
    for name, value in now.items():
        if getattr(call, name) != value:
            yield f"{name}: stored {getattr(call, name)}, now {value}"


def _rejection_differs(
    call: StoredCall, error: ModelRejected, mask: Callable[[str], str]
) -> Iterator[str]:
    said = storable(mask(str(error)))
    if call.outcome != "rejected":
        yield f"outcome: stored {call.outcome}, now rejected: {said}"
    elif call.error != said:
        yield f"error: stored {call.error!r}, now {said!r}"
    for signal in call.signals:
        yield f"signal {signal.id} came from an answer that is rejected"


def _verdicts_differ(stored: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for market in sorted({*stored, *now}):
        if stored.get(market) != now.get(market):
            yield f"{market}: stored {stored.get(market)!r}, now {now.get(market)!r}"


def _signals_differ(call: StoredCall, answer: Answer) -> Iterator[str]:
    stored = {each.market: each for each in call.signals}
    decided = {each.market: each for each in answer.decisions}
    for market in sorted({*stored, *decided}):
        signal, decision = stored.get(market), decided.get(market)
        if signal is None:
            yield f"{market}: the decision is in no signal"
        elif decision is None:
            yield f"{market}: signal {signal.id} is in no decision"
        elif _said(signal) != _said(decision):
            yield f"{market}: signal {signal.id} is not what the answer says"


def _said(each: StoredSignal | Decision) -> tuple[str, Decimal, str]:
    return each.action, each.confidence, each.reason


def _reply(call: StoredCall) -> Reply | None:
    body = _object(call.answer or "")
    if not body:
        return None if call.answer != "{}" else _read({})
    return _read(body)


def _read(body: Mapping[str, object]) -> Reply | None:
    try:
        return classify.read(Exchange(status=200, headers={}, body=dict(body)), LONG_AGO)
    except JobError:
        return None


def _object(text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _canonical(asked: Mapping[str, object]) -> str:
    return json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
