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

from daemon.config_sections import Config
from daemon.masking import Masker, is_private

PREFIX = "UPBITD_"
LONGEST_SHOWN = 80
CROSS_FAULT = re.compile(r"([a-z_]+): (.*)")
"""How a validator of a whole section names the key that it complains about."""
SECRET_LIKE = re.compile(
    r"secret|password|passwd|access_?key|api_?key|private_?key|credential|token(?!s)", re.IGNORECASE
)


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
    return f"{draft.where(dotted)}: {dotted} = {show(name, value)}: unknown key; {hint}"


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
        return "***"
    if isinstance(value, Decimal):
        text = str(value)
    else:
        text = {True: "true", False: "false"}.get(value, "") if isinstance(value, bool) else ""
    text = Masker()(one_line(text or repr(value)))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())
