"""config.toml, environment and credentials become one frozen, checked `Config`.

The file is strict about types; environment variables are texts and are read as what their key
needs. Anything unknown or impossible ends in a `ConfigError` of one line that names the dotted key,
what stood there and what is allowed.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from daemon.config.errors import (
    ADDRESSES,
    PREFIX,
    SECRET_LIKE,
    ConfigError,
    Draft,
    describe,
    known_key,
    one_line,
    section_of,
    show,
    unknown_key,
    unknown_variable,
)
from daemon.config.sections import CREDENTIALS, Config, Secrets
from daemon.config.types import password_of

CONFIG_VARIABLE = "UPBITD_CONFIG"
LIVE_CONFIRMED = "UPBITD_LIVE_CONFIRMED"
"""No key of the configuration: a person's word that a daemon may begin to trade for real."""
NO_KEYS = (CONFIG_VARIABLE, LIVE_CONFIRMED)
DEFAULT_PATH = Path("config.toml")
SERVICE_LINK = re.compile(
    rf"{PREFIX}(?:[A-Z0-9]+_)*?(?:"
    r"SERVICE_HOST=[\da-fA-F:.]+|SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+"
    r"|PORT(?:_\d+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://\S+"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=\d+|ADDR=[\da-fA-F:.]+)"
    r"|NAME=/\S+)"
)
"""A variable of Kubernetes or Docker with its value; no key of ours has such a name."""
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
SYSTEM_PATH = Path("/etc/upbitd/config.toml")
SYSTEM_STATE = "/var/lib/upbitd"
SYSTEM_CREDENTIALS = Path("/etc/credstore")
"""Where the installation of the README puts its configuration, its state and its keys."""
SAMPLE = Path(__file__).parents[2] / "config.toml"
"""The configuration that comes with the program's own folder."""

__all__ = ["Config", "ConfigError", "from_mapping", "load", "locate"]


def locate(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The configuration file to read.

    `path`, else $UPBITD_CONFIG, else ./config.toml, else that of the installation. The sample in
    the program's folder stands behind the installation's: who stands in /opt/upbitd, where the
    README's lines are typed, means the daemon that runs.
    """
    if path is not None:
        return path
    if given := environ.get(CONFIG_VARIABLE):
        return Path(given)
    is_installed = _is_there(SYSTEM_PATH)
    is_sample = is_installed and DEFAULT_PATH.absolute() == SAMPLE
    if _is_there(DEFAULT_PATH) and not is_sample:
        return DEFAULT_PATH
    return SYSTEM_PATH if is_installed else DEFAULT_PATH


def _is_there(path: Path) -> bool:
    """Whether the file exists; one in a folder that is closed to us may well."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def with_credentials(place: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment of a command: as root the credential store stands in for systemd,
    which hands the daemon's credentials to the daemon alone.

    With another configuration than the installation's only the keys come from there, and only
    when the environment has none.
    """
    store = SYSTEM_CREDENTIALS
    if environ.get(CREDENTIALS_VARIABLE) or os.geteuid() != 0 or not store.is_dir():
        return environ
    if place == SYSTEM_PATH:
        return {**environ, CREDENTIALS_VARIABLE: str(store)}
    found = {name.upper(): _credential(store / name) for name in Secrets.model_fields}
    return {name: text for name, text in found.items() if text} | dict(environ)


def load(path: Path | None, environ: Mapping[str, str], *, keys: bool = True) -> Config:
    """Read and check the whole configuration.

    With `keys=False` (commands that only read the database) missing API keys are no fault.
    Raises ConfigError.
    """
    place = locate(path, environ)
    data = _read(place)
    return from_mapping(data, environ, source=str(place), base=place.parent, keys=keys)


def from_mapping(
    data: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    source: str = "configuration",
    base: Path | None = None,
    keys: bool = True,
) -> Config:
    """Check `data`, which has the shape of config.toml, with the environment over it.

    A relative state_dir counts from `base`. Raises ConfigError.
    """
    draft = Draft(source, json_copy(dict(data)))
    _refuse_secrets(draft)
    _apply_environment(draft, environ)
    _apply_credentials(draft, environ)
    _place_state(draft, environ, (base or Path()).absolute())
    config = _check(draft, _secrets(environ))
    if keys and (fault := config.missing_keys()) is not None:
        raise ConfigError(f"{draft.where(fault.partition(':')[0])}: {fault}")
    return config


def secrets_in(path: Path) -> list[str]:
    """Return the keys of a configuration file whose values are secrets. Raises ConfigError."""
    data = _read(path)
    found = []
    for dotted in CREDENTIALS.values():
        section, _, key = dotted.partition(".")
        table = data.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str) and dotted in ADDRESSES:
            value = password_of(value)
        elif isinstance(value, list):
            value = [each for each in value if not isinstance(each, dict) or "exec" not in each]
        if value:
            found.append(dotted)
    return found


def json_copy(value: Any) -> Any:
    """A copy of nested tables and lists that may be changed."""
    if isinstance(value, Mapping):
        return {key: json_copy(each) for key, each in value.items()}
    return [json_copy(each) for each in value] if isinstance(value, list) else value


# --- the file


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; give --config PATH or set {CONFIG_VARIABLE} "
            f"(an installation has {SYSTEM_PATH})"
        ) from None
    except PermissionError:
        raise ConfigError(
            f"{path}: cannot be read: Permission denied; use sudo or the daemon's own account"
        ) from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: is not UTF-8 text") from None
    return _parse(path, text)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as exc:
        message = str(exc)
        match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
        line = match[1] if match and match[1] else str(text.rstrip("\n").count("\n") + 1)
        said = message[: match.start()] if match else message
        raise ConfigError(f"{path}: line {line}: is not TOML: {one_line(said)}") from None
    except (RecursionError, InvalidOperation):
        raise ConfigError(f"{path}: is not TOML that can be read") from None


def _refuse_secrets(draft: Draft) -> None:
    for dotted, value in _walk(draft.data):
        name = dotted.rpartition(".")[2]
        if SECRET_LIKE.search(name) and known_key(dotted) is None:
            raise ConfigError(
                f"{draft.source}: {dotted}: secrets never stand in this file; set "
                "UPBIT_ACCESS_KEY, UPBIT_SECRET_KEY or GEMINI_API_KEY in the environment, or use "
                "systemd credentials"
            )
        if dotted == "secrets":
            raise ConfigError(unknown_key(draft, dotted, value))


def _walk(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{key}.")


# --- the environment


def _apply_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    ignored = service_links(environ)
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable not in {*NO_KEYS, *ignored}:
            _override(draft, variable, text)


def service_links(environ: Mapping[str, str]) -> list[str]:
    """The variables that Kubernetes or Docker set because a service is called upbitd.

    `UPBITD_PORT=tcp://10.0.0.1:8787` is nobody's wish.
    """
    return sorted(name for name in environ if SERVICE_LINK.fullmatch(f"{name}={environ[name]}"))


def _override(draft: Draft, variable: str, text: str) -> None:
    dotted = variable.removeprefix(PREFIX).lower().replace("__", ".")
    info = known_key(dotted)
    if info is None:
        raise ConfigError(unknown_variable(variable))
    _put(draft, dotted, info, text, variable)


def _apply_credentials(draft: Draft, environ: Mapping[str, str]) -> None:
    """Lay systemd's credentials over the file and the environment."""
    if folder := environ.get(CREDENTIALS_VARIABLE):
        for name, dotted in CREDENTIALS.items():
            info = known_key(dotted)
            if info is not None and (text := _credential(Path(folder) / name)):
                _put(draft, dotted, info, text, f"credential {name}")


def _put(draft: Draft, dotted: str, info: FieldInfo, text: str, origin: str) -> None:
    """Set a key from a text that came from elsewhere than the file."""
    *sections, key = dotted.split(".")
    table = draft.data
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            shown = show(".".join(sections), table)
            raise ConfigError(f"{draft.source}: {section} = {shown}: allowed: a table")
    value = _from_text(info, text, origin, dotted)
    if isinstance(value, dict) and isinstance(table.get(key), dict) and section_of(info):
        value = {**table[key], **value}
    if (rival := {"cron": "every", "every": "cron"}.get(key)) and len(sections) > 1:
        table.pop(rival, None)
    table[key] = value
    draft.origin[dotted] = origin


def _from_text(info: FieldInfo, text: str, variable: str, dotted: str) -> Any:
    """The variable's text as the type that its key needs; left alone where it does not fit."""
    if section_of(info) or (text[:1] in {"[", "{"} and info.annotation is not str):
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError:
            raise ConfigError(
                f"{variable}: {dotted} = {show(dotted, text)}: is not JSON; allowed: "
                f"{info.description or 'a JSON object'}"
            ) from None
    if info.annotation is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if (kind := _number_of(info.annotation)) is not None:
        return _as_number(text, whole=kind is int)
    return text


def _number_of(annotation: Any) -> Any:
    """The kind of number that a key takes, also where it may be absent; None for other keys."""
    is_union = get_origin(annotation) in {Union, UnionType}
    options = get_args(annotation) if is_union else (annotation,)
    kinds = [get_args(each)[0] if get_origin(each) is Annotated else each for each in options]
    return next((kind for kind in kinds if kind in (int, float, Decimal)), None)


def _as_number(text: str, *, whole: bool) -> int | Decimal | str:
    try:
        return int(text) if whole else Decimal(text)
    except (ValueError, InvalidOperation):
        return text


def _secrets(environ: Mapping[str, str]) -> Secrets:
    """The keys: a systemd credential wins over an environment variable; empty is missing."""
    folder = environ.get(CREDENTIALS_VARIABLE)
    values: dict[str, str] = {}
    for name in Secrets.model_fields:
        text = environ.get(name.upper(), "")
        if folder:
            text = _credential(Path(folder) / name) or text
        if text := text.strip():
            if not text.isascii() or not text.isprintable() or " " in text:
                raise ConfigError(f"{name.upper()}: holds characters that no key has")
            values[name] = text
    return Secrets.model_validate(values)


def _credential(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}") from None


def _place_state(draft: Draft, environ: Mapping[str, str], base: Path) -> None:
    """Make state_dir absolute; the default is systemd's folder where there is one, and that of
    the installation beside the installation's configuration.
    """
    table = draft.data.setdefault("daemon", {})
    if not isinstance(table, dict):
        return
    given = table.get("state_dir", "./var")
    if not isinstance(given, str):
        return
    if given in {"./var", "var"}:
        if environ.get("STATE_DIRECTORY"):
            given = environ["STATE_DIRECTORY"].partition(":")[0]
        elif base == SYSTEM_PATH.parent:
            given = SYSTEM_STATE
    if given:
        table["state_dir"] = str(base / Path(given).expanduser())


# --- the check


def _check(draft: Draft, secrets: Secrets) -> Config:
    try:
        return Config.model_validate({**draft.data, "secrets": secrets})
    except ValidationError as exc:
        faults = exc.errors(include_url=False)
        # a misspelt key explains the one that is missing
        faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
        line = describe(draft, faults[0])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ConfigError(f"{line}{more}") from None
