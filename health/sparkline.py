"""A line of figures as a small picture."""

from collections.abc import Sequence
from typing import Final

from health.markup import Html, tag

WIDTH: Final = 600.0
HEIGHT: Final = 120.0
MARGIN: Final = 6.0
LEAST_RANGE: Final = 0.002
"""The share of the value that the whole height shows at least."""


def sparkline(values: Sequence[float]) -> Html:
    """An SVG of `values` in their order, scaled to their range; a single value is a flat line."""
    shown = list(values) * 2 if len(values) == 1 else list(values)
    low, high = min(shown), max(shown)
    middle = (low + high) / 2
    # a tremble must not look like a crash
    span = max(high - low, abs(middle) * LEAST_RANGE) or 1.0
    step = WIDTH / (len(shown) - 1)

    def y_of(value: float) -> float:
        return HEIGHT / 2 - (value - middle) / span * (HEIGHT - 2 * MARGIN)

    points = [f"{index * step:.1f},{y_of(value):.1f}" for index, value in enumerate(shown)]
    line = "M" + " L".join(points)
    area = f"{line} L{WIDTH:.0f},{HEIGHT:.0f} L0,{HEIGHT:.0f} Z"
    start = f"{y_of(shown[0]):.1f}"
    way = "up" if shown[-1] > shown[0] else "down" if shown[-1] < shown[0] else "flat"
    return tag(
        "svg",
        tag("path", class_="area", d=area),
        tag("line", class_="start", x1=0, y1=start, x2=f"{WIDTH:.0f}", y2=start),
        tag("path", class_="line", d=line),
        class_=f"spark {way}",
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"from {shown[0]:,.0f} to {shown[-1]:,.0f} KRW",
    )
