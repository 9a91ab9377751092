"""Plots as inline SVG that stretch to any width: strokes and labels keep their size.

The SVG holds only lines, areas and dots and is stretched in both directions; labels are text beside
it, placed by percentages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

SIZE = 1000
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TIME_STEPS = (
    timedelta(minutes=5),
    timedelta(minutes=15),
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    4 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    91 * DAY,
    364 * DAY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a plot shows: instants from `since` to `until`, values from `low` to `high`."""

    since: datetime
    until: datetime
    low: float
    high: float

    def x(self, at: datetime) -> float:
        """Where an instant lies, 0 at the left edge, 1 at the right one."""
        return (at - self.since) / (self.until - self.since)

    def y(self, value: float) -> float:
        """Where a value lies, 0 at the top, 1 at the bottom."""
        return 1 - (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve; `kind` is its CSS class. With `area` it is filled down to that value."""

    kind: str
    points: Sequence[tuple[datetime, float]]
    area: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One mark on a plot with what is said about it."""

    kind: str
    at: datetime
    value: float


def framed(
    since: datetime, until: datetime, values: Sequence[float], margin: float = 0.06
) -> Frame:
    """A frame that holds all `values` with some room above and below."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * 0.01 or 1.0
    return Frame(since=since, until=until, low=low - room, high=high + room)


def plot(
    frame: Frame,
    lines: Sequence[Line],
    dots: Sequence[Dot] = (),
    *,
    unit: str = "",
    label: str,
    tall: bool = True,
) -> str:
    """The plot as HTML. `label` says to those who cannot see it what it shows."""
    marks = "".join(_line(frame, line) for line in lines) + _dots(frame, dots)
    levels = ticks(frame.low, frame.high, 5 if tall else 3)
    grid = "".join(_rule(frame.y(level)) for level in levels)
    names = "".join(_y_label(frame, level, levels, unit) for level in levels)
    times = "".join(_x_label(frame, tick) for tick in time_ticks(frame))
    return (
        f'<div class="plot{"" if tall else " low"}" role="img" aria-label="{escape(label)}">'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" aria-hidden="true">'
        f"{grid}{marks}</svg>{names}{times}</div>"
    )


def histogram(values: Sequence[float], mark: float, *, unit: str, label: str) -> str:
    """How often values fall where, and where `mark` stands among them."""
    low, high = min(*values, mark), max(*values, mark)
    room = (high - low) * 0.06 or 1.0
    low, high = low - room, high + room
    bins = max(8, min(30, round(2 * math.sqrt(len(values)))))
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    width, top = SIZE / bins, max(counts) * 1.1
    bars = "".join(
        f'<rect class="bar" x="{number * width + width * 0.06:.1f}" '
        f'y="{SIZE * (1 - count / top):.1f}" width="{width * 0.88:.1f}" '
        f'height="{SIZE * count / top:.1f}"/>'
        for number, count in enumerate(counts)
        if count
    )
    place = (mark - low) / (high - low)
    line = _path("mark", [(place * SIZE, 0.0), (place * SIZE, float(SIZE))])
    levels = ticks(low, high, 5)
    names = "".join(
        f'<span class="x" style="left:{(level - low) / (high - low):.2%}">'
        f"{escape(spell(level, levels))}{escape(unit)}</span>"
        for level in levels
    )
    side = "left" if place < 0.5 else "right"  # noqa: PLR2004 - the middle
    flag = f'<span class="flag {side}" style="left:{place:.2%}">this replay</span>'
    return (
        f'<div class="plot low" role="img" aria-label="{escape(label)}">'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" aria-hidden="true">'
        f"{bars}{line}</svg>{flag}{names}</div>"
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values inside [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def spell(value: float, among: Sequence[float]) -> str:
    """A tick's value, with as many digits as its neighbours need."""
    step = abs(among[1] - among[0]) if len(among) > 1 else abs(value) or 1.0
    if abs(value) >= 1e6 and step >= 1e4:  # noqa: PLR2004 - millions
        digits = max(0, 6 - math.floor(math.log10(step)))
        return f"{value / 1e6:,.{min(digits, 2)}f} M"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += step < 1 and abs(step * 10**digits - round(step * 10**digits)) > 1e-6  # noqa: PLR2004
    digits += 1 <= step < 10 and abs(step - round(step)) > 1e-6  # noqa: PLR2004
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\u2212") if value else text.lstrip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeTick:
    """A round instant and its name (UTC). A minor one is left out where there is little room."""

    at: datetime
    text: str
    is_minor: bool


def time_ticks(frame: Frame, most: int = 7) -> list[TimeTick]:
    """Round instants inside the frame, at most about `most`."""
    span = frame.until - frame.since
    step = next((each for each in TIME_STEPS if span / each <= most), TIME_STEPS[-1])
    zero = frame.since.replace(hour=0, minute=0, second=0, microsecond=0)
    found: list[TimeTick] = []
    at = zero
    while at <= frame.until:
        if at >= frame.since:
            is_day = at.hour == at.minute == 0
            text = f"{at.day} {at:%b}" if is_day else f"{at:%H:%M}"
            is_minor = len(found) % 2 == 1 if step >= DAY else not is_day and span > DAY
            found.append(TimeTick(at=at, text=text, is_minor=is_minor))
        at += step
    return found


def _line(frame: Frame, line: Line) -> str:
    points = [(frame.x(at) * SIZE, frame.y(value) * SIZE) for at, value in line.points]
    if not points:
        return ""
    drawn = _path(line.kind, points)
    if line.area is None:
        return drawn
    base = frame.y(line.area) * SIZE
    outline = [(points[0][0], base), *points, (points[-1][0], base)]
    return _path(f"{line.kind} fill", outline) + drawn


def _path(kind: str, points: Sequence[tuple[float, float]]) -> str:
    steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{kind}" d="M{steps}"/>'


def _dots(frame: Frame, dots: Sequence[Dot]) -> str:
    """Lines without length: their round caps are dots that no stretching changes."""
    found: dict[str, list[str]] = {}
    for dot in dots:
        x, y = frame.x(dot.at) * SIZE, frame.y(dot.value) * SIZE
        found.setdefault(dot.kind, []).append(f"M{x:.1f} {y:.1f}h0")
    return "".join(
        f'<path class="dot {kind}" d="{"".join(places)}"/>' for kind, places in found.items()
    )


def _rule(y: float) -> str:
    return _path("grid", [(0.0, y * SIZE), (float(SIZE), y * SIZE)])


def _y_label(frame: Frame, level: float, among: Sequence[float], unit: str) -> str:
    text = escape(spell(level, among) + unit)
    return f'<span class="y" style="top:{frame.y(level):.2%}">{text}</span>'


def _x_label(frame: Frame, tick: TimeTick) -> str:
    place = frame.x(tick.at)
    if not 0.02 <= place <= 0.98:  # noqa: PLR2004 - it would stick out
        return ""
    kind = "x minor" if tick.is_minor else "x"
    return f'<span class="{kind}" style="left:{place:.2%}">{escape(tick.text)}</span>'
