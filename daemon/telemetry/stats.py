"""Statistics of jobs and model, from the database or from the daemon's own log lines."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from statistics import quantiles
from typing import Any

from daemon.telemetry.log_reading import NotOurs, Numbered, Unreadable, documents
from jobs.store.db import Database
from jobs.store.llm_calls import day_of
from jobs.store.shadow import Difference, difference
from jobs.store.statistics import NOT_TRIED, JobStats, ModelDay, job_stats, model_days

FAULTS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A line that could not be counted: where it stands and why."""

    place: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How jobs ran, what the model used, and how a paper twin differs from the live account.

    `lines` were read; `malformed` of them could not be counted, `foreign` of those because they are
    not the daemon's; `faults` names the first ten.
    """

    since: datetime | None
    jobs: list[JobStats]
    days: list[ModelDay]
    shadow: Difference | None = None
    lines: int = 0
    malformed: int = 0
    foreign: int = 0
    faults: list[Fault] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON; money as text."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "jobs": [asdict(each) | {"success_rate": each.success_rate} for each in self.jobs],
            "days": [
                asdict(each) | {"day": each.day.isoformat(), "cost_usd": str(each.cost_usd)}
                for each in self.days
            ],
            "shadow": None if self.shadow is None else _texts(asdict(self.shadow)),
            "lines": self.lines,
            "malformed": self.malformed,
            "foreign": self.foreign,
            "faults": [asdict(each) for each in self.faults],
        }


async def collect(db: Database, since: datetime) -> Stats:
    """Return the statistics of everything since an instant, from the database."""
    return Stats(
        since=since,
        jobs=await job_stats(db, since),
        days=await model_days(db, since),
        shadow=await difference(db, since),
    )


def _texts(values: Mapping[str, object]) -> dict[str, object]:
    """Money as text, so that no digit is lost."""
    return {
        name: format(each, "f") if isinstance(each, Decimal) else each
        for name, each in values.items()
    }


def from_lines(lines: Iterable[Numbered], since: datetime | None) -> Stats:
    """Return the statistics of log lines at or after `since` (None: of all).

    Those that say nothing of slots and model calls are passed over; broken ones, and lines of
    others, are counted and named.
    """
    jobs: defaultdict[str, _Job] = defaultdict(_Job)
    models: defaultdict[tuple[date, str], _Model] = defaultdict(_Model)
    faults: list[Fault] = []
    read = malformed = foreign = 0
    for place, document in documents(lines):
        read += 1
        try:
            if isinstance(document, Unreadable):
                raise document
            _count(document, since, jobs, models)
        except (ValueError, KeyError, TypeError, InvalidOperation) as exc:
            malformed += 1
            foreign += isinstance(exc, NotOurs)
            if len(faults) < FAULTS_SHOWN:
                faults.append(Fault(place=place, why=_why(exc)))
    return Stats(
        since=since,
        jobs=[job.stats(name) for name, job in sorted(jobs.items()) if job.outcomes],
        days=[
            model.stats(day, name)
            for (day, name), model in sorted(
                models.items(), key=lambda each: (-each[0][0].toordinal(), each[0][1])
            )
            if model.calls
        ],
        lines=read,
        malformed=malformed,
        foreign=foreign,
        faults=faults,
    )


@dataclass(slots=True)
class _Job:
    """What is counted of one job while its lines come in."""

    outcomes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    durations_s: list[float] = field(default_factory=list)
    retries: int = 0
    retried: int = 0
    recovered: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line, or raise and leave everything as it was."""
        outcome, attempts = str(line["outcome"]), int(line["attempts"])
        duration_s = float(line["duration_s"])
        tried = line["started_at"] is not None and outcome not in NOT_TRIED
        self.outcomes[outcome] += 1
        self.retries += max(0, attempts - 1)
        if tried:
            self.durations_s.append(duration_s)
            self.retried += attempts > 1
            self.recovered += attempts > 1 and outcome == "ok"

    def stats(self, name: str) -> JobStats:
        """What was counted."""
        p50, p95, p99 = (_percentile(self.durations_s, share) for share in (50, 95, 99))
        return JobStats(
            job=name,
            slots=sum(self.outcomes.values()),
            runs=len(self.durations_s),
            ok=self.outcomes["ok"],
            skipped=self.outcomes["skipped"],
            retries=self.retries,
            retried=self.retried,
            recovered=self.recovered,
            p50_s=p50,
            p95_s=p95,
            p99_s=p99,
        )


@dataclass(slots=True)
class _Model:
    """What is counted of one model on one day."""

    calls: int = 0
    ok: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    cost_usd: Decimal = Decimal(0)
    is_estimate: bool = False

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line, or raise and leave everything as it was."""
        tokens = [int(line[f"tokens_{kind}"]) for kind in ("in", "out", "thought")]
        cost_usd = Decimal(line["cost_usd"])
        self.calls += 1
        self.ok += line["outcome"] in {"ok", "partial"}
        self.tokens_in += tokens[0]
        self.tokens_out += tokens[1]
        self.tokens_thought += tokens[2]
        self.cost_usd += cost_usd
        self.is_estimate |= not line.get("cost_known", True)

    def stats(self, day: date, name: str) -> ModelDay:
        """What was counted."""
        return ModelDay(
            day=day,
            model=name,
            calls=self.calls,
            ok=self.ok,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            tokens_thought=self.tokens_thought,
            cost_usd=self.cost_usd,
            is_estimate=self.is_estimate,
        )


def _count(
    document: Mapping[str, Any],
    since: datetime | None,
    jobs: defaultdict[str, _Job],
    models: defaultdict[tuple[date, str], _Model],
) -> None:
    """Count one line. Raises ValueError, KeyError, TypeError or InvalidOperation when broken."""
    event = document.get("event")
    if event not in {"job.metric", "gemini.call"}:
        return
    at = datetime.fromisoformat(
        document["scheduled_at"] if event == "job.metric" else document["ts"]
    )
    if since is not None and at < since:
        return
    if event == "job.metric":
        jobs[str(document["job"])].add(document)
        return
    name = document.get("model_version") or document["model"]
    models[day_of(at), str(name)].add(document)


def _why(exc: Exception) -> str:
    if isinstance(exc, KeyError):
        return f"{exc.args[0]} is missing"
    if isinstance(exc, Unreadable):
        return str(exc)
    return f"{type(exc).__name__}: {exc}"


def _percentile(values: list[float], share: int) -> float | None:
    """The same as percentile_cont in SQL."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[share - 1]
