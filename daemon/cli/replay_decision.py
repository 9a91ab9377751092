"""`upbitd replay-decision ID`: a stored model call, read again offline, compared bit for bit."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from daemon.cli import zone
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import console, plain, to_json
from daemon.redaction import Masker
from jobs.core.untrusted import clean
from jobs.gemini.record import Record, Replayed, decision_of, replay


def replay_decision(
    llm_call_id: Annotated[int, typer.Argument(metavar="ID", help="The id of a model call.")],
    config: ConfigOption = None,
    *,
    prompt: Annotated[bool, typer.Option("--prompt", help="Show the whole prompt, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the model was asked, what came back and what was decided, and decide it again.

    Nobody is asked: the stored answer is read with today's code, and everything that follows from
    it is compared with what was stored. Exit code 1 when something differs, or there is no such
    call. The id stands in `upbitd signals --json` as llm_call_id.

    Example: upbitd replay-decision 4711
    """
    settings = read_config(config, keys=False)
    record = with_database(settings, lambda db: decision_of(db, llm_call_id))
    if record is None:
        fail(f"there is no model call {llm_call_id}")
    replayed = replay(record, mask=Masker(settings.sensitive()))
    if as_json:
        typer.echo(to_json(as_dict(record, replayed)))
    else:
        _show(record, replayed, with_prompt=prompt)
    if not replayed.is_identical:
        raise typer.Exit(1)


def as_dict(record: Record, replayed: Replayed) -> dict[str, Any]:
    """The record and its replay as plain values for JSON."""
    call = record.call
    stored = {name: getattr(call, name) for name in call.__slots__ if name != "signals"}
    return {
        **stored,
        "template": record.template,
        "markets": record.markets,
        "text": record.text,
        "signals": [
            {name: getattr(each, name) for name in each.__slots__} for each in call.signals
        ],
        "replayed": {
            "outcome": replayed.outcome,
            "verdicts": dict(replayed.verdicts),
            "identical": replayed.is_identical,
            "differences": replayed.differences,
        },
    }


def _show(record: Record, replayed: Replayed, *, with_prompt: bool) -> None:
    out = console()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(record):
        facts.add_row(name, Text(plain(value)))
    out.print(facts)
    if with_prompt:
        for part in ("system", "prompt"):
            out.print(Text(clean(f"\n{record.asked.get(part, '')}")))
    if record.call.verdicts:
        out.print(_verdicts(record))
    if replayed.is_identical:
        out.print("Replayed offline: identical.")
        return
    for difference in replayed.differences:
        out.print(Text(clean(f"differs: {difference}")))


def _facts(record: Record) -> Iterator[tuple[str, object]]:
    call = record.call
    yield "call", call.id
    yield "asked at", zone.named_stamp(call.created_at)
    yield "model", f"{call.model}, answered by {call.model_version or 'nobody'}"
    yield "template", record.template
    yield "prompt", f"{len(call.prompt)} characters, sha256 {call.prompt_hash}"
    yield "markets", ", ".join(record.markets) or None
    yield "outcome", call.outcome
    yield "error", call.error
    yield (
        "tokens",
        (
            f"{call.tokens_in} in ({call.tokens_cached} cached), {call.tokens_out} out, "
            f"{call.tokens_thought} thought"
        ),
    )
    known = "" if call.cost_known else " (an upper bound)"
    yield "cost", f"{plain(call.cost_usd)} USD{known}, {plain(call.reserved_usd)} reserved"
    yield "latency", None if call.latency_ms is None else f"{call.latency_ms} ms"


def _verdicts(record: Record) -> Table:
    made = {each.market: each for each in record.call.signals}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("MARKET", "VERDICT", "CONFIDENCE", "SIGNAL", "REASON"):
        table.add_column(heading, overflow="fold")
    for market, verdict in sorted(record.call.verdicts.items()):
        signal = made.get(market)
        cells = (signal.confidence, signal.id, signal.reason) if signal else (None, None, None)
        # as text: what a model wrote must not be taken for markup
        table.add_row(*(Text(plain(each)) for each in (market, verdict, *cells)))
    return table


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="replay-decision")(replay_decision)
