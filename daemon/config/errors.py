"""What is wrong with a configuration, said in one line: where, which key, what stood there, what is
allowed, and which key was probably meant.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from daemon.config.sections import Config
from daemon.redaction import Masker, is_private

PREFIX = "UPBITD_"
LONGEST_SHOWN = 80
HIDDEN = "***"
CROSS_FAULT = re.compile(r"([a-z_]+): (.*)")
"""How a validator of a whole section names the key that it complains about."""
SECRET_LIKE = re.compile(
    r"secret|password|passwd|access_?key|api_?key|private_?key|credential|token(?!s)", re.IGNORECASE
)

ADDRESSES = ("database.url", "redis.url")
SECRET_PLACES = (*ADDRESSES, "alerts.hooks", "health.ping_url")
"""Keys whose values hold secrets that have no shape: paths of webhooks, bot tokens, passwords."""
WORD = re.compile(r"[a-z_]{0,12}|[\d.]{1,8} ?[a-z]{0,2}")
"""What may be shown beside secrets: a severity, a duration, a number."""
PLAIN = re.compile(r"[\w.:* -]{0,24}", re.ASCII)
"""What may be shown of a key that nobody knows: it may be a misspelt one of the secret places."""


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line that says where and why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Values on their way to a Config, and where each overridden key came from."""

    source: str
    data: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict)

    def where(self, dotted: str) -> str:
        """The file, or the variable that set this key."""
        for key, variable in self.origin.items():
            if dotted == key or dotted.startswith(f"{key}."):
                return variable
        return self.source


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The section behind a field, if it is a table of known keys."""
    annotation: object = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def known_key(dotted: str) -> FieldInfo | None:
    """The field behind a dotted key, or None."""
    model: type[BaseModel] | None = Config
    info: FieldInfo | None = None
    for part in dotted.split("."):
        info = model.model_fields.get(part) if model else None
        if info is None or part == "secrets":
            return None
        model = section_of(info)
    return info


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [key for key in model.model_fields if key != "secrets"]


def _model_at(dotted: str) -> type[BaseModel]:
    """The section that holds the last part of a dotted key, as far as sections go."""
    model: type[BaseModel] = Config
    for part in dotted.split(".")[:-1]:
        info = model.model_fields.get(part)
        inner = section_of(info) if info else None
        inner = inner or (_item_model(info) if info else None)
        model = inner or model
    return model


def _item_model(info: FieldInfo) -> type[BaseModel] | None:
    """The section inside a list or a table of sections (hooks, prices)."""
    todo = list(get_args(info.annotation))
    while todo:
        argument = todo.pop(0)
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
        todo += get_args(argument)
    return None


def _all_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    for key in _keys_of(model):
        yield f"{prefix}{key}"
        if (inner := section_of(model.model_fields[key])) is not None:
            yield from _all_keys(inner, f"{prefix}{key}.")


def unknown_key(draft: Draft, dotted: str, value: object) -> str:
    """The line for a key that does not exist, with the one that was probably meant."""
    head, _, name = dotted.rpartition(".")
    siblings = _keys_of(_model_at(dotted))
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        hint = f"did you mean {head + '.' if head else ''}{near[0]}?"
    elif elsewhere := [key for key in _all_keys() if key.rpartition(".")[2] == name]:
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = f"allowed in {head or 'the file'}: {', '.join(siblings)}"
    shown = show(dotted, value) if _all_match(PLAIN, value) else HIDDEN
    return f"{draft.where(dotted)}: {dotted} = {shown}: unknown key; {hint}"


def unknown_variable(variable: str) -> str:
    """The line for an UPBITD_ variable that overrides nothing."""
    known = [key.upper().replace(".", "__") for key in _all_keys()]
    name = variable.removeprefix(PREFIX)
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.7):
        return f"{variable}: unknown variable; did you mean {PREFIX}{near[0]}?"
    return f"{variable}: unknown variable; {PREFIX}<SECTION>__<KEY> overrides a key of config.toml"


def describe(draft: Draft, fault: ErrorDetails) -> str:
    """The line for what pydantic found."""
    names = [str(part) for part in fault["loc"]]
    dotted = ".".join(names)
    if fault["type"] == "extra_forbidden":
        return unknown_key(draft, dotted, fault["input"])
    if fault["type"] in {"model_type", "dict_type"}:
        return f"{draft.where(dotted)}: {dotted} = {show(dotted, fault['input'])}: allowed: a table"
    said = one_line(fault["msg"].removeprefix("Value error, "))
    if (cross := CROSS_FAULT.fullmatch(said)) and isinstance(fault["input"], dict):
        return _describe_cross(draft, f"{dotted}.{cross[1]}", fault["input"], cross[2])
    if fault["type"] == "missing":
        return f"{draft.where(dotted)}: {dotted}: is missing; allowed: {_allowed(dotted)}"
    reason = f"{said}; " if fault["type"] == "value_error" else ""
    shown = show(dotted, fault["input"])
    return f"{draft.where(dotted)}: {dotted} = {shown}: {reason}allowed: {_allowed(dotted)}"


def _describe_cross(draft: Draft, dotted: str, table: dict[str, object], said: str) -> str:
    """The line for a key that does not go with its neighbours."""
    key = dotted.rpartition(".")[2]
    shown = f" = {show(dotted, table[key])}" if key in table else ""
    return f"{draft.where(dotted)}: {dotted}{shown}: {said}"


def _allowed(dotted: str) -> str:
    """The description of the nearest field above a fault."""
    model: type[BaseModel] = Config
    said = "another value"
    for part in dotted.split("."):
        info = model.model_fields.get(part)
        if info is None:
            continue
        said = info.description or said
        model = section_of(info) or _item_model(info) or model
    return said


def show(dotted: str, value: object) -> str:
    """The value as it stood there: short, on one line, without anything secret."""
    if is_private(dotted.rpartition(".")[2]) or SECRET_LIKE.search(dotted):
        return HIDDEN
    if dotted in ADDRESSES and isinstance(value, str):
        value = place_of(value)
    elif _is_secret_place(dotted) and not _all_match(WORD, value):
        return HIDDEN
    if isinstance(value, Decimal):
        text = str(value)
    else:
        text = {True: "true", False: "false"}.get(value, "") if isinstance(value, bool) else ""
    text = Masker()(one_line(text or repr(value)))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def place_of(address: str) -> str:
    """The scheme and the host of an address, and nothing else of it.

    A password with an @, a slash or a question mark ends elsewhere than its writer meant.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address if WORD.fullmatch(address) else HIDDEN
    before, at, _ = rest.rpartition("@")
    if at and ("?" in before or "#" in before):
        return f"{scheme}://{HIDDEN}"
    place = re.split("[/?#]", rest.rpartition("@")[2])[0].rpartition(":")
    host = place[0] if place[1] and not place[2].endswith("]") else place[0] + place[1] + place[2]
    return f"{scheme}://{HIDDEN}@{host}" if at else f"{scheme}://{host}"


def _is_secret_place(dotted: str) -> bool:
    """Whether a key is one of the secret places, stands below or above one."""
    own = f"{dotted}."
    return any(
        own.startswith(f"{place}.") or f"{place}.".startswith(own) for place in SECRET_PLACES
    )


def _all_match(pattern: re.Pattern[str], value: object) -> bool:
    """Whether every text in a value is of a form; numbers and instants always are."""
    if isinstance(value, dict):
        return all(_all_match(pattern, each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return all(_all_match(pattern, each) for each in value)
    return not isinstance(value, str) or pattern.fullmatch(value) is not None


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())
