"""A reply → decisions, or a refusal that names why. The model is not trusted with anything.

Only an answer that is finished (STOP), is exactly one JSON document of the asked shape, and speaks
about markets on the list counts. A market whose entry is missing, doubled, out of range or at odds
with its own reason has no decision; text is never searched for a trade.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

from jobs.core.errors import ModelRejected
from jobs.gemini.contradiction import contradicts
from jobs.gemini.model import Reply
from jobs.signals.protocol import ACTIONS, CONFIDENCE_STEP, LONGEST_REASON, Action, Decision

SCHEMA: Final[Mapping[str, object]] = {
    "type": "OBJECT",
    "properties": {
        "decisions": {
            "type": "ARRAY",
            "items": {
                "type": "OBJECT",
                "properties": {
                    "market": {"type": "STRING"},
                    "action": {"type": "STRING", "enum": list(ACTIONS)},
                    "confidence": {"type": "NUMBER"},
                    "reason": {"type": "STRING"},
                },
                "required": ["market", "action", "confidence", "reason"],
            },
        }
    },
    "required": ["decisions"],
}
"""What both SDKs accept: no minimum, no maximum. Ranges are checked here."""

FIELDS = frozenset({"market", "action", "confidence", "reason"})
BYTES_PER_MARKET = 8_192
LONGEST_NAME = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The usable decisions, and the markets that got none, each with why."""

    decisions: tuple[Decision, ...]
    refused: Mapping[str, str]

    @property
    def verdicts(self) -> Mapping[str, str]:
        """What became of each market, for the decision record."""
        return {**self.refused, **{each.market: each.action for each in self.decisions}}


def read_answer(reply: Reply, markets: Sequence[str]) -> Answer:
    """Decisions about `markets`. Raises ModelRejected when not one of them is usable."""
    entries = _entries(_finished_text(reply), len(markets))
    allowed = frozenset(markets)
    named = Counter(name for entry in entries if (name := _listed(entry, allowed)) is not None)
    decisions: list[Decision] = []
    refused = {market: "not in the answer" for market in markets if not named[market]}
    for entry in entries:
        market = _listed(entry, allowed)
        if market is None:
            refused[_shown(entry)] = "not a market we asked about"
        elif named[market] > 1:
            refused[market] = "named more than once"
        elif isinstance(made := _decide(market, entry), Decision):
            decisions.append(made)
        else:
            refused[market] = made
    if not decisions:
        raise ModelRejected("no usable decision in the answer", refused=_listing(refused))
    return Answer(decisions=tuple(decisions), refused=refused)


def _finished_text(reply: Reply) -> str:
    if reply.block_reason:
        raise ModelRejected(
            "the prompt was blocked", block_reason=_clip(_printable(reply.block_reason))
        )
    if reply.finish_reason != "STOP":
        finish = _clip(_printable(reply.finish_reason)) or "none"
        raise ModelRejected("the answer is not finished", finish_reason=finish)
    if reply.text is None or not reply.text.strip():
        raise ModelRejected("the answer is empty")
    return reply.text


def _entries(text: str, markets: int) -> Sequence[Mapping[str, object]]:
    if len(text) > BYTES_PER_MARKET * max(1, markets):
        raise ModelRejected("the answer is too long", characters=len(text))
    try:
        document = json.loads(
            text,
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=_no_number,
            object_pairs_hook=_no_doubles,
        )
    except (ValueError, ArithmeticError, RecursionError) as exc:
        raise ModelRejected("the answer is not JSON", why=_clip(str(exc))) from exc
    if not isinstance(document, dict) or set(document) != {"decisions"}:
        raise ModelRejected("the answer is not of the asked shape")
    entries = document["decisions"]
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ModelRejected("the answer's decisions are not a list of objects")
    return entries


def _decide(market: str, entry: Mapping[str, object]) -> Decision | str:
    """The decision in `entry`, or why there is none."""
    if set(entry) != FIELDS:
        return "fields missing or unknown"
    action = next((each for each in ACTIONS if each == entry["action"]), None)
    if action is None:
        return "unknown action"
    confidence = entry["confidence"]
    if not isinstance(confidence, Decimal) or not 0 <= confidence <= 1:
        return "confidence is not a number in [0, 1]"
    reason = _printable(entry["reason"]) if isinstance(entry["reason"], str) else ""
    if flaw := _flaw(action, reason):
        return flaw
    return Decision(
        market=market,
        action=action,
        confidence=confidence.copy_abs().quantize(CONFIDENCE_STEP, ROUND_DOWN),
        reason=reason,
    )


def _flaw(action: Action, reason: str) -> str | None:
    if not reason:
        return "no reason"
    if len(reason) > LONGEST_REASON:
        return "reason is too long"
    return "reason contradicts the action" if contradicts(action, reason) else None


def _listed(entry: Mapping[str, object], allowed: Collection[str]) -> str | None:
    market = entry.get("market")
    return market if isinstance(market, str) and market in allowed else None


def _shown(entry: Mapping[str, object]) -> str:
    """A name that is not ours, fit for a log line."""
    return f"?{_clip(_printable(str(entry.get('market'))))}"


def _printable(text: str) -> str:
    """One line without control, format, surrogate and unassigned characters."""
    kept = ("" if unicodedata.category(char).startswith("C") else char for char in _spaced(text))
    return " ".join("".join(kept).split())


def _spaced(text: str) -> str:
    return re.sub(r"\s", " ", text)


def _clip(text: str) -> str:
    return text[:LONGEST_NAME]


def _listing(refused: Mapping[str, str]) -> str:
    return "; ".join(f"{market}: {why}" for market, why in sorted(refused.items())[:10])


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is not a number")


def _no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made
