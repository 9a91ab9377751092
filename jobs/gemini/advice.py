"""Why Gemini cannot be used → what mends it: one table for errors, alerts, health and the doctor.

"No connection" is no help where a certificate, a clock, a country or a switch in Google's console
is what is wrong; the transport's text and Google's reason say which.
"""

from typing import Final

from jobs.errors import JobError

CONSOLE: Final = "https://console.cloud.google.com/apis"
KEYS: Final = "https://aistudio.google.com/apikey"
CLOCK: Final = "set this machine's clock: `timedatectl set-ntp true`"
FIREWALL: Final = "a firewall swallows the connection: allow port 443 to Google"
RESTRICTIONS: Final = f"change the key's restrictions at {CONSOLE}/credentials"

ADVICE: Final = (
    ("certificate is not yet valid", CLOCK),
    ("certificate has expired", f"{CLOCK}; if it is right, the certificate in between is too old"),
    ("hostname mismatch", "gemini.base_url or a proxy leads to another host: correct it"),
    (
        "certificate_verify_failed",
        "something between here and Google shows a certificate of its own: add its authority to "
        "this machine's, or name its file in SSL_CERT_FILE",
    ),
    ("ssl", "a proxy or firewall breaks TLS: allow generativelanguage.googleapis.com"),
    ("name or service not known", "name resolution fails: look at /etc/resolv.conf"),
    ("name resolution", "name resolution fails: look at /etc/resolv.conf"),
    ("nodename nor servname", "name resolution fails: look at /etc/resolv.conf"),
    ("getaddrinfo", "name resolution fails: look at /etc/resolv.conf"),
    ("proxyerror", "the proxy of the environment refuses: correct HTTPS_PROXY or unset it"),
    ("network is unreachable", "this machine has no way out: look at its network"),
    ("connect call failed", "nobody listens there: look at gemini.base_url and at proxies"),
    ("connection refused", "nobody listens there: look at gemini.base_url and at proxies"),
    ("connecttimeout", FIREWALL),
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
