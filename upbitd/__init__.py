"""The public names for strategies and sources of signals: what a program of a user's may import.

Everything else is internal and changes without notice. docs/signals.md says how they are used.
"""

from jobs.candles.frame import Candles, NotYet
from jobs.signals.protocol import Action, Decision, Holding, Inputs, MarketInput, Source, Verdict
from jobs.signals.strategy_source import Advice

__all__ = [
    "Action",
    "Advice",
    "Candles",
    "Decision",
    "Holding",
    "Inputs",
    "MarketInput",
    "NotYet",
    "Source",
    "Verdict",
]
