"""A reason that argues for another action is caught; one that only mentions it is not."""

import pytest

from jobs.gemini.contradiction import contradicts
from jobs.signals.protocol import Action


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("buy", "Weak momentum, you should sell now."),
        ("buy", "Sell: RSI is 80."),
        ("buy", "We recommend to sell."),
        ("buy", "Do not buy while the MACD is negative."),
        ("buy", "There is no reason to buy here."),
        ("buy", "I would avoid buying."),
        ("buy", "It is time to sell"),
        ("buy", "RSI 80. Decision: sell"),
        ("buy", "지표가 약하므로 매도를 권장한다"),
        ("buy", "매수하지 마세요"),
        ("sell", "Strong uptrend, therefore buy."),
        ("sell", "Don\u2019t sell this."),
        ("sell", "매수 추천"),
        ("hold", "Buy now."),
        ("hold", "You must sell immediately."),
        ("hold", "관망 금지"),
    ],
)
def test_a_contradiction_is_seen(action: Action, reason: str) -> None:
    assert contradicts(action, reason)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("buy", "Selling pressure fades, MACD turned up."),
        ("buy", "RSI 28 is oversold and the lower band held."),
        ("buy", "Sell-off exhausted; ret_1 is positive."),
        ("sell", "Buying volume dries up below the band."),
        ("sell", "Buy side is thin, ret_15 -0.8."),
        ("hold", "Neither a buy nor a sell is supported."),
        ("hold", "No clear signal."),
        ("buy", "매도 압력 약화, MACD 상승 전환"),
        ("sell", "매수세 약화"),
    ],
)
def test_a_mere_mention_is_no_contradiction(action: Action, reason: str) -> None:
    assert not contradicts(action, reason)
