"""What the sandbox's Gemini answers: JSON that follows the schema it was given.

For a prompt with a fenced table of markets and a schema that asks for decisions, the decisions
follow the table's momentum, so that the same features always give the same answer. For any other
schema the smallest document that satisfies it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

FENCE = re.compile(r"<market_data>\s*(\{.*\})\s*</market_data>", re.DOTALL)
MOMENTUM = ("ret_15", "ret_5", "ret_1", "change_24h_pct")
MOVE_PCT = Decimal("0.05")
LOSS_PCT = Decimal(-1)
INTEGER_TYPES = ("", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
DECISION = {"market", "action", "confidence", "reason"}

Json = Mapping[str, object]


def answer(prompt: str, schema: Json | None) -> str:
    """The text of a STOP answer to `prompt`; JSON when a schema was given."""
    if schema is None:
        return "This is the sandbox. Nothing was asked that it can compute."
    rows = market_rows(prompt)
    if rows and _asks_for_decisions(schema):
        return _dump({"decisions": decisions(rows)})
    return _dump(example(schema))


def market_rows(prompt: str) -> list[dict[str, object]]:
    """The rows of the prompt's market table as dictionaries; none when it has no such table."""
    if (match := FENCE.search(prompt)) is None:
        return []
    try:
        table = json.loads(match[1])
        return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    except (ValueError, KeyError, TypeError):
        return []


def decisions(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Buy what rises, sell what falls, hold the rest; with nothing held at least one buy."""
    made = [_decide(row) for row in rows]
    holds_nothing = all(row.get("position_return_pct") is None for row in rows)
    if holds_nothing and not any(each["action"] == "buy" for each in made):
        best = max(range(len(rows)), key=lambda index: (momentum(rows[index]), -index))
        made[best] = _decision(rows[best], "buy", Decimal("0.62"), "Strongest of the table")
    return made


def momentum(row: Mapping[str, object]) -> Decimal:
    """The first known move of the row, in per cent; 0 when none is known."""
    for name in MOMENTUM:
        if (value := _number(row.get(name))) is not None:
            return value
    return Decimal(0)


def example(schema: Json) -> object:
    """The smallest value that satisfies `schema` (OpenAPI or JSON Schema, names or numbers)."""
    if enum := schema.get("enum"):
        return enum[0] if isinstance(enum, list) else None
    options = schema.get("anyOf", schema.get("any_of"))
    if isinstance(options, list) and options:
        return example(options[0])
    kind = schema_type(schema)
    if kind == "OBJECT":
        return {name: example(part) for name, part in _properties(schema).items()}
    if kind == "ARRAY":
        items = schema.get("items")
        return [example(items)] if isinstance(items, dict) else []
    low = _number(schema.get("minimum")) or Decimal(0)
    plain: dict[str, object] = {"NUMBER": float(low), "INTEGER": int(low), "BOOLEAN": True}
    return plain.get(kind, "sandbox")


def schema_type(schema: Json) -> str:
    """The type's upper-case name, however the client spelt it."""
    kind = schema.get("type", schema.get("type_"))
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "")
    if isinstance(kind, int):
        return INTEGER_TYPES[kind] if 0 <= kind < len(INTEGER_TYPES) else ""
    return str(kind or "").upper()


def _properties(schema: Json) -> dict[str, Json]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _asks_for_decisions(schema: Json) -> bool:
    items = _properties(schema).get("decisions", {}).get("items")
    return isinstance(items, dict) and set(_properties(items)) >= DECISION


def _decide(row: Mapping[str, object]) -> dict[str, object]:
    move = momentum(row)
    held = _number(row.get("position_return_pct"))
    strength = min(Decimal("0.33"), abs(move) / 4)
    confidence = Decimal("0.62") + strength
    if move > MOVE_PCT:
        return _decision(row, "buy", confidence, f"Rising {move} per cent")
    if move < -MOVE_PCT or (held is not None and held < LOSS_PCT):
        return _decision(row, "sell", confidence, f"Falling, {move} per cent")
    return _decision(row, "hold", Decimal("0.55"), f"Quiet, {move} per cent")


def _decision(
    row: Mapping[str, object], action: str, confidence: Decimal, why: str
) -> dict[str, object]:
    rounded = confidence.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return {
        "market": row["market"],
        "action": action,
        "confidence": float(rounded),
        "reason": f"{why} over the last candles; rsi_14 {row.get('rsi_14') or 'unknown'}.",
    }


def _number(value: object) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
