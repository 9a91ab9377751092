"""How the jobs ran and what the model cost since an instant, computed in the database."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, Float, Integer, cast, func, select

from jobs.store.db import Database
from jobs.store.llm_calls import day_of
from jobs.store.tables import job_runs, llm_calls

NOT_TRIED = ("skipped", "cancelled")
"""Slots that say nothing about whether the job works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStats:
    """How one job ran. `slots` are all that came due, `runs` those that were tried to an end.

    `recovered` runs came right after at least one retry; of `retried` ones. Durations in seconds,
    retries included; None where nothing ran.
    """

    job: str
    slots: int
    runs: int
    ok: int
    skipped: int
    retries: int
    retried: int
    recovered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None

    @property
    def success_rate(self) -> float | None:
        """The share of runs that went well, None where nothing ran."""
        return self.ok / self.runs if self.runs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDay:
    """What one model used on one Korean day. `is_estimate`: some cost is not known exactly."""

    day: date
    model: str
    calls: int
    ok: int
    tokens_in: int
    tokens_out: int
    tokens_thought: int
    cost_usd: Decimal
    is_estimate: bool


async def job_stats(db: Database, since: datetime) -> list[JobStats]:
    """Return every job that had a slot at or after `since`, by name."""
    c = job_runs.c
    tried = c.started_at.is_not(None) & c.outcome.not_in(NOT_TRIED)
    ok = c.outcome == "ok"
    query = (
        select(
            c.job,
            func.count().label("slots"),
            func.count().filter(tried).label("runs"),
            func.count().filter(ok).label("ok"),
            func.count().filter(c.outcome == "skipped").label("skipped"),
            cast(func.coalesce(func.sum(func.greatest(c.attempts - 1, 0)), 0), Integer).label(
                "retries"
            ),
            func.count().filter(tried, c.attempts > 1).label("retried"),
            func.count().filter(ok, c.attempts > 1).label("recovered"),
            *(_percentile(share, tried).label(f"p{share}_s") for share in (50, 95, 99)),
        )
        .where(c.scheduled_at >= since, c.outcome.is_not(None))
        .group_by(c.job)
        .order_by(c.job)
    )
    async with db.begin() as tx:
        return [JobStats(**row) for row in (await tx.execute(query)).mappings()]


def _percentile(share: int, tried: ColumnElement[bool]) -> ColumnElement[float]:
    order = func.percentile_cont(share / 100).within_group(job_runs.c.duration_s)
    return cast(order.filter(tried), Float)


async def model_days(db: Database, since: datetime) -> list[ModelDay]:
    """Return what every model used on every Korean day from that of `since` on, newest first."""
    c = llm_calls.c
    unsettled = c.outcome == "reserved"
    cost = func.sum(c.cost_usd).filter(~unsettled)
    reserved = func.sum(c.reserved_usd).filter(unsettled)
    query = (
        select(
            c.day,
            func.coalesce(c.model_version, c.model).label("model"),
            func.count().label("calls"),
            func.count().filter(c.outcome.in_(("ok", "partial"))).label("ok"),
            func.sum(c.tokens_in).label("tokens_in"),
            func.sum(c.tokens_out).label("tokens_out"),
            func.sum(c.tokens_thought).label("tokens_thought"),
            (func.coalesce(cost, 0) + func.coalesce(reserved, 0)).label("cost_usd"),
            func.bool_or(unsettled | ~c.cost_known).label("is_estimate"),
        )
        .where(c.day >= day_of(since))
        .group_by(c.day, func.coalesce(c.model_version, c.model))
        .order_by(c.day.desc(), func.coalesce(c.model_version, c.model))
    )
    async with db.begin() as tx:
        return [ModelDay(**row) for row in (await tx.execute(query)).mappings()]
