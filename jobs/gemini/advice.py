"""Why Gemini cannot be used → what mends it: one table for errors, alerts, health and the doctor.

"No connection" is no help where a certificate, a clock, a country or a switch in Google's console
is what is wrong; the transport's text and Google's reason say which.
"""

from typing import Final

from jobs.core.errors import JobError
from jobs.core.transport_advice import FIREWALL, TRANSPORT

CONSOLE: Final = "https://console.cloud.google.com/apis"
KEYS: Final = "https://aistudio.google.com/apikey"
RESTRICTIONS: Final = f"change the key's restrictions at {CONSOLE}/credentials"

ADVICE: Final = (
    *TRANSPORT,
    ("connection to gemini in time", FIREWALL),
    (
        "location is not supported",
        "Google does not serve this machine's country: run it in one of "
        "https://ai.google.dev/gemini-api/docs/available-regions, or set signals.source",
    ),
    (
        "service_disabled",
        f"enable the Generative Language API of the key's project at {CONSOLE}/library/"
        "generativelanguage.googleapis.com",
    ),
    ("has not been used in project", f"enable the Generative Language API at {CONSOLE}/library"),
    ("api_key_service_blocked", f"allow the Generative Language API: {RESTRICTIONS}"),
    ("api_key_ip_address_blocked", f"allow this machine's address: {RESTRICTIONS}"),
    ("api_key_http_referrer_blocked", f"a server sends no referrer: {RESTRICTIONS}"),
    ("referer", f"a server sends no referrer: {RESTRICTIONS}"),
    ("api_key_invalid", f"make a key at {KEYS} and set GEMINI_API_KEY"),
    ("api key not valid", f"make a key at {KEYS} and set GEMINI_API_KEY"),
    ("api key expired", f"make a new key at {KEYS} and set GEMINI_API_KEY"),
    ("reported as leaked", f"the key was published: make another at {KEYS}"),
    ("billing_disabled", f"switch billing on for the key's project, or take another key at {KEYS}"),
    ("consumer_suspended", f"Google suspended the key's project: make a key elsewhere at {KEYS}"),
    ("consumer_invalid", f"the key's project is gone: make a key at {KEYS}"),
    ("not_found", "set gemini.model to one that `models.list` names"),
    ("permission_denied", f"the key may not use this model: make one at {KEYS}"),
    ("unauthenticated", f"make a key at {KEYS} and set GEMINI_API_KEY"),
)
"""What stands in an error's text (lower case), the first that fits, and what to do."""


def advice_on(error: JobError) -> str | None:
    """The mend for this failure; None where the text names no known reason."""
    given = error.context.get("advice")
    if isinstance(given, str):
        return given
    said = str(error).lower()
    return next((mend for reason, mend in ADVICE if reason in said), None)
