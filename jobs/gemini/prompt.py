"""Inputs → the one prompt for all markets, from versioned templates.

A template is never edited once released: a new wording is a new version, so that the fingerprint
in the decision record names one text. What comes from outside (market names) is fenced, and cannot
close its fence; nothing here knows a balance or a key.
"""

import json
import re
import unicodedata
from decimal import Decimal
from importlib.resources import files
from string import Template

from jobs.decisions import Inputs, MarketInput
from jobs.features import NAMES

VERSION = "v1"
LONGEST_NAME = 40
MILLION = Decimal(1_000_000)
KEY_LIKE = re.compile(r"AIza[\w-]{20,}|\b[A-Za-z0-9_]{32,}\b")

COLUMNS = (
    "market",
    "name",
    "candle_utc",
    "price",
    "change_24h_pct",
    "value_24h_mkrw",
    *NAMES,
    "position_return_pct",
    "position_minutes",
)


def system_text(version: str = VERSION) -> str:
    """The system instruction of a template version."""
    return _template("system", version)


def render(inputs: Inputs, version: str = VERSION) -> str:
    """The prompt about all markets of `inputs`; the same inputs give the same text."""
    table = {"columns": COLUMNS, "rows": [_row(market) for market in inputs.markets]}
    text = Template(_template("table", version)).substitute(
        unit=inputs.markets[0].features.unit,
        table=_fenced(json.dumps(table, ensure_ascii=False, separators=(",", ":"))),
        count=len(inputs.markets),
    )
    return masked(text)


def masked(text: str) -> str:
    """`text` without anything that looks like a key."""
    return KEY_LIKE.sub("***", text)


def _row(market: MarketInput) -> list[object]:
    held = market.holding
    return [
        market.market,
        _label(market.name),
        f"{market.features.candle_ts:%Y-%m-%dT%H:%M}",
        f"{market.price:f}",
        f"{market.change_rate * 100:.2f}",
        f"{market.value_24h / MILLION:.0f}",
        *(market.features.values[name] for name in NAMES),
        None if held is None else f"{held.return_pct:.2f}",
        None if held is None else held.held_minutes,
    ]


def _label(name: str) -> str:
    """One short line of ordinary characters."""
    kept = (char if unicodedata.category(char)[0] in "LNPZ" else " " for char in name)
    return " ".join("".join(kept).split())[:LONGEST_NAME]


def _fenced(table: str) -> str:
    """JSON in which no text can spell a tag."""
    return table.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str, version: str) -> str:
    path = files("jobs.gemini") / "prompts" / f"{name}.{version}.txt"
    return path.read_text(encoding="utf-8").strip()
