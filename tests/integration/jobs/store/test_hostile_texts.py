"""Every writer of foreign texts takes every text: what Postgres cannot hold is replaced there."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from daemon.alerting.channels import Undelivered
from daemon.alerting.outbox import Origin, Outbox
from daemon.scheduling.slot_ledger import SlotLedger, new_slot, skipped
from jobs.core.cooldowns import Closed
from jobs.core.job import Incident
from jobs.domain.due_exits import DueExit
from jobs.store import cooldowns as gate_rows
from jobs.store import due_exits, job_controls, llm_calls, market_data, requests, signals
from jobs.store import markets as market_store
from jobs.store.db import Database
from jobs.store.llm_calls import NewCall, Settlement
from jobs.store.requests import Address
from jobs.store.signals import NewSignal
from jobs.upbit.wire import Market, Ticker

AT = datetime.now(UTC).replace(microsecond=0)
ANY = st.text(st.characters(exclude_categories=()), min_size=1, max_size=300)
numbers = itertools.count(1)


class Hook:
    """Takes what can be sent as UTF-8."""

    name = "hook"
    min_severity = "info"
    timeout_s = 5.0

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    async def send(self, body: Mapping[str, Any]) -> None:
        try:
            repr(body["message"]).encode()
            str(body["message"]).encode()
        except UnicodeEncodeError as exc:
            raise Undelivered(str(exc)) from exc
        self.told.append(body)


async def _slots(db: Database, hostile: str) -> None:
    ledger = SlotLedger(db, lambda _: None, lambda: AT)
    ledger.close(skipped(new_slot("orders", AT + timedelta(seconds=next(numbers))), hostile, AT))
    await ledger.flush()
    assert ledger.unwritten == 0


async def _alerts(db: Database, hostile: str) -> None:
    hook = Hook()
    origin = Origin(host="h", instance="i")
    outbox = Outbox(db, [hook], origin, dedupe=timedelta(minutes=15), clock=lambda: AT)
    key = f"k{next(numbers)}:{hostile}"
    incident = Incident(
        kind="retry_exhausted",
        severity="critical",
        incident=key,
        title=hostile,
        message=hostile,
        job=hostile,
        run_id=hostile,
        error_type=hostile,
        error=hostile,
        market=hostile,
        identifier=hostile,
        advice=hostile,
    )
    await outbox.notify(incident)
    await outbox.resolve(key)
    await outbox.deliver_due()
    assert outbox.waiting == 0
    assert [body["kind"] for body in hook.told] == ["retry_exhausted", "recovered"]


async def _rows(db: Database, hostile: str) -> None:
    number = next(numbers)
    market = f"KRW-{number}"
    await gate_rows.save(db, Closed(name=hostile, until=AT, source="ban", reason=hostile))
    await gate_rows.lift(db, [hostile], now=AT - timedelta(hours=1), by=hostile)
    await job_controls.pause(db, ["market"], paused=number % 2 == 0, by=hostile)
    asked = await requests.ask(
        db, Address(mode="live", instance="i"), "c", {hostile: [hostile]}, by=hostile, within_s=1
    )
    await requests.answer(db, asked, "done", {"said": hostile, hostile: float("nan")})
    marks = Market(
        market=market, korean_name=hostile, english_name=hostile, warning=True, cautions=(hostile,)
    )
    await market_store.save(db, [marks])
    ticker = Ticker(
        market=market,
        price=Decimal(1),
        volume_24h=Decimal(1),
        value_24h=Decimal(1),
        change_rate=Decimal(0),
        ts=AT,
    )
    ids = await market_data.insert(db, [ticker])
    await _decision(db, hostile, market, ids[market])


async def _decision(db: Database, hostile: str, market: str, data_id: int) -> None:
    new = NewCall(model=hostile, prompt_hash="h", prompt=hostile, reserved_usd=Decimal(0), at=AT)
    call = await llm_calls.reserve(db, new, budget_usd=Decimal(1))
    settled = Settlement(
        outcome="failed",
        cost_usd=Decimal(0),
        model_version=hostile,
        answer=hostile,
        error=hostile,
        verdicts={hostile: hostile},
    )
    signal = NewSignal(
        market_data_id=data_id,
        market=market,
        action="hold",
        confidence=Decimal(1),
        reason=hostile,
        source=hostile,
        model=hostile,
        llm_call_id=call,
        candle_ts=AT,
        created_at=AT,
    )
    async with db.begin() as conn:
        assert await llm_calls.settle(conn, call, settled, AT)
        assert await signals.insert_new(conn, [signal])
        await due_exits.save(
            conn, "live", market, DueExit(purpose="stop_loss", reason=hostile, since=AT)
        )


@given(ANY)
@example("bad \ud800 text \x00 \x1b[2J \u202e")
@example("\x00")
@example("\\u0000 \\ud800")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_every_writer_takes_every_text(database: Database, hostile: str) -> None:
    await _slots(database, hostile)
    await _alerts(database, hostile)
    await _rows(database, hostile)
    async with database.begin() as conn:
        errors = await conn.execute(text("SELECT DISTINCT error FROM llm_calls"))
        assert all("\x00" not in row[0] for row in errors)
