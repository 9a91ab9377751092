"""Gemini as a source of signals: reserve → ask → read → settle, with a record of every call."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

from loguru import logger

from jobs.core.cooldowns import Gates
from jobs.core.errors import BudgetExhausted, JobError, ModelRejected, Permanent, RateLimited
from jobs.core.job import Clock, Incident, Notifier, current_counters
from jobs.core.untrusted import one_line
from jobs.gemini import classify, prompt
from jobs.gemini.answer import SCHEMA, Answer, read_answer
from jobs.gemini.client import GATE
from jobs.gemini.cost import Cost, Prices
from jobs.gemini.model import Model, Reply, Request, Usage
from jobs.signals.protocol import Inputs, Verdict
from jobs.store import llm_calls
from jobs.store.db import Database
from jobs.store.llm_calls import NewCall, Outcome, Settlement

NEVER_TWICE_WITHIN = timedelta(hours=1)
BUDGET = "budget_exhausted:gemini"
QUOTA = "budget_exhausted:gemini-quota"
REJECTED = "model_output_rejected:gemini"
NOTHING = Usage()
LONGEST_ID = 100
ROOM_TOKENS = 4096
"""Output beside the decisions: thoughts, which no Gemini 3 can be kept from."""
TOKENS_PER_MARKET = 160
"""More than a decision with a reason of 200 characters takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How Gemini is asked. `temperature` None leaves the model's own.

    `max_output_tokens` is the most that a call may ask for; few markets ask for less.
    """

    model: str
    max_output_tokens: int
    timeout_s: float
    daily_budget_usd: Decimal
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is under way: its record's id, what it asks and when it began.

    `request_id` names the request in log lines and errors, as those of Upbit are named.
    """

    id: int
    request: Request
    day: date
    began_s: float
    request_id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiSource:
    """A Source that asks Gemini once about all markets.

    An input that was answered within the hour is not asked again: no decision when the answer was
    good, ModelRejected when it was not. `mask` takes secrets out of what errors say: a server may
    repeat what it was sent.
    """

    model: Model
    db: Database
    prices: Prices
    asking: Asking
    gates: Gates
    notifier: Notifier
    clock: Clock
    mask: Callable[[str], str] = str

    async def decide(self, inputs: Inputs) -> Verdict:
        """Decisions of one call; its settlement comes back with them, to be stored together.

        Raises RateLimited (closed gate) or BudgetExhausted before anything is sent or recorded,
        ModelRejected for an unusable answer, and what jobs/gemini/classify.py names; whatever was
        sent leaves a settled record.
        """
        request = self._request(inputs)
        if not await self._is_new(request):
            return Verdict(decisions=(), model=request.model)
        self.gates.check(GATE)
        call = await self._reserve(request, inputs)
        reply = await self._ask(call, inputs)
        return await self._judge(call, reply, inputs)

    def _request(self, inputs: Inputs) -> Request:
        return Request(
            model=self.asking.model,
            system=prompt.system_text(),
            prompt=prompt.render(inputs),
            schema=SCHEMA,
            max_output_tokens=min(
                self.asking.max_output_tokens, ROOM_TOKENS + TOKENS_PER_MARKET * len(inputs.markets)
            ),
            timeout_s=self.asking.timeout_s,
            temperature=self.asking.temperature,
            template=prompt.template_name(),
        )

    async def _is_new(self, request: Request) -> bool:
        outcome = await llm_calls.last_answer(
            self.db, request.fingerprint(), now=self.clock(), within=NEVER_TWICE_WITHIN
        )
        if outcome == "rejected":
            raise ModelRejected("this very input got an unusable answer already")
        return outcome is None

    async def _reserve(self, request: Request, inputs: Inputs) -> Call:
        now = self.clock()
        day = llm_calls.day_of(now)
        new = NewCall(
            model=request.model,
            prompt_hash=request.fingerprint(),
            prompt=request.record(),
            reserved_usd=self.prices.worst_case(request, day),
            at=now,
        )
        try:
            call_id = await llm_calls.reserve(self.db, new, budget_usd=self.asking.daily_budget_usd)
        except BudgetExhausted as exc:
            await self._notify(BUDGET, "The day's Gemini budget is used up", exc, inputs)
            raise
        await self.notifier.resolve(BUDGET)
        return Call(call_id, request, day, asyncio.get_running_loop().time())

    async def _ask(self, call: Call, inputs: Inputs) -> Reply:
        try:
            reply = await self.model.generate(call.request)
        except asyncio.CancelledError:
            cost = self.prices.estimate(call.request, call.day)
            await self._close(call, _failure("cancelled", replace(cost, is_known=False)))
            raise
        except JobError as exc:
            exc.context.setdefault("request_id", call.request_id)
            await self._close(call, self._unanswered(call, exc))
            if isinstance(exc, RateLimited) and exc.context.get("per_day"):
                await self._notify(QUOTA, "Gemini's quota of the day is used up", exc, inputs)
            raise
        await self.notifier.resolve(QUOTA)
        return reply

    def _unanswered(self, call: Call, error: JobError) -> Settlement:
        """No answer came: free when Gemini said so, else an estimate that is marked as one."""
        cost = Cost(usd=Decimal(0), is_known=True)
        if classify.may_be_billed(error):
            cost = replace(self.prices.estimate(call.request, call.day), is_known=False)
        outcome: Outcome = "failed"
        if error.context.get("timed_out"):
            outcome = "timeout"
        elif isinstance(error, Permanent):
            outcome = "refused"
        return replace(_failure(outcome, cost), error=prompt.storable(self.mask(str(error))))

    async def _judge(self, call: Call, reply: Reply, inputs: Inputs) -> Verdict:
        settlement = self._settlement(call, reply)
        markets = [market.market for market in inputs.markets]
        try:
            answer = read_answer(reply, markets)
        except ModelRejected as exc:
            rejected = replace(
                settlement, outcome="rejected", error=prompt.storable(self.mask(str(exc)))
            )
            await self._close(call, rejected)
            await self._notify(REJECTED, "Gemini's answer is not usable", exc, inputs)
            raise
        done = replace(
            settlement,
            outcome="partial" if answer.refused else "ok",
            verdicts=answer.verdicts,
        )
        self._tell(call, done)
        await self._say_complete(answer, inputs)
        return Verdict(
            decisions=answer.decisions,
            refused=answer.refused,
            model=reply.model_version or call.request.model,
            llm_call_id=call.id,
            settlement=done,
        )

    def _settlement(self, call: Call, reply: Reply) -> Settlement:
        usage = reply.usage
        answered_by = reply.model_version or call.request.model
        cost = self.prices.cost(answered_by, usage, call.day)
        if usage == NOTHING:  # an answer without a bill is not free
            cost = replace(self.prices.estimate(call.request, call.day), is_known=False)
        return Settlement(
            outcome="ok",
            cost_usd=cost.usd,
            cost_known=cost.is_known,
            model_version=reply.model_version,
            answer=json.dumps(reply.body, sort_keys=True, separators=(",", ":")),
            tokens_in=usage.prompt + usage.tool_use,
            tokens_out=usage.candidates,
            tokens_thought=usage.thoughts,
            tokens_cached=usage.cached,
            latency_ms=_elapsed_ms(call),
            response_id=_response_id(reply),
        )

    async def _close(self, call: Call, settlement: Settlement) -> None:
        """Settle a call that gave no decision. Without a database it stays at its worst case."""
        settled = replace(settlement, latency_ms=_elapsed_ms(call))
        self._tell(call, settled)
        try:
            async with self.db.begin() as tx:
                await llm_calls.settle(tx, call.id, settled, self.clock())
        except JobError as exc:
            logger.bind(event="gemini.unsettled", llm_call_id=call.id, error=str(exc)).error(
                "Model call could not be settled and counts at its worst case"
            )

    def _tell(self, call: Call, settlement: Settlement) -> None:
        """The call's log line, and its share of the run's tally."""
        if (tally := current_counters.get()) is not None:
            tally.tokens_in += settlement.tokens_in
            tally.tokens_out += settlement.tokens_out
            tally.tokens_thought += settlement.tokens_thought
            tally.cost_usd += settlement.cost_usd
        logger.bind(
            event="gemini.call",
            llm_call_id=call.id,
            request_id=call.request_id,
            response_id=settlement.response_id,
            model=call.request.model,
            model_version=settlement.model_version,
            is_rerouted=settlement.model_version not in {None, call.request.model},
            outcome=settlement.outcome,
            tokens_in=settlement.tokens_in,
            tokens_out=settlement.tokens_out,
            tokens_thought=settlement.tokens_thought,
            cost_usd=str(settlement.cost_usd),
            cost_known=settlement.cost_known,
            latency_ms=settlement.latency_ms,
            prompt_hash=call.request.fingerprint(),
            error=settlement.error,
        ).log("INFO" if settlement.outcome == "ok" else "WARNING", "Gemini was asked")

    async def _say_complete(self, answer: Answer, inputs: Inputs) -> None:
        if not answer.refused:
            await self.notifier.resolve(REJECTED)
            return
        named = "; ".join(f"{market}: {why}" for market, why in sorted(answer.refused.items()))
        error = ModelRejected("some markets got no usable decision", refused=named)
        await self._notify(REJECTED, "Part of Gemini's answer is not usable", error, inputs)

    async def _notify(self, incident: str, title: str, error: JobError, inputs: Inputs) -> None:
        await self.notifier.notify(
            Incident(
                kind=incident.partition(":")[0],
                severity="warning",
                incident=incident,
                title=title,
                message=prompt.storable(self.mask(str(error))),
                job=inputs.slot.job,
                run_id=inputs.slot.run_id,
                error_type=type(error).__name__,
                error=prompt.storable(self.mask(str(error))),
            )
        )


def _failure(outcome: Outcome, cost: Cost) -> Settlement:
    return Settlement(outcome=outcome, cost_usd=cost.usd, cost_known=cost.is_known)


def _response_id(reply: Reply) -> str | None:
    """Gemini's own name for its answer, for a question to Google."""
    found = reply.body.get("responseId")
    return one_line(found, LONGEST_ID) if isinstance(found, str) else None


def _elapsed_ms(call: Call) -> int:
    return round((asyncio.get_running_loop().time() - call.began_s) * 1000)
