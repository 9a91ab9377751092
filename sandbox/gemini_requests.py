"""What a request to the sandbox's Gemini asks for, and the good answer to it.

Both spellings of every field are read (camelCase and snake_case), as the real service does.
"""

from dataclasses import dataclass

from sandbox import gemini_scenarios as scenarios
from sandbox.gemini_answers import answer, schema_type
from sandbox.gemini_scenarios import Answer, Document

BYTES_PER_TOKEN = 4
DEFAULT_THOUGHTS = 96
THOUGHTS = {"MINIMAL": 8, "LOW": 48, "MEDIUM": 192, "HIGH": 768}

MODELS = {
    "gemini-3.8-flash": "Gemini 3.8 Flash",
    "gemini-3.6-flash": "Gemini 3.6 Flash",
    "gemini-3.5-flash": "Gemini 3.5 Flash",
    "gemini-3.5-flash-lite": "Gemini 3.5 Flash-Lite",
    "gemini-3.1-flash-lite": "Gemini 3.1 Flash-Lite",
    "gemini-2.5-pro": "Gemini 2.5 Pro",
    "gemini-2.5-flash": "Gemini 2.5 Flash",
    "gemini-2.5-flash-lite": "Gemini 2.5 Flash-Lite",
}
TOP_FIELDS = frozenset(
    [
        "contents",
        "systemInstruction",
        "generationConfig",
        "safetySettings",
        "tools",
        "toolConfig",
        "cachedContent",
        "model",
        "labels",
    ]
)
CONFIG_FIELDS = frozenset(
    {
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
        "seed",
        "candidateCount",
        "stopSequences",
        "thinkingConfig",
        "presencePenalty",
        "frequencyPenalty",
        "responseModalities",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a request decides the answer."""

    text: str
    schema: Document | None
    max_tokens: int | None
    thoughts: int


def read(body: Document) -> Asked | Answer:
    """What a generateContent asks for, or the 400 for what the real service refuses."""
    config = _get(body, "generationConfig")
    config = config if isinstance(config, dict) else {}
    for fields, allowed, where in (
        (body, TOP_FIELDS, "request"),
        (config, CONFIG_FIELDS, "generation_config"),
    ):
        if unknown := sorted({_camel(name) for name in fields} - allowed):
            message = f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at '{where}'."
            return scenarios.error(400, "INVALID_ARGUMENT", message)
    if not body.get("contents"):
        message = "* GenerateContentRequest.contents: contents is not specified\n"
        return scenarios.error(400, "INVALID_ARGUMENT", message)
    thinking = _get(config, "thinkingConfig")
    thoughts = _thoughts(thinking if isinstance(thinking, dict) else {})
    if thoughts is None:
        message = "You can only set only one of thinking budget and thinking level."
        return scenarios.error(400, "INVALID_ARGUMENT", message)
    schema = _get(config, "responseSchema") or _get(config, "responseJsonSchema")
    limit = _get(config, "maxOutputTokens")
    return Asked(
        text=prompt_text(body),
        schema=schema if isinstance(schema, dict) and schema_type(schema) else None,
        max_tokens=limit if isinstance(limit, int) else None,
        thoughts=thoughts,
    )


def _thoughts(thinking: Document) -> int | None:
    """Thought tokens of a call; None when both ways to steer them are used."""
    budget, level = _get(thinking, "thinkingBudget"), _get(thinking, "thinkingLevel")
    if budget is not None and level is not None:
        return None
    if isinstance(budget, int) and budget >= 0:
        return min(budget, DEFAULT_THOUGHTS)
    return THOUGHTS.get(str(level).upper(), DEFAULT_THOUGHTS)


def good_answer(model: str, asked: Asked) -> Document:
    """A complete generateContent answer; MAX_TOKENS when the limit leaves no room for it."""
    text, finish = answer(asked.text, asked.schema), "STOP"
    room = asked.max_tokens - asked.thoughts if asked.max_tokens is not None else None
    if room is not None and tokens(text) > room:
        text, finish = text[: max(0, room) * BYTES_PER_TOKEN], "MAX_TOKENS"
    prompt_tokens, answer_tokens = tokens(asked.text), tokens(text)
    usage: Document = {
        "promptTokenCount": prompt_tokens,
        "candidatesTokenCount": answer_tokens,
        "totalTokenCount": prompt_tokens + answer_tokens + asked.thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt_tokens}],
    }
    if asked.thoughts:
        usage["thoughtsTokenCount"] = asked.thoughts
    parts = [{"text": text}] if text else []
    return {
        "candidates": [
            {
                "content": {"parts": parts, "role": "model"},
                "finishReason": finish,
                "index": 0,
            }
        ],
        "usageMetadata": usage,
        "modelVersion": model,
        "responseId": f"sandbox-{prompt_tokens}-{answer_tokens}",
    }


def described(model: str, version: str) -> Answer:
    """The answer to one models.get."""
    name = model.partition("--")[0]
    if name not in MODELS:
        return scenarios.unknown_model(name, version)
    return scenarios.whole(model_card(name))


def model_card(name: str) -> Document:
    """What models.get and models.list say of a model."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": MODELS[name],
        "description": "The sandbox's stand-in",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": True,
    }


def counted(body: Document) -> Document:
    """Either body of countTokens: bare contents, or a whole request inside."""
    inner = _get(body, "generateContentRequest")
    return inner if isinstance(inner, dict) else body


def prompt_text(body: Document) -> str:
    """All text of a request, the system instruction first."""
    system = _get(body, "systemInstruction")
    contents = body.get("contents")
    spoken = contents if isinstance(contents, list) else [contents]
    return "\n".join(
        part["text"]
        for content in [system, *spoken]
        if isinstance(content, dict)
        for part in content.get("parts") or []
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def tokens(text: str) -> int:
    """About as many tokens as Gemini would count."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _get(fields: Document, name: str) -> object:
    """A field by its camelCase name, however it was spelt."""
    return next((value for key, value in fields.items() if _camel(key) == name), None)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
