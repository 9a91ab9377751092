"""No float in money code: no literal, no call, no annotation, but for durations named so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs

ROOT = Path(jobs.__file__).parent
MONEY = sorted(
    [
        *(each for name in ("domain", "matching", "orders") for each in ROOT.glob(f"{name}/*.py")),
        *(ROOT / "store" / f"{name}.py" for name in ("orders", "order_events", "positions")),
        *(ROOT / "store" / f"{name}.py" for name in ("paper", "story", "settings")),
        *(ROOT / "upbit" / f"{name}.py" for name in ("wire", "ticks", "fields")),
    ]
)
DURATION = ("_s", "_S", "seconds", "timeout")
"""How the name of a float may end: it is a span of time in seconds."""


def is_duration(name: str | None) -> bool:
    return name is not None and name.endswith(DURATION)


def target_of(node: ast.AST) -> str | None:
    """The name that a value is given to."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.arg(arg=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.keyword(arg=name):
            return name
        case ast.Assign(targets=[ast.Attribute(attr=name)]):
            return name
        case _:
            return None


def floats(tree: ast.AST, within: tuple[str | None, ...] = ()) -> Iterator[tuple[int, str]]:
    """Every float by line, but for what a duration's name or a tuple of durations holds."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.FunctionDef) and child is tree.returns and is_duration(tree.name):
            continue
        names = (*within, target_of(child))
        if not any(map(is_duration, names)) and (what := float_at(child)) is not None:
            yield getattr(child, "lineno", 0), what
        yield from floats(child, names)


def float_at(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=float() as value):
            return f"literal {value}"
        case ast.Call(func=ast.Name(id="float")):
            return "float()"
        case ast.Name(id="float", ctx=ast.Load()):
            return "float"
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return f"math.{name}"
        case _:
            return None


@pytest.mark.parametrize("path", MONEY, ids=lambda path: str(path.relative_to(ROOT)))
def test_money_is_decimal(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"line {line}: {what}" for line, what in floats(tree)]
    assert not found, f"{path.name}: {found}"


def test_the_walk_covers_the_modules_that_handle_money() -> None:
    assert len(MONEY) > 25
    assert all(path.is_file() for path in MONEY)


@pytest.mark.parametrize(
    "text",
    [
        "price = 0.1",
        "price: float = 1",
        "def fee(total: float) -> Decimal: ...",
        "def fee(total: Decimal) -> float: ...",
        "Decimal(float(total))",
        "sum(map(float, prices))",
        "row.price = 1e3",
        "fee(rate=0.0005)",
        "math.floor(price)",
    ],
)
def test_the_walk_finds_a_float(text: str) -> None:
    assert list(floats(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    ["pause_s = 0.5", "timeout_s: float = 60.0", "wait(over_s=10.0)", "LOOKS_S = (0.2, 1.0)"],
)
def test_the_walk_lets_durations_be(text: str) -> None:
    assert not list(floats(ast.parse(text)))
