"""Kinds of values that stand in config.toml: durations, cron lines, addresses, market choices.

Every kind is a pydantic type whose error text says what is wrong; what is allowed stands in the
field's description, and daemon/config/load.py joins the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field

UNITS_S = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SIZE = re.compile(r"(\d+) ?(KB|MB|GB)")
SIZE_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
MARKET = re.compile(r"KRW-[A-Z0-9]{1,16}")

SEPARATORS = re.compile(r"[/?&=@:#,;]")
SHORTEST_PART = 8

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_duration(value: object) -> object:
    """Read "500ms", "5s", "10m", "1h" or "7d"; anything but a string passes through."""
    if not isinstance(value, str):
        return value
    if (match := DURATION.fullmatch(value)) is None:
        raise ValueError("not a duration")
    try:
        return timedelta(seconds=float(Decimal(match[1]) * UNITS_S[match[2]]))
    except OverflowError:
        raise ValueError("too long") from None


def _number(value: object) -> object:
    """Let 1, 1.0 and Decimal("1.0") stand for the same amount; never true or false."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic wants a ValueError
    amount = Decimal(str(value))
    if not amount.is_finite():
        raise ValueError("not a finite number")
    return amount


def _float(value: object) -> object:
    amount = _number(value)
    return float(amount) if isinstance(amount, Decimal) else amount


def _path(value: object) -> object:
    if isinstance(value, str) and not value:
        raise ValueError("empty")
    return Path(value).expanduser() if isinstance(value, str) else value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone") from None
    return value


def _rotation(value: object) -> object:
    """Read a size ("50 MB") as bytes and anything else as a duration."""
    if isinstance(value, str) and (match := SIZE.fullmatch(value)) is not None:
        return int(match[1]) * SIZE_BYTES[match[2]]
    return parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]
"""More than nothing."""
Offset = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
"""May be nothing."""
Amount = Annotated[Decimal, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_float)]
Folder = Annotated[Path, BeforeValidator(_path)]
Rotation = Annotated[int | timedelta, BeforeValidator(_rotation)]


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:  # its text holds parts of the address, which may be parts of a password
        raise ValueError(
            "not an address: its host or port cannot be read (in a password write / as %2F, "
            ": as %3A, ? as %3F, # as %23, @ as %40)"
        ) from None
    return parts


def is_loopback(host: str) -> bool:
    """Tell whether `host` can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _web(value: str, encrypted: str, clear: str) -> str:
    parts = _split(value)
    if parts.scheme not in {encrypted, clear} or not parts.hostname:
        raise ValueError(f"not an {encrypted}:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a password, a query or a fragment")
    if parts.scheme == clear and not is_loopback(parts.hostname):
        raise ValueError(f"{clear}:// would send keys over the network in clear")
    return value.rstrip("/")


def web_address(value: str) -> str:
    """An https:// address, or http:// on this machine, without a slash at its end."""
    return _web(value, "https", "http")


def unversioned(value: str) -> str:
    """A web address whose path does not end in the API version."""
    if re.search(r"/v\d+(beta\d*)?/?$", value):
        raise ValueError("the version is added by the daemon")
    return web_address(value) if value else value


def stream_address(value: str) -> str:
    """A wss:// address, or ws:// on this machine."""
    return _web(value, "wss", "ws")


def database_address(value: str) -> str:
    """`embedded`, or a libpq URL."""
    if value == "embedded":
        return value
    parts = _split(value)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("neither embedded nor a postgresql:// URL")
    return value


def postgres_in_clear(url: str) -> str | None:
    """Name a host that libpq would speak to unverified or in clear; None when there is none.

    Its default, sslmode=prefer, is in clear if the server says so, and never verified.
    """
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if query.get("sslmode") == "verify-full":
        return None
    named = [parts.netloc.rpartition("@")[2], query.get("host", ""), query.get("hostaddr", "")]
    hosts = [_host(each) for text in named for each in text.split(",") if each]
    return next((host for host in hosts if not _is_here(host)), None)


def redis_in_clear(url: str) -> str | None:
    """Name the host that Redis would be spoken to unverified or in clear; None when it is not."""
    parts = urlsplit(url)
    unverified = parse_qs(parts.query).get("ssl_cert_reqs", ["required"])[-1] != "required"
    host = parts.hostname or ""
    in_clear = parts.scheme == "redis" or (parts.scheme == "rediss" and unverified)
    return host if in_clear and not _is_here(host) else None


def _host(text: str) -> str:
    """The host of `host:port`, `[address]:port` or a percent-encoded path."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name = unquote(text)
    return name.partition(":")[0] if name.count(":") == 1 else name


def _is_here(host: str) -> bool:
    """Whether a database's host is this machine: a path, an abstract socket or loopback."""
    return not host or host[0] in "/@" or is_loopback(host)


def redis_address(value: str) -> str:
    """Nothing, or a Redis URL."""
    parts = _split(value)
    if value and parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("not a Redis URL")
    if parts.scheme in {"redis", "rediss"} and not parts.hostname:
        raise ValueError("names no host")
    return value


def password_of(address: str) -> str:
    """The password inside an address or its query, "" for none."""
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    return unquote(parts.password or "") or query.get("password", "")


def secrets_of(address: str) -> tuple[str, ...]:
    """What is secret in the address of a webhook, a bot or a switch: the whole, and its parts.

    Libraries tell of parts alone (apprise: `https://api.telegram.org/bot<token>/sendMessage`).
    Host names, short parts and plain words such as `services` are no secrets; nor are numbers,
    which would be taken out of the numbers of other lines.
    """
    scheme, _, rest = address.partition("://")
    if scheme.lower() in {"http", "https"}:
        place, _, path = rest.partition("/")
        rest = f"{place.rpartition('@')[0]}/{path}"
    parts = [each for part in SEPARATORS.split(rest) for each in (part, unquote(part))]
    return (address, *(part for part in dict.fromkeys(parts) if _is_secret_part(part)))


def _is_secret_part(part: str) -> bool:
    is_word = re.fullmatch(r"[a-z_-]{1,15}", part) is not None
    return len(part) >= SHORTEST_PART and not is_word and re.search("[A-Za-z]", part) is not None


def time_zone(value: str) -> str:
    """The name of a time zone that this machine knows."""
    return _timezone(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Markets:
    """Which markets to trade: those in `names`, or the `top` by 24 h value, or (neither) all."""

    names: tuple[str, ...] = ()
    top: int | None = None

    @property
    def everything(self) -> bool:
        """Whether every KRW market is meant."""
        return not self.names and self.top is None


def parse_markets(value: object) -> object:
    """Read a list of codes, "KRW-*", or {top = N}."""
    match value:
        case Markets():
            return value
        case "KRW-*":
            return Markets()
        case {"top": int(top), **rest} if not rest and not isinstance(top, bool) and top > 0:
            return Markets(top=top)
        case [_, *_]:
            return Markets(names=_codes(value))
    raise ValueError("names no markets")


def parse_market_list(value: object) -> object:
    """Read a list of codes, which may be empty."""
    if not isinstance(value, list | tuple):
        raise ValueError("is no list")  # noqa: TRY004 - pydantic turns it into the one line
    return _codes(value)


def _codes(values: Sequence[object]) -> tuple[str, ...]:
    codes = [each for each in values if isinstance(each, str) and MARKET.fullmatch(each)]
    if len(codes) != len(values):
        wrong = next(each for each in values if each not in codes)
        raise ValueError(f"{wrong!r} is not the code of a KRW market")
    if len(set(codes)) != len(codes):
        raise ValueError("names a market twice")
    return tuple(codes)


def parse_cron(line: str) -> str:
    """Check five cron fields; week days by name, because numbers mean two different things.

    Raises ValueError for anything that APScheduler would refuse or read differently, and for a
    date that never comes.
    """
    fields = line.lower().split()
    if len(fields) != 5:  # noqa: PLR2004 - a cron line has five fields
        raise ValueError(f"has {len(fields)} fields, not 5 (minute hour day month weekday)")
    minute, hour, day, month, weekday = fields
    _field("minute", minute, 0, 59)
    _field("hour", hour, 0, 23)
    days = _field("day", day, 1, 31)
    months = _field("month", month, 1, 12, MONTHS)
    if any(character.isdigit() for character in weekday.split("/")[0]):
        raise ValueError(
            "weekday by number: some programs count 1 as Monday and some as Tuesday, "
            "write mon tue wed thu fri sat sun"
        )
    _field("weekday", weekday, 0, 6, DAYS)
    if not any(first <= LONGEST[each - 1] for each in months for first in [min(days)]):
        raise ValueError("names a date that never comes")
    return " ".join(fields)


def _field(name: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    """The values that one cron field allows."""
    allowed: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, last = _span(name, span, low, high, names)
        if "/" in part and not (step.isdecimal() and 0 < int(step) <= high):
            raise ValueError(f"{name} {part!r}: the step is not a number from 1 to {high}")
        allowed.update(range(first, last + 1, int(step) if step else 1))
    return allowed


def _span(name: str, span: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, int]:
    if span == "*":
        return low, high
    ends = [_value(name, end, low, high, names) for end in span.split("-")]
    if len(ends) > 2 or ends[0] > ends[-1]:  # noqa: PLR2004 - a span has two ends
        raise ValueError(f"{name} {span!r}: not a value, or a range that runs upwards")
    return ends[0], ends[-1]


def _value(name: str, text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text in names:
        return low + names.index(text)
    if not text.isdecimal() or not low <= int(text) <= high:
        known = f" or {' '.join(names)}" if names else ""
        raise ValueError(f"{name} {text!r}: not {low} to {high}{known}")
    return int(text)
