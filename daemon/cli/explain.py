"""`upbitd explain ORDER`: one order's whole story, from the market it saw to the ledger."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli import zone
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import COLOURS, console, plain, to_json
from jobs.core.untrusted import clean
from jobs.gemini.record import Record, decision_of
from jobs.store.db import Database
from jobs.store.order_events import Event
from jobs.store.story import Story, story

Line = tuple[str, str]
ANSWER_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A story, with the model call its signal came from (None: no model was asked)."""

    story: Story
    call: Record | None


def explain(
    order: Annotated[
        str, typer.Argument(metavar="ORDER", help="Its id, its identifier or the venue's uuid.")
    ],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Tell the whole story of one order.

    Market data, prompt and answer, signal, risk verdict, intent, every attempt, fills, ledger.
    Exit code 1 when there is no such order.

    Example: upbitd explain upd-01m7vvswm0b91rejwcmardyt81
    """
    found = with_database(read_config(config, keys=False), lambda db: _find(db, order))
    if found is None:
        fail(f"there is no order {order}: see `upbitd orders`")
    if as_json:
        typer.echo(to_json(as_dict(found)))
        return
    out = console()
    for heading, lines in sections(found):
        _print(out, heading, lines)


async def _find(db: Database, name: str) -> Explained | None:
    told = await story(db, name)
    if told is None:
        return None
    signal = told.signal
    asked = None if signal is None else signal.llm_call_id
    return Explained(story=told, call=None if asked is None else await decision_of(db, asked))


def as_dict(found: Explained) -> dict[str, Any]:
    """The story as plain values for JSON."""
    call = None
    if found.call is not None:
        stored = found.call.call
        left_out = {"prompt", "signals"}
        call = {name: getattr(stored, name) for name in stored.__slots__ if name not in left_out}
    return {**asdict(found.story), "model_call": call}


def sections(found: Explained) -> Iterator[tuple[str, list[Line]]]:
    """The story in the order in which it happened, a heading and its lines at a time."""
    told = found.story
    if told.market is not None:
        yield "market data", _fields(asdict(told.market))
    if found.call is not None:
        yield "model", _model(found.call)
    if told.signal is not None:
        yield "signal", _fields(asdict(told.signal), without=("llm_call_id",))
    yield "risk and intent", _intent(told)
    yield "attempts", [_event(event) for event in told.events if event.kind != "intent"]
    yield "fills", [_fill(number, told) for number in range(len(told.fills))] or [("", "none")]
    yield "order now", _now(told)
    yield "ledger", _ledger(told)


def _model(record: Record) -> list[Line]:
    call = record.call
    answer = " ".join((record.text or call.error or "nothing came back").split())
    return _fields(
        {
            "call": call.id,
            "model": call.model_version or call.model,
            "prompt sha256": call.prompt_hash,
            "answer": answer[:ANSWER_SHOWN] + (" ..." if len(answer) > ANSWER_SHOWN else ""),
            "outcome": call.outcome,
            "tokens": f"{call.tokens_in} in, {call.tokens_out} out, {call.tokens_thought} thought",
            "cost USD": call.cost_usd,
        }
    )


def _intent(told: Story) -> list[Line]:
    order = told.order
    detail = next((event.detail for event in told.events if event.kind == "intent"), {})
    return _fields(
        {
            "at": order.created_at,
            "why": detail.get("why"),
            "verdict": detail.get("verdict"),
            "order": _shape(told),
            "reserved KRW": order.reserved_krw,
            "identifier": order.identifier,
            "mode": order.mode,
            "purpose": order.purpose,
            "leadership": order.epoch,
        }
    )


def _shape(told: Story) -> str:
    order = told.order
    parts = [order.side, order.market, order.ord_type, order.time_in_force]
    parts += [None if order.volume is None else f"volume {plain(order.volume)}"]
    parts += [None if order.price is None else f"price {plain(order.price)}"]
    return " ".join(part for part in parts if part)


def _event(event: Event) -> Line:
    moved = f"{event.from_state} -> {event.to_state}  " if event.to_state else ""
    detail = ", ".join(f"{key} {value}" for key, value in event.detail.items() if value is not None)
    return zone.clock(event.at), f"{event.kind:<16}{moved}{detail}"


def _fill(number: int, told: Story) -> Line:
    stored = told.fills[number]
    fill = stored.fill
    return zone.clock(fill.ts), (
        f"{plain(fill.volume)} at {plain(fill.price)} = {plain(fill.funds)} KRW, "
        f"fee {plain(fill.fee)}, realized {plain(stored.realized_krw)}"
    )


def _now(told: Story) -> list[Line]:
    order = told.order
    return _fields(
        {
            "state": order.state.value,
            "reason": order.reason,
            "uuid": order.uuid,
            "executed": f"{plain(order.executed_volume)} for {plain(order.executed_funds)} KRW",
            "fee KRW": order.paid_fee,
            "updated": order.updated_at,
        }
    )


def _ledger(told: Story) -> list[Line]:
    ledger, holding = told.ledger, told.ledger.holding
    realized = sum((each.realized_krw for each in told.fills), Decimal(0))
    return _fields(
        {
            "this order realized KRW": realized,
            "position now": f"{plain(holding.volume)} at {plain(holding.avg_price)}",
            "position realized KRW": holding.realized_krw,
            "account next KRW": ledger.equity_krw,
            "account next at": ledger.equity_at,
        }
    )


def _fields(values: Mapping[str, object], without: tuple[str, ...] = ()) -> list[Line]:
    return [(name, _told(value)) for name, value in values.items() if name not in without]


def _told(value: object) -> str:
    return zone.named_stamp(value) if isinstance(value, datetime) else plain(value)


def _print(out: Console, heading: str, lines: list[Line]) -> None:
    out.print(Text(heading, style="bold"))
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        out.print(
            Text(f"  {name:<{width}}  "), Text(clean(value), style=COLOURS.get(value, "")), sep=""
        )


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(explain)
