"""Whether a reason plainly speaks against the action it stands beside, in English or Korean.

Only explicit wording counts: a recommendation of another action, or one against this one. "Selling
pressure fades" beside a buy is no contradiction; "you should sell" is.
"""

import re
from collections.abc import Mapping
from typing import Final

from jobs.signals.protocol import Action

OTHERS: Final[Mapping[Action, str]] = {"buy": "sell", "sell": "buy", "hold": "buy|sell"}
OTHERS_KO: Final[Mapping[Action, str]] = {"buy": "매도", "sell": "매수", "hold": "매수|매도"}
OWN_KO: Final[Mapping[Action, str]] = {"buy": "매수", "sell": "매도", "hold": "관망|보유"}

CALLS_FOR = (
    r"\b(?:should|must|recommend(?:ed|ing)?(?: to)?|advis(?:e|ed) to|suggest(?:s|ed)?(?: to)?"
    r"|better to|time to|decision:|action:|signal:|therefore,?|hence,?) (?:an? |to )?(?:{others})\b"
)
CALLS_AGAINST = (
    r"\b(?:do not|don't|should not|shouldn't|must not|never|avoid|not (?:to|a)|no reason to"
    r"|against) {own}(?:ing)?\b"
)
BEGINS_WITH = r"^\W*(?:{others})\b(?!\s*(?:-|side|pressure|volume|wall|off))"
CALLS_FOR_KO = r"(?:{others})(?:를|을)?\s*(?:추천|권고|권장|해야|하세요|결정)"
CALLS_AGAINST_KO = r"(?:{own})(?:를|을)?\s*(?:하지\s*(?:마|않)|금지|안\s*됨|부적절)"


def contradicts(action: Action, reason: str) -> bool:
    """True when `reason` calls for another action than `action`, or against it."""
    text = reason.replace("\u2019", "'")
    english = {"others": OTHERS[action], "own": action}
    korean = {"others": OTHERS_KO[action], "own": OWN_KO[action]}
    patterns = [pattern.format(**english) for pattern in (CALLS_FOR, CALLS_AGAINST, BEGINS_WITH)]
    patterns += [pattern.format(**korean) for pattern in (CALLS_FOR_KO, CALLS_AGAINST_KO)]
    return any(re.search(pattern, text, re.IGNORECASE) is not None for pattern in patterns)
