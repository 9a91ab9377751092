"""A model's answers of earlier, as a source: what it said about a candle, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from jobs.signals.protocol import Decision, Inputs, Verdict
from jobs.store.db import Database
from jobs.store.tables import llm_calls, signals

MISSING = "no recorded answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSource:
    """Repeats `answers`, by market and start of the newest candle; asks nobody."""

    answers: Mapping[tuple[str, datetime], Decision]
    model: str

    async def decide(self, inputs: Inputs) -> Verdict:
        """The recorded decisions; a market without one is refused by name."""
        found, refused = [], {}
        for market in inputs.markets:
            answer = self.answers.get((market.market, market.features.candle_ts))
            if answer is None:
                refused[market.market] = MISSING
            else:
                found.append(answer)
        return Verdict(decisions=tuple(found), model=self.model, refused=refused)


async def load(db: Database, source: str, *, since: datetime, until: datetime) -> RecordedSource:
    """The answers of model calls that `source` made about candles in [since, until)."""
    c = signals.c
    query = (
        select(c.market, c.candle_ts, c.action, c.confidence, c.reason, c.model)
        .join(llm_calls, llm_calls.c.id == c.llm_call_id)
        .where(
            c.source == source,
            c.candle_ts >= since,
            c.candle_ts < until,
            llm_calls.c.outcome.in_(("ok", "partial")),
        )
        .order_by(c.candle_ts, c.market)
    )
    async with db.begin() as tx:
        rows = (await tx.execute(query)).all()
    answers = {
        (row.market, row.candle_ts): Decision(
            market=row.market,
            action=row.action,
            confidence=row.confidence,
            reason=row.reason,
        )
        for row in rows
    }
    models = sorted({row.model for row in rows})
    return RecordedSource(answers=answers, model=", ".join(models) or "none")
