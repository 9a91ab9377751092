"""What a cache wants of the tier that several processes share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

Found = tuple[object, float]
"""A JSON value, and the seconds it may still be served."""

BROKEN = object()
"""What stands for a value that is no JSON; no codec takes it."""


class SharedTierDown(Exception):
    """The shared tier cannot be asked now."""


class SharedTier(Protocol):
    """The tier that several processes share. Every method raises SharedTierDown and nothing else
    when the tier is away or refuses.

    Whoever writes with `changed` tells the other processes, which forget what they hold of it.
    """

    async def get(self, name: str) -> Found | None:
        """What stands under the name; None when nothing does."""
        ...

    async def get_many(self, names: Sequence[str]) -> dict[str, Found]:
        """What stands under those of the names that have something."""
        ...

    async def put_many(
        self, values: Mapping[str, object], ttl_s: float, *, changed: bool = False
    ) -> None:
        """Keep JSON values for so many seconds."""
        ...

    async def drop(self, name: str) -> None:
        """Forget it, everywhere."""
        ...


@dataclass(frozen=True, kw_only=True)  # with slots, Codec[int](...) fails on Python 3.11
class Codec(Generic[T]):
    """How a value becomes JSON and comes back; `decode` raises ValueError for anything else.

    `decode` is given the key as well: what stands under another key than its own is not taken.
    """

    encode: Callable[[T], object]
    decode: Callable[[str, Any], T]
