"""One tree of failures; the class decides what happens.

JobError              a failure we understand; `context` goes to the ledger and the log as fields
├─ Transient          the same call may work later, after `retry_after_s` if given: retried
│  ├─ Unavailable     no answer, 5xx, or a gateway spoke
│  ├─ NotSent         the connection was never established: nothing reached the other side
│  ├─ RateLimited     429, or our own gate after one
│  └─ Banned          418: the venue blocks us for a stated time
├─ Permanent          a person has to look: recorded, alerted, never retried
│  ├─ Refused         the other side said no, by name
│  │  └─ Unauthorized the key, its permissions or the address are not accepted
│  ├─ BadData         the other side answered, the content is wrong
│  ├─ ModelRejected   the model's answer is not a usable decision
│  └─ BudgetExhausted the day's model budget does not cover the call
└─ Ambiguous          an order was sent and nobody has said what became of it: neither retried
                      nor failed, resolved by evidence (jobs/orders)
Anything else is a bug: recorded with its traceback, not retried.
"""

from typing import Literal

WaitSource = Literal["backoff", "retry-after", "retry-info", "remaining-req", "ban"]


class JobError(Exception):
    """A failure we understand. `context` becomes fields of the log line and the ledger."""

    def __init__(self, message: str, /, **context: object) -> None:
        super().__init__(message)
        self.context = context

    def __str__(self) -> str:
        """The message followed by its context, so that one line tells the whole story."""
        fields = ", ".join(f"{key}={value}" for key, value in self.context.items())
        message = str(self.args[0])
        return f"{message} ({fields})" if fields else message


class Transient(JobError):
    """The same call may work later.

    `retry_after_s` is the wait that the server asked for, in seconds (None: it named none), and
    `wait_source` says who asked.
    """

    def __init__(
        self,
        message: str,
        /,
        *,
        retry_after_s: float | None = None,
        wait_source: WaitSource = "backoff",
        **context: object,
    ) -> None:
        super().__init__(message, **context)
        self.retry_after_s = retry_after_s
        self.wait_source = wait_source


class Unavailable(Transient):
    """No answer, a 5xx, or something that is not the service spoke in its place."""


class NotSent(Transient):
    """The connection was never established: the request cannot have had an effect."""


class RateLimited(Transient):
    """The service answered 429, or a gate that an earlier 429 closed is still closed."""


class Banned(Transient):
    """The venue blocks us (418) for `retry_after_s` seconds."""


class Permanent(JobError):
    """A person has to look; trying again unchanged cannot help."""


class Refused(Permanent):
    """The other side said no. `name` is its error name, `status` the HTTP status."""

    def __init__(self, message: str, /, *, name: str, status: int, **context: object) -> None:
        super().__init__(message, name=name, status=status, **context)
        self.name = name
        self.status = status


class Unauthorized(Refused):
    """The key, its permissions or this machine's address are not accepted."""


class BadData(Permanent):
    """The other side answered, and the content is not what its documentation promises."""


class ModelRejected(Permanent):
    """The model answered, and the answer is not a usable decision."""


class BudgetExhausted(Permanent):
    """The day's model budget does not cover the worst case of this call."""


class Ambiguous(JobError):
    """An order was sent and nobody has said what became of it."""


def reason_of(error: BaseException) -> str:
    """What happened, never empty: a TimeoutError of the library says nothing by itself."""
    said = str(error).strip()
    return said or f"{type(error).__name__} without a message"
