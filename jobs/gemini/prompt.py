"""Inputs → the one prompt for all markets, from versioned templates.

A template is never edited once released: a new wording is a new version, so that the fingerprint
in the decision record names one text (a test pins them all). What comes from outside (market
names) is fenced, and cannot close its fence; nothing here knows a balance or a key.
"""

import hashlib
import json
import re
import unicodedata
from decimal import Decimal
from importlib.resources import files
from string import Template

from jobs.candles.features import LONGER_NAMES, NAMES
from jobs.signals.protocol import Inputs, MarketInput

VERSION = "v3"
LONGEST_NAME = 40
LONGEST_ERROR = 1000
MILLION = Decimal(1_000_000)
KEY_LIKE = re.compile(r"AIza[\w-]{20,}|\b[A-Za-z0-9_]{32,}\b")
FENCE = re.compile(r"<market_data>\s*(\{.*\})\s*</market_data>", re.DOTALL)

FIRST = ("market", "name", "candle_utc", "price", "change_24h_pct", "value_24h_mkrw")
LAST = ("position_return_pct", "position_minutes")
SPREAD = "spread_pct"
MARKS = "marks"


def system_text(version: str = VERSION) -> str:
    """The system instruction of a template version."""
    return _template("system", version)


def template_name(version: str = VERSION) -> str:
    """A template version with the fingerprint of its texts, for the decision record."""
    texts = "\n".join(_template(name, version) for name in ("system", "table"))
    return f"{version}:{hashlib.sha256(texts.encode()).hexdigest()}"


def render(inputs: Inputs, version: str = VERSION) -> str:
    """The prompt about all markets of `inputs`; the same inputs give the same text."""
    units = sorted({each.unit for market in inputs.markets for each in market.longer})
    has_books = any(market.spread_pct is not None for market in inputs.markets)
    has_marks = any(market.marks for market in inputs.markets)
    columns = (
        *FIRST,
        *((MARKS,) if has_marks else ()),
        *((SPREAD,) if has_books else ()),
        *NAMES,
        *(f"m{unit}_{name}" for unit in units for name in LONGER_NAMES),
        *LAST,
    )
    rows = [[_values(market).get(name) for name in columns] for market in inputs.markets]
    table = {"columns": columns, "rows": rows}
    text = Template(_template("table", version)).substitute(
        unit=inputs.markets[0].features.unit,
        longer=", ".join(map(str, units)) or "none",
        table=_fenced(json.dumps(table, ensure_ascii=False, separators=(",", ":"))),
        count=len(inputs.markets),
    )
    return masked(text)


def markets_of(text: str) -> tuple[str, ...]:
    """The markets that a rendered prompt asks about; none when it has no table."""
    if (match := FENCE.search(text)) is None:
        return ()
    try:
        table = json.loads(match[1])
        place = table["columns"].index("market")
        return tuple(str(row[place]) for row in table["rows"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ()


def masked(text: str) -> str:
    """`text` without anything that looks like a key."""
    return KEY_LIKE.sub("***", text)


def storable(text: str) -> str:
    """`text` as Postgres and a log line can hold it, without anything like a key."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return masked(clean)[:LONGEST_ERROR]


def _values(market: MarketInput) -> dict[str, object]:
    held, spread = market.holding, market.spread_pct
    return {
        "market": market.market,
        "name": _label(market.name),
        "candle_utc": f"{market.features.candle_ts:%Y-%m-%dT%H:%M}",
        "price": f"{market.price:f}",
        "change_24h_pct": f"{market.change_rate * 100:.2f}",
        "value_24h_mkrw": f"{market.value_24h / MILLION:.0f}",
        MARKS: ", ".join(map(_label, market.marks)) or None,
        SPREAD: None if spread is None else f"{spread:.4f}",
        **market.features.values,
        **{
            f"m{each.unit}_{name}": each.values[name]
            for each in market.longer
            for name in LONGER_NAMES
        },
        "position_return_pct": None if held is None else f"{held.return_pct:.2f}",
        "position_minutes": None if held is None else held.held_minutes,
    }


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
