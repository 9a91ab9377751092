"""How a report's figures are spelled, for the table and the page alike."""

from datetime import datetime
from decimal import Decimal

from jobs.backtest.report import Report
from jobs.backtest.statistics import Interval

MINUS = "\u2212"
NONE = "\u2013"
SHARE = "\u00a0%"  # never on a line of its own
LUCK = 0.05


def percent(value: float | None, digits: int = 2, *, signed: bool = True) -> str:
    """A percentage, with its sign; a dash where there is none."""
    if value is None:
        return NONE
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return f"{text.replace('-', MINUS)}{SHARE}"


def won(value: Decimal, *, signed: bool = False) -> str:
    """An amount in whole won."""
    text = f"{value:+,.0f}" if signed else f"{value:,.0f}"
    return text.replace("-", MINUS)


def ratio(value: float | None) -> str:
    """A ratio, with its sign."""
    return NONE if value is None else f"{value:+.2f}".replace("-", MINUS)


def plain(value: Decimal) -> str:
    """An exact number with thousands separated and no trailing zeros."""
    text = f"{value:,f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def hit_rate(hits: Interval) -> str:
    """Hits of trials in per cent."""
    return NONE if hits.share is None else f"{hits.share * 100:.1f} %"


def hit_range(hits: Interval) -> str:
    """The 95 % interval of a hit rate."""
    if hits.low is None or hits.high is None:
        return "no closed trade"
    return f"{hits.hits} of {hits.of}; 95 %: {hits.low * 100:.0f}\u2013{hits.high * 100:.0f} %"


def day(at: datetime) -> str:
    """An instant to the minute, in UTC; midnight as the date alone."""
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == 0 else f"{at:%Y-%m-%d %H:%M}"


def span(report: Report) -> str:
    """From when to when."""
    return f"{day(report.since)} to {day(report.until)} UTC"


def verdict(report: Report) -> list[str]:
    """What the figures say, in sentences a person can check against them."""
    mine, held = report.total.return_pct, report.hold.return_pct
    said = [
        f"The account {_moved(mine)} while holding the same markets {_moved(held)}: "
        f"{abs(mine - held):.2f} percentage points {'better' if mine >= held else 'worse'}."
    ]
    if report.turnover_krw:
        cost = float(report.fees_krw / report.start_krw) * 100
        said.append(f"Fees alone took {percent(cost, signed=False)} of the starting money.")
    if (null := report.null) is not None:
        count = len(null.returns_pct)
        as_good = round(null.p_value * (1 + count)) - 1
        said.append(
            f"{as_good} of {count} shuffles of the same signals did at least as well "
            f"(p = {null.p_value:.2f})."
        )
        said.append(
            "That is better than luck in this period; one period is not proof."
            if null.p_value <= LUCK
            else "That is no sign of knowledge in the signals."
        )
    return said


def _moved(pct: float) -> str:
    if percent(pct, signed=False) == percent(0.0, signed=False):
        return "stayed where it was"
    return f"{'won' if pct > 0 else 'lost'} {percent(abs(pct), signed=False)}"


def assumptions(report: Report) -> list[str]:
    """What the replay took for granted."""
    unit = "minute" if report.unit == 1 else f"{report.unit} minutes"
    return [
        "Decisions see finished candles only. Orders meet the next pass of the orders job: the "
        "first price after the signal is the open of the candle that follows.",
        f"Within a candle of one {unit} the price walks open, low, high, close when it closed at "
        "or above its open, else open, high, low, close; stops and goals are looked at every 10 s.",
        f"Everybody may trade any amount at the price, {plain(report.slippage_bps)} bps away and "
        "rounded to the tick against the account. Market impact and queues are not modelled.",
        f"Fee {plain(report.fee_rate * 100)} % of each fill. Limits, sizes, exits, ticks, minimum "
        "totals and rounding are the live code's own.",
        "Ratios come from hourly returns, annualised by \u221a8760, without a risk-free rate; the "
        "error is one standard error. A shuffle deals each market's own signals anew over the "
        "same instants.",
    ]
