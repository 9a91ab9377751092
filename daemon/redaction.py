"""Secrets and balances taken out of texts before anybody sees them.

A `Masker` knows the secrets of this process in every form in which they travel (plain, URL-encoded,
base64, escaped) and the shapes of secrets that it was never told. It works on finished strings, so
that tracebacks are covered too. Substring tests guard every pattern: a line without anything
suspicious costs about two microseconds.
"""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

MASK = "***"
DEEPEST_JSON = 3
"""JSON inside JSON inside a line."""
SHORTEST_SECRET = 6
"""Shorter texts are not searched for: they would mask half of every line."""

NAMES_OF_SECRETS = (
    r"password|passwd|pwd|passphrase|secret|secret[_-]?key|client[_-]?secret|access[_-]?key|"
    r"(?:x-goog-)?api[_-]?key|access[_-]?token|refresh[_-]?token|bot[_-]?token|token|jwt|"
    r"authorization|proxy-authorization|cookie|set-cookie|credentials?|private[_-]?key|dsn|"
    r"upbit_access_key|upbit_secret_key|gemini_api_key"
)
BALANCE_NAME = (
    r"balances?|locked|avg_buy_price|cash|cash_krw|equity|equity_krw|positions_krw|total_krw|"
    r"available_krw|free_krw|net_worth"
)
SECRET_FIELD = re.compile(NAMES_OF_SECRETS, re.IGNORECASE)
BALANCE_FIELD = re.compile(BALANCE_NAME, re.IGNORECASE)

QUOTE = r"(?:b(?=\\*[\"']))?\\*[\"']?"
VALUE = (
    r"(?!null\b|None\b|true\b|false\b|\*\*\*|"
    # what Google calls its quotas and its faults with keys: masked, nobody knows what to mend
    r"[A-Za-z]{3,80}Per(?:Second|Minute|Hour|Day|Project|Model|User)|API_KEY_[A-Z_]{1,40}\b)"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that runs only where one of `hints` (lower case) stands in the line."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str


# Every quantifier that a hostile text may start anew at each character is bounded: without, 48,000
# letters before "://" held the loop for 4.8 s.
RULES = (
    # to the last @, which may stand in the password as well
    Rule(
        ("://",),
        re.compile(r"([A-Za-z][\w+.-]{0,20}://[^\s:/@\"']{0,200}):[^\s\"']{1,1000}@"),
        rf"\1:{MASK}@",
    ),
    Rule(("eyj",), re.compile(r"eyJ[\w-]{5,500}\.[\w-]+(?:\.[\w-]*)?"), MASK),
    Rule(("aiza",), re.compile(r"AIza[\w-]{10,200}"), MASK),
    Rule(
        ("bearer", "basic"),
        re.compile(r"\b(Bearer|Basic)\s+(?!\*\*\*)[\w.~+/=-]{6,}", re.IGNORECASE),
        rf"\1 {MASK}",
    ),
    Rule(
        ("?", "&"),
        re.compile(r"([?&](?:key|token|signature|secret)=)[^&\s\"'\\]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    Rule(
        ("pass", "pwd", "secret", "key", "token", "jwt", "authori", "cookie", "creden", "dsn"),
        re.compile(
            rf"(?<![\w])((?:{NAMES_OF_SECRETS}){QUOTE}\s*(?:[:=]|,\s*(?=b?\\*[\"']))\s*{QUOTE})"
            rf"{VALUE}(?:(?:Bearer|Basic)\s+)?[^\s\"',;&}}\)\]\\]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    Rule(
        ("balance", "locked", "avg_buy", "cash", "equity", "_krw", "net_worth"),
        re.compile(
            rf"(?<![\w])((?:{BALANCE_NAME}){QUOTE}\s*[:=]\s*(?:Decimal\()?{QUOTE})"
            r"[-+]?\d[\d,.]*(?:[eE][-+]?\d+)?",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)
HINTS = tuple((hint, number) for number, rule in enumerate(RULES) for hint in rule.hints)


def mask_address(text: str) -> str:
    """The text with the passwords inside URLs masked."""
    return RULES[0].pattern.sub(RULES[0].replacement, text) if "://" in text else text


def is_private(field: str) -> bool:
    """Tell whether a field of this name holds a secret or a balance."""
    return SECRET_FIELD.fullmatch(field) is not None or BALANCE_FIELD.fullmatch(field) is not None


class Masker:
    """Masks the given secrets, and everything that looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in forms_of(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text without secrets and balances. Valid JSON stays valid JSON."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        # a model's tokens are counted on every metric line and are no secret
        low = text.lower().replace("tokens_", "")
        if found := [number for hint, number in HINTS if hint in low]:
            for number in sorted(set(found)):
                rule = RULES[number]
                text = rule.pattern.sub(rule.replacement, text)
        return text


def forms_of(secret: str) -> set[str]:
    """Every form in which `secret` may travel; none for a text too short to search for."""
    if len(secret) < SHORTEST_SECRET:
        return set()
    escaped = {repr(secret)[1:-1]}
    for ascii_only in (True, False):
        text = secret
        for _ in range(DEEPEST_JSON):
            text = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            escaped.add(text)
    escaped.add(json.dumps(repr(secret)[1:-1])[1:-1])
    plain = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return plain | escaped | _base64_cores(secret.encode())


def _base64_cores(secret: bytes) -> set[str]:
    """What base64 makes of the secret at each of the three places it can start in a longer text.

    The characters at both ends mix with their neighbours and are left out.
    """
    cores: set[str] = set()
    for shift in range(3):
        padded = b"\0" * shift + secret
        whole = len(padded) // 3 * 3
        first = 4 if shift else 0
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(padded[:whole]).decode()[first:]
            cores.add(core)
    return {core for core in cores if len(core) >= SHORTEST_SECRET}
