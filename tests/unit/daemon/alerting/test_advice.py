"""Every kind of alert says what to do about it, in the alert and in the documentation."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.alerting.advice import ADVICE, advice_for
from jobs.core.job import Incident

ROOT = Path(__file__).parents[4]
MAKERS = {"Incident", "Rule", "AlertRule", "_above"}
CONTRACT = {
    *("retry_exhausted", "recovered", "permanent_failure", "order_unknown", "risk_limit_hit"),
    *("halted", "upbit_banned", "budget_exhausted", "model_output_rejected", "cache_hit_rate_low"),
    *("database_down", "key_expiring", "scheduler_stalled", "reconcile_mismatch", "exit_blocked"),
    *("market_warning", "component_unhealthy", "signal_stale", "job_paused", "setting_loosened"),
    *("live_started", "resumed", "unclean_restart", "withdraw_permission"),
}


def texts(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    """The texts that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.IfExp(body=body, orelse=other):
            yield from texts(body, constants)
            yield from texts(other, constants)


def kinds_in(path: Path) -> Iterator[str]:
    """Every kind of alert that a module names where it makes one."""
    tree = ast.parse(path.read_text("utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        if name not in MAKERS | {"_notify"}:
            continue
        given = [each.value for each in call.keywords if each.arg == "kind"] or call.args[:1]
        for text in (text for each in given for text in texts(each, constants)):
            yield text.partition(":")[0]


def raised() -> set[str]:
    sources = [path for part in ("daemon", "jobs") for path in (ROOT / part).rglob("*.py")]
    return {kind for path in sources for kind in kinds_in(path)}


def test_the_search_finds_what_is_raised() -> None:
    known = {"halted", "risk_limit_hit", "retry_exhausted", "permanent_failure", "disk_low"}
    assert raised() > known | {"model_output_rejected", "budget_exhausted", "memory_high"}


@pytest.mark.parametrize("kind", sorted(raised() | CONTRACT))
def test_every_kind_has_an_advice_of_one_line(kind: str) -> None:
    assert ADVICE[kind]
    assert "\n" not in ADVICE[kind]


@pytest.mark.parametrize("kind", sorted(ADVICE))
def test_every_kind_is_documented(kind: str) -> None:
    text = (ROOT / "docs" / "health.md").read_text("utf-8").partition("## Alerts")[2]
    assert f"`{kind}`" in text


def test_an_advice_of_its_own_goes_first() -> None:
    incident = Incident(kind="halted", severity="info", incident="x", title="t", message="m")
    assert advice_for(incident) == ADVICE["halted"]
    own = Incident(
        kind="halted", severity="info", incident="x", title="t", message="m", advice="wait"
    )
    assert advice_for(own) == "wait"
