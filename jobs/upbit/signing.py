"""The JSON Web Token of each exchange request, and the query string that it signs.

Source: docs.upbit.com, reference/auth. HS512, a fresh nonce for every attempt, and the SHA-512 of
the query or of the body as `key=value&…`, not percent-encoded, in the order that is sent.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import uuid4

from jwt.algorithms import HMACAlgorithm
from jwt.api_jws import PyJWS

Params = Sequence[tuple[str, str]]
"""Names and values in the order they are sent; an array repeats its name with brackets."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """An access key and its secret; neither shows in `repr`."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "Keys(****)"


class _AnyLength(HMACAlgorithm):
    """HMAC for secrets of the length that the exchange issues."""

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002 - PyJWT's signature
        # Upbit issues 40 bytes, PyJWT warns below 64 on every single signature
        return None


def query_string(params: Params) -> str:
    """What is hashed: the parameters as they read before percent-encoding."""
    return "&".join(f"{name}={value}" for name, value in params)


def encoded(params: Params) -> str:
    """What is sent: the same parameters, percent-encoded."""
    return urlencode(params, quote_via=quote)


def query_hash(params: Params) -> str:
    """The SHA-512 of the parameters, in hexadecimal."""
    return hashlib.sha512(query_string(params).encode()).hexdigest()


def _new_nonce() -> str:
    return str(uuid4())


class Signer:
    """Makes one token per request, each with its own nonce."""

    def __init__(
        self,
        keys: Keys,
        *,
        algorithm: Literal["HS512", "HS256"] = "HS512",
        new_nonce: Callable[[], str] = _new_nonce,
    ) -> None:
        hash_alg = {"HS512": HMACAlgorithm.SHA512, "HS256": HMACAlgorithm.SHA256}[algorithm]
        self._keys = keys
        self._algorithm = algorithm
        self._new_nonce = new_nonce
        self._jws = PyJWS(algorithms=[])
        self._jws.register_algorithm(algorithm, _AnyLength(hash_alg))

    def token(self, params: Params = ()) -> str:
        """A new token for a request with these parameters (of the query, or of the body)."""
        claims: dict[str, Any] = {
            "access_key": self._keys.access_key,
            "nonce": self._new_nonce(),
        }
        if params:
            claims |= {"query_hash": query_hash(params), "query_hash_alg": "SHA512"}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return self._jws.encode(payload, self._keys.secret_key, algorithm=self._algorithm)
