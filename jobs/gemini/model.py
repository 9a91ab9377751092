"""The seam to Gemini: what a call is asked with, what comes back, and who can carry it.

`Wire` is what an SDK adapter does (carry one request, hand back status, headers and body);
`Model` is what a job uses. jobs/gemini/client.py turns the first into the second.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from jobs.core.errors import BadData
from jobs.core.untrusted import decode_floats

MOST_BYTES = 1024 * 1024
"""Of one answer, unpacked: 65,536 tokens are about 300 KB."""
FOR_THE_SDK = b"{}"
"""What an SDK is given to make objects of: a model's JSON of 1 MB holds the event loop for 1.5 s,
and whatever it cannot parse would be an error of its own. We read the bytes ourselves."""
PUBLIC_URL = "https://generativelanguage.googleapis.com"
"""Where Gemini is when the configuration names no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How much the model may think: a token `budget` (2.5) or a `level` (3.x), never both."""

    budget: int | None = None
    level: Literal["MINIMAL", "LOW"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `schema` is the OpenAPI subset both SDKs accept; `timeout_s` bounds the whole call.

    `temperature` None leaves the model's own, which is what Google advises for Gemini 3.
    `template` names the prompt's template and its fingerprint, for the record.
    """

    model: str
    system: str
    prompt: str
    schema: Mapping[str, object]
    max_output_tokens: int
    timeout_s: float
    temperature: float | None = None
    template: str = ""

    def record(self) -> str:
        """Everything that decides the answer, as canonical JSON: what the decision record keeps."""
        asked = {
            "model": self.model,
            "system": self.system,
            "prompt": self.prompt,
            "schema": self.schema,
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "template": self.template,
        }
        return json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """SHA-256 of `record()`, hexadecimal: the same input has the same fingerprint."""
        return hashlib.sha256(self.record().encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP answer as both adapters report it.

    Header names are lower case; `body` is the decoded JSON, or None when it was not JSON.
    """

    status: int
    headers: Mapping[str, str]
    body: object

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], content: bytes) -> "Exchange":
        """The answer with its bytes read within the bounds of jobs/core/untrusted.py."""
        body: object = None
        with suppress(BadData):
            body = decode_floats(content)
        return cls(
            status=status,
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. `prompt` includes `cached`; `thoughts` are billed as output."""

    prompt: int = 0
    cached: int = 0
    candidates: int = 0
    thoughts: int = 0
    tool_use: int = 0

    @property
    def output(self) -> int:
        """Tokens billed at the price of output."""
        return self.candidates + self.thoughts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A generateContent answer, read but not judged (jobs/gemini/answer.py judges).

    `text` joins the parts that are no thoughts; None when there is none. `finish_reason` is
    Gemini's name or "" when absent. `model_version` is who really answered, None when unsaid.
    `body` is the answer as it came.
    """

    text: str | None
    finish_reason: str
    block_reason: str
    usage: Usage
    model_version: str | None
    body: Mapping[str, object]


class Wire(Protocol):
    """An SDK behind three calls. Failures of transport arrive as NotSent or Unavailable."""

    async def generate(self, request: Request) -> Exchange:
        """Carry one generateContent; exactly one HTTP request, whatever it answers."""
        ...

    async def describe(self, model: str, timeout_s: float) -> Exchange:
        """Carry one models.get."""
        ...

    async def aclose(self) -> None:
        """Close connections and threads; no call may be in flight."""
        ...


class Model(Protocol):
    """Gemini as jobs and the health probe see it."""

    async def generate(self, request: Request) -> Reply:
        """Ask once. Raises what jobs/gemini/classify.py names."""
        ...

    async def probe(self) -> None:
        """Prove network, key and model name without generating; raises as `generate` does."""
        ...

    async def aclose(self) -> None:
        """Wait for calls in flight, then close."""
        ...


GENERATION = re.compile(r"^(?:models/)?gemini-(\d+)(?:\.(\d+))?-")
MIN_PRO_BUDGET = 128


def thinking_for(model: str) -> Thinking | None:
    """The least thinking that `model` accepts; None where nothing is to be said about it.

    2.5 takes a budget (0 switches it off, except on Pro, whose least is 128), 3.x a level that
    cannot be switched off. MINIMAL exists on the lite models only.
    """
    if (match := GENERATION.match(model)) is None:
        return None
    generation = (int(match[1]), int(match[2] or 0))
    if generation >= (3, 0):
        return Thinking(level="MINIMAL" if "flash-lite" in model else "LOW")
    if generation >= (2, 5):
        return Thinking(budget=MIN_PRO_BUDGET if "-pro" in model else 0)
    return None
