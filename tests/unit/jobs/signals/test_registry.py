"""How a source is found by its name, and what an entry point may name."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from jobs.candles.frame import Candles
from jobs.signals import registry
from jobs.signals.protocol import Inputs, Source, Verdict
from jobs.signals.registry import load_source, source_of
from jobs.signals.rule_source import RulesSource
from jobs.signals.strategy_source import StrategySource

BUILTIN: dict[str, Callable[[], Source]] = {"rules": RulesSource}


class Whole:
    """A source of its own."""

    async def decide(self, inputs: Inputs) -> Verdict:
        return Verdict(decisions=(), model="whole")


class Remembering:
    """A strategy that is made first, and keeps something."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, candles: Candles) -> str:
        self.seen += 1
        return "hold"


def function(candles: Candles) -> str:
    return "hold"


def test_a_builtin_source_is_made() -> None:
    assert isinstance(load_source("rules", BUILTIN), RulesSource)


def test_an_installed_entry_point_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(
        name="mine", value="jobs.signals.rule_source:RulesSource", group=registry.GROUP
    )
    installed = EntryPoints([point])
    monkeypatch.setattr(registry, "entry_points", installed.select)
    assert isinstance(load_source("mine", BUILTIN), RulesSource)
    with pytest.raises(LookupError, match="mine"):
        load_source("yours", BUILTIN)


def test_an_unknown_source_is_named_with_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"'astrology'.*'rules'"):
        load_source("astrology", BUILTIN)


def test_a_class_with_decide_is_a_source() -> None:
    assert isinstance(source_of("mine", Whole), Whole)


@pytest.mark.parametrize("loaded", [function, Remembering])
def test_a_function_and_a_callable_class_are_strategies(loaded: object) -> None:
    source = source_of("mine", loaded)
    assert isinstance(source, StrategySource)
    assert source.name == "mine"


@pytest.mark.parametrize("loaded", ["text", lambda: 5])
def test_anything_else_is_refused(loaded: object) -> None:
    with pytest.raises(TypeError, match="mine"):
        source_of("mine", loaded)
