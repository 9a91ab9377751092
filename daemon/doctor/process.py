"""What the doctor looks at around the process: the log file, and what the environment changes."""

import os
from collections.abc import Mapping
from pathlib import Path

from daemon.config.load import Config, ConfigError, service_links
from daemon.doctor.network import proxies
from daemon.doctor.results import Finding, fault, note, ok, warning
from daemon.postgres.encryption import in_clear, refuse_clear
from jobs.core.http_clients import BadEnvironment, trust

LOG = "log"
ENVIRONMENT = "environment"
EMBEDDED = "embedded"
LIBPQ = "PG"


def log_file(config: Config) -> Finding:
    """Whether the log file can be written by this account. Nothing is written."""
    if not config.log.file:
        return note(LOG, "standard output only")
    path = Path(config.log.file)
    mend = "give the daemon's account the right to write it, or set log.file to another path"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    except FileNotFoundError:
        place = next(each for each in path.absolute().parents if each.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            return fault(LOG, f"{path} cannot be made: {place} is closed to this account", mend)
        return ok(LOG, f"{path} will be made")
    except OSError as exc:
        return fault(LOG, f"{path} cannot be written: {exc.strerror}", mend)
    return ok(LOG, f"{path} can be written")


def environment(config: Config, environ: Mapping[str, str]) -> list[Finding]:
    """What variables of the environment change: proxies, trust, addresses, the database."""
    try:
        proxies(config, environ)
        trust(environ)
    except BadEnvironment as exc:
        return [fault(ENVIRONMENT, str(exc), "correct or unset the variable")]
    found = [
        note(ENVIRONMENT, f"{name} is called through {proxy.shown} ({proxy.variable})")
        for name, proxy in proxies(config, environ).items()
    ]
    found += [
        note(ENVIRONMENT, f"{name} decides whom TLS trusts: {environ[name]}")
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")
        if environ.get(name)
    ]
    if links := service_links(environ):
        found.append(note(ENVIRONMENT, f"service links are ignored: {', '.join(links)}"))
    if of_libpq := sorted(name for name in environ if name.startswith(LIBPQ)):
        names = ", ".join(of_libpq)
        is_ours = config.database.url == EMBEDDED
        effect = "is ignored: the database is our own" if is_ours else "adds to database.url"
        found.append(note(ENVIRONMENT, f"{names} {effect}"))
    return found or [ok(ENVIRONMENT, "changes nothing")]


def encryption(config: Config) -> list[Finding]:
    """Which of the databases is spoken to in clear over a network, refused or allowed."""
    try:
        refuse_clear(config)
    except ConfigError as exc:
        said, _, mend = str(exc).partition("; ")
        return [fault(ENVIRONMENT, said, mend)]
    mend = "use sslmode=verify-full or rediss://, and take allow_clear out"
    return [
        warning(ENVIRONMENT, f"{section}: {host} is spoken to in clear (allow_clear)", mend)
        for section, host in in_clear(config).items()
    ]
