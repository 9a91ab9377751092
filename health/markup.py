"""HTML that is safe by construction: whatever is not already markup is escaped."""

from html import escape
from typing import Final

VOID: Final = frozenset({"br", "circle", "line", "link", "meta", "path", "rect"})


class Html(str):
    """Text that is markup already. Only `tag` and `join` make it, and the templates."""

    __slots__ = ()


def text(child: object) -> str:
    """`child` as markup: as it is when it is Html, escaped otherwise, nothing for None."""
    if child is None:
        return ""
    return child if isinstance(child, Html) else escape(str(child))


def join(*children: object) -> Html:
    """The children one after the other."""
    return Html("".join(text(child) for child in children))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. `class_` means class, `_` in other names `-`; None leaves an attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{given}>" if name in {"br", "link", "meta"} else f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")
