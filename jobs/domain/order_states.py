"""The states of an order and the only arrows between them: one function per arrow.

```
intent ─► sent ─► wait ─► done
  │        │ │      ▲ └──► cancel
  │        │ └► unknown
  ▼        ▼      ▼
  └──── refused ──┘
```
The database refuses every other arrow by itself (trigger `orders_guard_state`); a test holds both
to the same table.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What is known of an order. `unknown`: it was sent and nobody has said what became of it."""

    INTENT = "intent"
    SENT = "sent"
    UNKNOWN = "unknown"
    WAIT = "wait"
    DONE = "done"
    CANCEL = "cancel"
    REFUSED = "refused"


OPEN = frozenset({State.INTENT, State.SENT, State.UNKNOWN, State.WAIT})
"""States in which an order may still change the account."""

FINAL = frozenset(State) - OPEN
"""States that are never left."""


class ForbiddenArrow(Exception):
    """A change of state that does not exist: a bug in the caller, never an event of the venue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """One permitted change of state; calling it gives the new state or raises ForbiddenArrow."""

    name: str
    source: State
    target: State

    def __call__(self, state: State) -> State:
        """Return where the arrow leads from `state`."""
        if state is not self.source:
            raise ForbiddenArrow(f"{self.name} starts at {self.source}, not at {state}")
        return self.target


send = Arrow(name="send", source=State.INTENT, target=State.SENT)
"""Committed before the request goes out, so that a crash cannot hide a send."""

withdraw = Arrow(name="withdraw", source=State.INTENT, target=State.REFUSED)
"""The intent was never sent, and never will be."""

accept = Arrow(name="accept", source=State.SENT, target=State.WAIT)
"""The venue answered 201, or is known to hold the order."""

doubt = Arrow(name="doubt", source=State.SENT, target=State.UNKNOWN)
"""Nobody has said what became of the request."""

reject = Arrow(name="reject", source=State.SENT, target=State.REFUSED)
"""The venue refused by name, or the request certainly never left."""

adopt = Arrow(name="adopt", source=State.UNKNOWN, target=State.WAIT)
"""The venue was found to hold the order after all."""

bury = Arrow(name="bury", source=State.UNKNOWN, target=State.REFUSED)
"""Enough looks over enough time found nothing: it never arrived. The identifier is burnt."""

complete = Arrow(name="complete", source=State.WAIT, target=State.DONE)
"""The venue says done, and every fill is stored."""

end = Arrow(name="end", source=State.WAIT, target=State.CANCEL)
"""The venue says cancel, and every fill is stored; there may be some."""

ARROWS = (send, withdraw, accept, doubt, reject, adopt, bury, complete, end)
"""Every arrow there is."""


def may(source: State, target: State) -> bool:
    """Whether an order may go from `source` to `target`; staying is not going, and is allowed."""
    return source is target or any((a.source, a.target) == (source, target) for a in ARROWS)
