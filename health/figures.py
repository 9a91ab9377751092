"""Figures as people read them, and instants that a browser turns into its own time."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from health.markup import Html, tag

NONE: Final = "—"
WHOLE_FROM: Final = 100
FINE_BELOW: Final = Decimal("0.1")
PRICE_PLACES: Final = ((10_000, 0), (100, 2), (1, 4))


def number(value: Decimal) -> str:
    """All of its digits, thousands grouped, no needless zeros."""
    plain = f"{value:,f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def krw(value: Decimal | None) -> str:
    """An amount in KRW: whole from 100 on, up to four places below."""
    if value is None:
        return NONE
    places = 0 if abs(value) >= WHOLE_FROM else 4
    return _rounded(value, places)


def price(value: Decimal | None) -> str:
    """A price in KRW, as fine as its market's steps can be at that height."""
    if value is None:
        return NONE
    places = next((places for least, places in PRICE_PLACES if abs(value) >= least), 8)
    return _rounded(value, places)


def _rounded(value: Decimal, places: int) -> str:
    return number(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def signed(value: Decimal, unit: str = "") -> Html:
    """A change in KRW, or in `unit`, with its sign, coloured by its direction."""
    size = abs(value)
    places = (0 if size >= 1 else 4) if not unit else (2 if size >= FINE_BELOW else 3)
    shown = _rounded(size, places) if not unit else f"{size:,.{places}f}"
    sign = "+" if value > 0 else "\u2212" if value < 0 else "±"
    way = "up" if value > 0 else "down" if value < 0 else "flat"
    return tag("span", f"{sign}{shown}{unit}", class_=way)


def usd(value: Decimal) -> str:
    """Dollars: cents from one dollar on, four places below, because calls cost so little."""
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:,.4f}"


def seconds(value: float | None) -> str:
    """A duration with a unit that suits it."""
    if value is None:
        return NONE
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"


def count(value: int) -> str:
    """Thousands grouped; a million and more in millions."""
    return f"{value:,}" if value < 1_000_000 else f"{value / 1_000_000:,.1f} M"  # noqa: PLR2004


def instant(at: datetime | None, style: str = "stamp") -> Html:
    """An instant in UTC. The page's script shows it in local time ("stamp") or as an age ("age")
    and leaves UTC to be seen on hover.
    """
    if at is None:
        return tag("span", NONE, class_="none")
    utc = at.astimezone(UTC)
    full = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return tag("time", full, datetime=utc.isoformat(), title=full, data_style=style)
