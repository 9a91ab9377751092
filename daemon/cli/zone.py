"""In which zone the command line shows and reads times: that of `daemon.timezone`.

A command that has read its configuration has said `use`; without one it is the Korean one, which
is also that of the trading day.
"""

from contextvars import ContextVar
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

SHORT = {"Asia/Seoul": "KST"}

KOREA = ZoneInfo("Asia/Seoul")

_zone: ContextVar[ZoneInfo] = ContextVar("zone", default=KOREA)


def use(name: str) -> None:
    """Show and read times in this zone from here on."""
    _zone.set(ZoneInfo(name))


def label() -> str:
    """How the zone is called beside a time."""
    return SHORT.get(_zone.get().key, _zone.get().key)


def stamp(at: datetime) -> str:
    """An instant to the second, without the zone's name, which stands in the heading."""
    return f"{at.astimezone(_zone.get()):%Y-%m-%d %H:%M:%S}"


def named_stamp(at: datetime) -> str:
    """An instant to the second with the zone's name."""
    return f"{stamp(at)} {label()}"


def clock(at: datetime) -> str:
    """The time of day to the millisecond."""
    return f"{at.astimezone(_zone.get()):%H:%M:%S.%f}"[:-3]


def read(text: str) -> datetime:
    """The instant that an ISO text names, in UTC; in this zone where it names none.

    Raises ValueError for any other text.
    """
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=_zone.get())).astimezone(UTC)
