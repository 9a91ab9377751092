"""A decision made over real HTTP and a real database, read again offline by the command."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from fixtures.decisions import Decisions
from typer.testing import CliRunner, Result

from daemon.cli import replay_decision
from jobs.core.errors import JobError
from jobs.gemini.record import decision_of, read_record, replay
from jobs.store.llm_records import find

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    """Call the command as a person does; it brings its own event loop."""
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{dsn}'\n")
    app = typer.Typer()
    app.callback()(lambda: None)
    replay_decision.register(app)

    async def call(*arguments: str) -> Result:
        command = ["replay-decision", *arguments, "--config", str(path)]
        return await asyncio.to_thread(CliRunner().invoke, app, command, catch_exceptions=False)

    return call


async def made(decisions: Decisions, scenario: str) -> int:
    """The id of the call that met `scenario`."""
    decisions.server.fake.script.append(scenario)
    with contextlib.suppress(JobError):
        await decisions.run()
    return int(decisions.rows("SELECT max(id) AS id FROM llm_calls")[0]["id"])


@pytest.mark.parametrize(
    ("scenario", "outcome"),
    [
        ("ok", "ok"),
        ("thoughts-and-cache", "ok"),
        ("unknown-fields", "ok"),
        ("rerouted", "ok"),
        ("out-of-range", "partial"),
        ("off-list", "partial"),
        ("doubled", "partial"),
        ("prose", "rejected"),
        ("nan", "rejected"),
        ("safety", "rejected"),
        ("empty", "rejected"),
        ("503", "failed"),
        ("400-key", "refused"),
    ],
)
async def test_every_decision_is_reproduced(
    decisions: Decisions, run: Run, scenario: str, outcome: str
) -> None:
    call_id = await made(decisions, scenario)
    result = await run(str(call_id), "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["replayed"]["differences"]) == (0, [])
    assert told["outcome"] == told["replayed"]["outcome"] == outcome
    assert told["markets"] == ["KRW-BTC", "KRW-ETH", "KRW-XRP"]
    assert told["template"].startswith("v3:")


async def test_a_person_sees_what_was_asked_answered_and_decided(
    decisions: Decisions, run: Run
) -> None:
    call_id = await made(decisions, "out-of-range")
    result = await run(str(call_id), "--prompt")
    assert result.exit_code == 0
    assert "Replayed offline: identical." in result.stdout
    assert "confidence is not a number in [0, 1]" in result.stdout
    assert "You are the analyst" in result.stdout
    assert "<market_data>" in result.stdout


CHANGES = {
    "UPDATE llm_calls SET prompt = replace(prompt, 'KRW-BTC', 'KRW-XYZ')": "another fingerprint",
    "UPDATE llm_calls SET prompt = prompt || ' '": "not in its canonical form",
    "UPDATE llm_calls SET prompt = ''": "the prompt's retention is over",
    "UPDATE llm_calls SET answer = 'hello'": "the answer is no JSON",
    "UPDATE llm_calls SET answer = replace(answer, 'STOP', 'SAFETY')": "now rejected",
    "UPDATE llm_calls SET answer = ' ' || answer": "the stored answer is not in its canonical",
    "UPDATE llm_calls SET tokens_out = tokens_out + 1": "tokens_out: stored",
    "UPDATE llm_calls SET model_version = 'other'": "model_version: stored other",
    "UPDATE llm_calls SET outcome = 'partial'": "outcome: stored partial, now ok",
    "UPDATE llm_calls SET verdicts = '{}'": "KRW-BTC: stored None, now",
    "UPDATE signals SET confidence = 0.01 WHERE market = 'KRW-BTC'": "is not what the answer says",
    "UPDATE signals SET reason = reason || '.' WHERE market = 'KRW-BTC'": "is not what the answer",
    "DELETE FROM signals WHERE market = 'KRW-BTC'": "the decision is in no signal",
    "UPDATE signals SET market = 'KRW-DOGE' WHERE market = 'KRW-BTC'": "is in no decision",
    "UPDATE llm_calls SET outcome = 'failed'": "came from no answer",
}


@pytest.mark.parametrize(("change", "said"), CHANGES.items(), ids=CHANGES.values())
async def test_whatever_was_changed_is_named(
    decisions: Decisions, run: Run, change: str, said: str
) -> None:
    call_id = await made(decisions, "ok")
    with psycopg.connect(decisions.dsn) as connection:
        connection.execute(change.encode())
    result = await run(str(call_id))
    assert result.exit_code == 1
    assert said in result.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE llm_calls SET error = 'x'", "error: stored 'x'"),
        ("UPDATE llm_calls SET answer = '[1]'", "the answer is no JSON"),
    ],
)
async def test_a_changed_rejection_is_named(
    decisions: Decisions, run: Run, change: str, said: str
) -> None:
    call_id = await made(decisions, "prose")
    with psycopg.connect(decisions.dsn) as connection:
        connection.execute(change.encode())
    result = await run(str(call_id))
    assert (result.exit_code, said in result.stdout) == (1, True)


async def test_a_signal_of_a_rejected_answer_is_named(decisions: Decisions) -> None:
    await made(decisions, "ok")
    call_id = await made_next(decisions, "prose")
    with psycopg.connect(decisions.dsn) as connection:
        connection.execute("UPDATE signals SET llm_call_id = %s", (call_id,))
    record = await decision_of(decisions.db, call_id)
    assert record is not None
    assert any("an answer that is rejected" in each for each in replay(record).differences)


async def made_next(decisions: Decisions, scenario: str) -> int:
    """The same about the next candle."""
    await decisions.feed(decisions.minutes + 1)
    return await made(decisions, scenario)


async def test_a_call_that_is_not_there(run: Run) -> None:
    result = await run("4711")
    assert (result.exit_code, result.stderr) == (1, "upbitd: there is no model call 4711\n")


async def test_a_record_of_before_templates_were_named_has_none(decisions: Decisions) -> None:
    call = await find(decisions.db, await made(decisions, "ok"))
    assert call is not None
    asked: dict[str, Any] = json.loads(call.prompt)
    assert read_record(call).template == asked["template"]
    del asked["template"]
    with psycopg.connect(decisions.dsn) as connection:
        connection.execute("UPDATE llm_calls SET prompt = %s", (json.dumps(asked),))
    record = await decision_of(decisions.db, call.id)
    assert record is not None
    assert record.template is None
