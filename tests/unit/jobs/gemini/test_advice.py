"""Every reason that Gemini cannot be used for has its mend, and no reason has another's."""

import pytest

from jobs.core.errors import JobError, NotSent, RateLimited, Refused, Unauthorized, Unavailable
from jobs.gemini.advice import ADVICE, advice_on

SSL = "ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
DISABLED = (
    "Gemini refused: Generative Language API has not been used in project 1 before or it is "
    "disabled."
)


def unsent(why: str) -> NotSent:
    return NotSent("no connection to Gemini", why=why, may_be_billed=False)


def refused(message: str, name: str, status: int = 400) -> Refused:
    return Refused(f"Gemini refused: {message}", name=name, status=status)


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (unsent(SSL + "certificate is not yet valid (_ssl.c:1002)"), "timedatectl"),
        (unsent(SSL + "certificate has expired (_ssl.c:1002)"), "timedatectl"),
        (unsent(SSL + "self-signed certificate in certificate chain"), "SSL_CERT_FILE"),
        (unsent(SSL + "unable to get local issuer certificate"), "SSL_CERT_FILE"),
        (unsent(SSL + "Hostname mismatch, certificate is not valid for 'x'"), "base_url"),
        (unsent("ConnectError: [Errno -2] Name or service not known"), "resolv.conf"),
        (unsent("ConnectError: [Errno -3] Temporary failure in name resolution"), "resolv.conf"),
        (unsent("ConnectError: [Errno 101] Network is unreachable"), "network"),
        (unsent("ConnectError: [Errno 111] Connect call failed ('127.0.0.1', 1)"), "base_url"),
        (unsent("ConnectionError: [Errno 111] Connection refused"), "base_url"),
        (NotSent("no connection to Gemini in time", why="ConnectTimeout"), "firewall"),
        (Unavailable("the connection to Gemini broke", why="ProxyError: 407"), "HTTPS_PROXY"),
        (
            refused("User location is not supported for the API use.", "FAILED_PRECONDITION"),
            "available-regions",
        ),
        (Unauthorized(DISABLED, name="SERVICE_DISABLED", status=403), "enable the Generative"),
        (
            Unauthorized("Gemini refused: x", name="API_KEY_SERVICE_BLOCKED", status=403),
            "allow the",
        ),
        (
            Unauthorized("Gemini refused: x", name="API_KEY_IP_ADDRESS_BLOCKED", status=403),
            "this machine's address",
        ),
        (Unauthorized("Gemini refused: x", name="API_KEY_INVALID", status=400), "make a key"),
        (
            Unauthorized("Gemini refused: API key expired.", name="API_KEY_EXPIRED", status=400),
            "make a new key",
        ),
        (refused("models/x is not found", "NOT_FOUND", 404), "gemini.model"),
        (Unauthorized("Gemini refused: x", name="BILLING_DISABLED", status=403), "billing"),
    ],
)
def test_the_reason_leads_to_its_mend(error: JobError, mend: str) -> None:
    assert mend in (advice_on(error) or "")


def test_what_is_not_known_has_no_advice() -> None:
    assert advice_on(RateLimited("Gemini's quota is used up: x", quota="PerDay")) is None
    assert advice_on(Unavailable("Gemini is not available: overloaded", status=503)) is None


def test_every_reason_of_the_table_can_be_met() -> None:
    for number, (reason, _) in enumerate(ADVICE):
        assert reason == reason.lower()
        assert not any(earlier in reason for earlier, _ in ADVICE[:number]), reason
