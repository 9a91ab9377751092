"""Tokens: who sends a request, whether the token covers it, and what the key may do."""

import base64
import binascii
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.matching.rules import VenueError
from sandbox.options import Options

PERMISSIONS = frozenset(
    {
        "assets",
        "orders",
        "orders_view",
        "withdraw",
        "withdraw_view",
        "deposit",
        "deposit_view",
    }
)
TRADING = frozenset({"assets", "orders", "orders_view"})
NONCE_MEMORY = timedelta(minutes=10)

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


@dataclass(slots=True, kw_only=True)
class Key:
    """An access key of a pocket. An empty `ips` allows every address."""

    access_key: str
    secret_key: str = field(repr=False)
    pocket: str
    expire_at: datetime
    permissions: frozenset[str] = TRADING
    ips: frozenset[str] = frozenset()
    nonces: OrderedDict[str, datetime] = field(default_factory=OrderedDict, repr=False)


def identify(keys: Mapping[str, Key], authorization: str | None) -> tuple[Key, dict[str, object]]:
    """The key that signed the token, and the token's claims. Raises VenueError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise VenueError("no_authorization_token", 401, "인증 토큰이 없습니다.")
    try:
        head, body, signature = token.strip().split(".")
        algorithm = str(_decoded(head)["alg"])
        claims = _decoded(body)
        given = _bytes(signature)
    except (ValueError, KeyError, binascii.Error) as exc:
        raise unverified() from exc
    key = keys.get(str(claims.get("access_key")))
    if key is None:
        raise VenueError("invalid_access_key", 401, "잘못된 엑세스 키입니다.")
    if algorithm not in _HASHES:
        raise unverified()
    made = hmac.new(key.secret_key.encode(), f"{head}.{body}".encode(), _HASHES[algorithm])
    if not hmac.compare_digest(made.digest(), given):
        raise unverified()
    return key, claims


def admit(
    key: Key, claims: Mapping[str, object], *, ip: str, now: datetime, options: Options
) -> None:
    """Refuse a key that is out of date or used from elsewhere, and a nonce that was seen before.

    Raises VenueError. The nonce counts as used from here on.
    """
    if key.expire_at <= now:
        raise VenueError("expired_access_key", 401, "This key has expired.")
    if key.ips and ip not in key.ips:
        raise VenueError(options.ip_error, 401, "This is not a verified IP.")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not nonce:
        raise unverified()
    while key.nonces and now - next(iter(key.nonces.values())) > NONCE_MEMORY:
        key.nonces.popitem(last=False)
    if nonce in key.nonces:
        raise VenueError("nonce_used", 401, "이미 사용된 nonce 입니다.")
    key.nonces[nonce] = now


def check_hash(claims: Mapping[str, object], hashed: str) -> None:
    """Refuse a token that was not made for the string `hashed`. Raises VenueError."""
    if not hashed:
        return
    good = hashlib.sha512(hashed.encode()).hexdigest()
    if claims.get("query_hash_alg", "SHA512") != "SHA512" or claims.get("query_hash") != good:
        raise VenueError("invalid_query_payload", 401, "Failed to verify the query of Jwt.")


def allow(key: Key, permission: str | None, options: Options) -> None:
    """Refuse what the key may not do. Raises VenueError."""
    if permission is not None and permission not in key.permissions:
        raise VenueError("out_of_scope", options.out_of_scope_status, "권한이 부족합니다.")


def unverified() -> VenueError:
    """The 401 for a token that is no token or was signed with another secret."""
    return VenueError("jwt_verification", 401, "Failed to verify Jwt token.")


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _decoded(part: str) -> dict[str, object]:
    value = json.loads(_bytes(part))
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the caller takes any ValueError
    return value
