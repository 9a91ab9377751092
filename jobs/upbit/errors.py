"""Upbit's answers of failure as our errors: by name first, by status where there is no name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from jobs.core import untrusted
from jobs.core.errors import BadData, JobError, Refused, Unauthorized, Unavailable
from jobs.core.untrusted import LONGEST_WAIT_S, one_line, retry_after_s
from jobs.core.untrusted import http_date as parse_date

__all__ = [
    "BUSY",
    "Fault",
    "MarketOffline",
    "block_s",
    "is_unnamed",
    "parse_date",
    "read_fault",
    "retry_after_s",
    "to_error",
]

BUSY = "too_many_request_order"
"""The engine is busy: on an order this says nothing about whether it was taken."""

_UNAUTHORIZED = frozenset(
    {
        "expired_access_key",
        "invalid_access_key",
        "invalid_query_payload",
        "jwt_verification",
        "no_authorization_i_p",  # the spelling of 2024 and before
        "no_authorization_ip",
        "no_authorization_token",
        "nonce_used",
        "out_of_scope",
        "thirdparty_agreement_required",
    }
)
_TEAPOT = 418
_BLOCK = re.compile(
    r"(\d{1,7})\s*(초|분|시간|(?:seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)\b)",
    re.IGNORECASE,
)
_UNIT_S = {"초": 1, "분": 60, "시": 3600, "s": 1, "m": 60, "h": 3600}
LONGEST_NAME = 100
LONGEST_MESSAGE = 200


class MarketOffline(Refused):
    """The venue, or this market of it, is in maintenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failed answer: its status, the name and text it gives (name None: it is not Upbit's own).

    Quotation names are whole numbers on the wire; here they are their digits.
    """

    status: int
    name: str | None
    text: str

    @property
    def is_over_limit(self) -> bool:
        """Whether we were too fast."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def is_ban(self) -> bool:
        """Whether we are blocked for a while."""
        return self.status == _TEAPOT


def read_fault(status: int, content: bytes) -> Fault:
    """Read a failed answer's body, whatever it is."""
    error = _error_in(content)
    name, message = error.get("name"), error.get("message", "")
    if isinstance(name, bool) or not isinstance(name, str | int):
        said = untrusted.beginning(content, LONGEST_MESSAGE)
        return Fault(status=status, name=None, text=said)
    said = message if isinstance(message, str) else repr(message)
    return Fault(
        status=status,
        name=one_line(str(name), LONGEST_NAME),
        text=one_line(said, LONGEST_MESSAGE),
    )


def _error_in(content: bytes) -> Mapping[str, object]:
    try:
        document = untrusted.decode(content)
    except BadData:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def to_error(fault: Fault, *, call: str, request_id: str) -> JobError:
    """The error for a failed answer other than 418 and 429 to `call`, such as GET /v1/order."""
    if _is_outage(fault):
        return Unavailable(
            "Upbit is not serving",
            status=fault.status,
            name=fault.name,
            text=fault.text,
            call=call,
            request_id=request_id,
        )
    name = fault.name or f"http_{fault.status}"
    kind, message = _refusal(fault, name)
    return kind(
        message,
        name=name,
        status=fault.status,
        text=fault.text,
        call=call,
        request_id=request_id,
    )


def _refusal(fault: Fault, name: str) -> tuple[type[Refused], str]:
    if name == "market_offline":
        return MarketOffline, "the market is offline"
    if name in _UNAUTHORIZED or fault.status == HTTPStatus.UNAUTHORIZED:
        return Unauthorized, "Upbit does not accept the key, its rights or our address"
    return Refused, "Upbit refused"


def _is_outage(fault: Fault) -> bool:
    """Whether the answer says nothing about the request: 5xx, a busy engine, a gateway's page."""
    if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR or fault.name == BUSY:
        return True
    return fault.name is None and fault.status != HTTPStatus.UNAUTHORIZED


def block_s(text: str) -> float | None:
    """The block time that a 418 states, in seconds; None when it states none."""
    total = sum(int(count) * _UNIT_S[unit[0].lower()] for count, unit in _BLOCK.findall(text))
    return min(float(total), LONGEST_WAIT_S) if total else None


def is_unnamed(refused: Refused) -> bool:
    """Whether the refusal carries no name of Upbit's, so that a gateway may have spoken."""
    return refused.name == f"http_{refused.status}"
