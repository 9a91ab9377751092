"""Every HTTP client begins here: which proxy of the environment applies, and whom TLS trusts.

httpx and requests read the environment in their own ways: a SOCKS proxy, an IPv6 address in
NO_PROXY or a certificate file that is gone ended the daemon with a traceback, and HTTP_PROXY got
the token of a loopback address in clear. Here it is read once, for the one address that a client
is for; loopback never goes through a proxy.
"""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from jobs.core.errors import Permanent

ALL = "all"
PROXY_SCHEMES = ("http", "https")


class BadEnvironment(Permanent):
    """A variable of the environment makes network calls impossible; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy and the variable that names it. `url` may hold a password; `shown` does not."""

    url: str
    variable: str

    @property
    def shown(self) -> str:
        """The address for people and logs."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{_host_and_port(parts)}"


def settings(url: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What an httpx client for the server at `url` has to be given. Raises BadEnvironment.

    `environ` is the environment of this process unless said.
    """
    environ = os.environ if environ is None else environ
    proxy = proxy_for(url, environ)
    is_clear = urlsplit(url).scheme == "http"
    needs_trust = not is_clear or (proxy is not None and urlsplit(proxy.url).scheme == "https")
    return {
        "trust_env": False,
        "proxy": None if proxy is None else proxy.url,
        # reading the certificates takes 20 ms, which http:// has no use for
        "verify": trust(environ) if needs_trust else False,
    }


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that calls to `url` go through; None for none. Raises BadEnvironment."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host):
        return None
    found = _variable(environ, f"{parts.scheme}_proxy") or _variable(environ, "all_proxy")
    if found is None or _is_excepted(host, parts, environ):
        return None
    return _checked(*found)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower() == "localhost" or host.lower().endswith(".localhost")


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Whom TLS trusts: SSL_CERT_FILE, SSL_CERT_DIR, or certifi. Raises BadEnvironment."""
    file, folder = environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", "")
    if file and not Path(file).is_file():
        raise BadEnvironment(f"SSL_CERT_FILE = {file}: there is no such file; correct or unset it")
    if folder and not any(Path(each).is_dir() for each in folder.split(":")):
        raise BadEnvironment(
            f"SSL_CERT_DIR = {folder}: there is no such folder; correct or unset it"
        )
    try:
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        return httpx.create_ssl_context(trust_env=False)
    except (OSError, ssl.SSLError) as exc:
        named = "SSL_CERT_FILE" if file else "SSLKEYLOGFILE"
        value = environ.get(named, "")
        raise BadEnvironment(f"{named} = {value}: cannot be used: {exc}") from exc


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """The variable and its value; the lower-case form wins, an empty one switches it off."""
    for each in (name, name.upper()):
        if each in environ:
            return (each, environ[each].strip()) if environ[each].strip() else None
    return None


def _checked(variable: str, value: str) -> Proxy:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadEnvironment(f"{variable}: is not an address; correct or unset it") from None
    if parts.scheme.startswith("socks"):
        raise BadEnvironment(
            f"{variable} = {parts.scheme}://{parts.hostname}: SOCKS proxies are not supported; "
            "name an http:// proxy, or except the hosts with NO_PROXY"
        )
    if parts.scheme not in PROXY_SCHEMES or not has_place:
        raise BadEnvironment(f"{variable}: is not an http:// address; correct or unset it")
    return Proxy(url=url, variable=variable)


def _is_excepted(host: str, parts: SplitResult, environ: Mapping[str, str]) -> bool:
    found = _variable(environ, "no_proxy")
    entries = () if found is None else found[1].replace(",", " ").split()
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return any(_covers(entry, host.lower(), port) for entry in entries)


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY covers a host: a name and what is below it, an address, CIDR."""
    if entry == "*":
        return True
    with suppress(ValueError):
        address = ip_address(host)
        with suppress(ValueError):
            return address in ip_network(entry.strip("[]"), strict=False)
    name, its_port = _split_port(entry.lower())
    if its_port is not None and its_port != port:
        return False
    name = name.strip("[]").removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return entry, None


def _host_and_port(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port}" if parts.port else f"{host}"
