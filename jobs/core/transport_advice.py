"""What mends a connection that cannot be made, by the transport's own words, whoever is called.

"No connection" is no help where a certificate, a clock, a proxy or a name server is what is wrong.
"""

from typing import Final

CLOCK: Final = "set this machine's clock: `timedatectl set-ntp true`"
NAMES: Final = "name resolution fails: look at /etc/resolv.conf"
FIREWALL: Final = "a firewall swallows the connection: allow port 443"
NOBODY: Final = "nobody listens there: look at base_url in the configuration, and at proxies"

TRANSPORT: Final = (
    ("certificate is not yet valid", CLOCK),
    ("certificate has expired", f"{CLOCK}; if it is right, the certificate in between is too old"),
    ("hostname mismatch", "base_url in the configuration or a proxy leads to another host"),
    (
        "certificate_verify_failed",
        "something in between shows a certificate of its own: add its authority to this "
        "machine's, or name its file in SSL_CERT_FILE",
    ),
    ("[ssl", "a proxy or firewall breaks TLS: let this machine through untouched"),
    ("sslerror", "a proxy or firewall breaks TLS: let this machine through untouched"),
    ("name or service not known", NAMES),
    ("name resolution", NAMES),
    ("nodename nor servname", NAMES),
    ("getaddrinfo", NAMES),
    ("proxyerror", "the proxy of the environment refuses: correct HTTPS_PROXY or unset it"),
    ("network is unreachable", "this machine has no way out: look at its network"),
    ("connect call failed", NOBODY),
    ("connection refused", NOBODY),
    ("connecttimeout", FIREWALL),
)
"""What stands in the transport's words (lower case), the first that fits, and what to do."""


def transport_advice(said: str) -> str | None:
    """The mend for a failure that the transport describes so; None where it is not known."""
    low = said.lower()
    return next((mend for reason, mend in TRANSPORT if reason in low), None)
