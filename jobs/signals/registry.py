"""The source of signals that a name stands for: a builtin, or what somebody installed.

An entry point of the group `upbitd.signals` names one of three things (docs/signals.md):

    a function of candles, or of candles and holding      a strategy (strategy_source.py)
    a class or function without arguments → a `Source`    full control (protocol.py)
    a class or function without arguments → a strategy    a strategy that is made first
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from jobs.signals.protocol import Source
from jobs.signals.strategy_source import as_source, required

GROUP = "upbitd.signals"


def load_source(name: str, builtin: Mapping[str, Callable[[], Source]]) -> Source:
    """The source that `signals.source` names.

    Raises LookupError when nothing has the name, TypeError when what has it is no source.
    """
    if name in builtin:
        return builtin[name]()
    for point in entry_points(group=GROUP, name=name):
        return source_of(name, point.load())
    installed = sorted({point.name for point in entry_points(group=GROUP)})
    raise LookupError(f"no signal source {name!r}; there are {sorted(builtin)} and {installed}")


def source_of(name: str, loaded: object) -> Source:
    """The source that an entry point's object stands for. Raises TypeError when it is none."""
    if not callable(loaded):
        raise TypeError(f"{name}: an entry point of {GROUP} is a function or a class")
    if required(loaded):
        return as_source(name, loaded)
    made = loaded()
    if inspect.iscoroutinefunction(getattr(made, "decide", None)):
        source: Source = made  # what else it is, the call will tell
        return source
    if not callable(made):
        raise TypeError(
            f"{name}: {type(made).__name__} has no `async def decide` and is no strategy"
        )
    return as_source(name, made)
