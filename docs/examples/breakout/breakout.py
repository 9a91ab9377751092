"""Buys when the price leaves the range of the last hours upwards, and sells when it comes back."""

from upbitd import Advice, Candles, Holding

RANGE = 240  # candles whose range is looked at
K = 0.5  # how far above its middle the price must be, as a share of the range


def decide(candles: Candles, holding: Holding | None) -> Advice | str | None:
    """What to do after the newest candle."""
    if len(candles) <= RANGE:
        return None  # nothing to say yet
    past = candles.tail(RANGE + 1)
    high, low = past.high[:-1].max(), past.low[:-1].min()
    middle, last = (high + low) / 2, past.close[-1]
    if holding is not None and last < middle:
        return Advice(action="sell", reason=f"back under the middle, {middle:,.0f}")
    if holding is None and last > middle + K * (high - low):
        return Advice(action="buy", confidence=0.8, reason=f"over the range's top, {high:,.0f}")
    return "hold"
