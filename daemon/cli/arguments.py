"""What people type: spans of time, instants, limits."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from daemon.cli import zone
from daemon.config.types import parse_duration

MOST_ROWS = 100_000

LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="The most rows to show.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", help='Only from then on: "24h", "30m", or 2026-11-20T09:00 (daemon.timezone).'
    ),
]
BeforeOption = Annotated[
    int | None,
    typer.Option("--before", help="The next page: the last id of the page before."),
]


def instant(text: str | None, *, now: datetime | None = None) -> datetime | None:
    """The instant that a person means by "24h" (ago) or by a date.

    A date without a zone is one of daemon.timezone: read the configuration first.

    Raises typer.BadParameter that names what is allowed.
    """
    if text is None:
        return None
    now = now or datetime.now(UTC)
    try:
        age = parse_duration(text)
        if isinstance(age, timedelta):
            return now - age
    except (ValueError, OverflowError):
        pass
    try:
        return zone.read(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f'{text!r} is neither a span such as "24h" nor an instant such as 2026-11-20T09:00 '
            f"({zone.label()})"
        ) from None
