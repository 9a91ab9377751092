"""Volatility breakout: buys when the price passes today's open by a share of yesterday's range.

Days go from 09:00 to 09:00 Korean time. What was bought is sold when the next day begins.
"""

from upbitd import Advice, Candles, Holding

K = 0.5  # the share of yesterday's range
DAYS = 5  # buys only above the mean close of so many days; 0 for no such filter


def decide(candles: Candles, holding: Holding | None) -> Advice | str | None:
    """What to do after the newest candle."""
    daily = candles.daily  # the last row is today so far, the one before it yesterday
    if len(daily) < DAYS + 2:
        return None  # nothing to say yet
    minutes_today = (candles.index[-1] - daily.index[-1]).total_seconds() / 60
    if holding is not None:
        return "sell" if holding.held_minutes > minutes_today else "hold"
    target = daily.open[-1] + K * (daily.high[-2] - daily.low[-2])
    mean = daily.close[-1 - DAYS : -1].mean() if DAYS else 0.0
    price = candles.close[-1]
    if price > max(target, mean):
        return Advice(action="buy", confidence=0.9, reason=f"over {target:,.2f}, mean {mean:,.2f}")
    return "hold"
