"""The sandbox's Gemini speaks the documented protocol, whoever asks and however it is spelt."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fixtures.gemini import GeminiServer

from sandbox.gemini import API_KEY
from sandbox.gemini_answers import decisions, example, market_rows
from sandbox.gemini_scenarios import NAMES

MODEL = "gemini-2.5-flash"
COLUMNS = ["market", "ret_15", "ret_1", "change_24h_pct", "rsi_14", "position_return_pct"]
SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "decisions": {
            "type": "ARRAY",
            "items": {
                "type": "OBJECT",
                "properties": {
                    "market": {"type": "STRING"},
                    "action": {"type": "STRING", "enum": ["buy", "sell", "hold"]},
                    "confidence": {"type": "NUMBER"},
                    "reason": {"type": "STRING"},
                },
            },
        }
    },
}


def table(*rows: list[object]) -> str:
    inside = json.dumps({"columns": COLUMNS, "rows": rows})
    return f"Decide.\n<market_data>\n{inside}\n</market_data>"


def asking(text: str, **config: object) -> dict[str, object]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}


def by_numbers(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with types as the old SDK sends them."""
    numbers = {"STRING": 1, "NUMBER": 2, "INTEGER": 3, "BOOLEAN": 4, "ARRAY": 5, "OBJECT": 6}
    made = {**schema, "type": numbers[schema["type"]]}
    if "items" in schema:
        made["items"] = by_numbers(schema["items"])
    if "properties" in schema:
        made["properties"] = {k: by_numbers(v) for k, v in schema["properties"].items()}
    return made


@pytest.fixture
async def http(gemini_server: GeminiServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-goog-api-key": API_KEY}
    async with httpx.AsyncClient(base_url=gemini_server.url, headers=headers) as client:
        yield client


async def generate(
    http: httpx.AsyncClient, body: object, *, model: str = MODEL, version: str = "v1beta"
) -> httpx.Response:
    return await http.post(f"/{version}/models/{model}:generateContent", json=body)


def text_of(answer: httpx.Response) -> Any:
    (part,) = answer.json()["candidates"][0]["content"]["parts"]
    return json.loads(part["text"])


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_both_versions_are_served_with_any_query(
    http: httpx.AsyncClient, version: str
) -> None:
    path = f"/{version}/models/{MODEL}:generateContent?%24alt=json%3Benum-encoding%3Dint"
    answer = await http.post(path, json=asking("Hello"))
    assert answer.status_code == 200
    body = answer.json()
    assert body["modelVersion"] == MODEL
    assert body["candidates"][0]["finishReason"] == "STOP"
    usage = body["usageMetadata"]
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )


async def test_a_key_is_asked_for_and_a_wrong_one_is_400(gemini_server: GeminiServer) -> None:
    async with httpx.AsyncClient(base_url=gemini_server.url) as http:
        missing = await http.get(f"/v1beta/models/{MODEL}")
        wrong = await http.get(f"/v1beta/models/{MODEL}", headers={"x-goog-api-key": "no"})
    assert missing.status_code == 403
    assert wrong.status_code == 400
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


async def test_models_are_listed_and_described(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/v1/models")).json()["models"]
    assert f"models/{MODEL}" in {model["name"] for model in listed}
    one = (await http.get(f"/v1beta/models/{MODEL}")).json()
    assert one["supportedGenerationMethods"] == ["generateContent", "countTokens"]
    unknown = await http.get("/v1beta/models/gemini-1.5-flash")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert (await generate(http, asking("x"), model="gemini-1.5-flash")).status_code == 404


async def test_tokens_are_counted_for_both_bodies(http: httpx.AsyncClient) -> None:
    bare = asking("Hello there")
    path = f"/v1beta/models/{MODEL}:countTokens"
    one = await http.post(path, json={"contents": bare["contents"]})
    two = await http.post(path, json={"generateContentRequest": {"model": "m", **bare}})
    assert one.json() == two.json() == {"totalTokens": 3}


@pytest.mark.parametrize("spell", ["names", "numbers", "snake", "json"])
async def test_the_schema_is_followed_however_it_is_spelt(
    http: httpx.AsyncClient, spell: str
) -> None:
    btc: list[object] = ["KRW-BTC", "0.30", None, None, "55", None]
    eth: list[object] = ["KRW-ETH", "-0.3", None, None, None, None]
    spellings: dict[str, dict[str, object]] = {
        "names": {"responseSchema": SCHEMA},
        "numbers": {"responseSchema": by_numbers(SCHEMA)},
        "snake": {"response_schema": SCHEMA},
        "json": {"responseJsonSchema": json.loads(json.dumps(SCHEMA).lower())},
    }
    answer = await generate(http, asking(table(btc, eth), **spellings[spell]))
    made = text_of(answer)["decisions"]
    assert [(each["market"], each["action"]) for each in made] == [
        ("KRW-BTC", "buy"),
        ("KRW-ETH", "sell"),
    ]


async def test_another_schema_gets_the_smallest_document_that_fits(
    http: httpx.AsyncClient,
) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "size": {"type": ["integer", "null"], "minimum": 3},
            "kind": {"enum": ["a", "b"]},
            "is_old": {"type": "boolean"},
            "either": {"anyOf": [{"type": "number"}, {"type": "string"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    }
    answer = await generate(http, asking("x", responseJsonSchema=schema))
    assert text_of(answer) == {
        "city": "sandbox",
        "size": 3,
        "kind": "a",
        "is_old": True,
        "either": 0.0,
        "tags": ["sandbox"],
    }


def test_an_array_without_items_and_an_unknown_type_still_have_an_example() -> None:
    assert example({"type": "array"}) == []
    assert example({"type": 99}) == "sandbox"
    assert example({}) == "sandbox"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"contents": []}, "contents is not specified"),
        ({**asking("x"), "temprature": 1}, "temprature"),
        (asking("x", temprature=1), "temprature"),
        (asking("x", thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "LOW"}), "only one"),
        ([1], "Invalid JSON"),
    ],
)
async def test_what_the_real_service_refuses_is_refused(
    http: httpx.AsyncClient, body: object, says: str
) -> None:
    answer = await generate(http, body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_a_body_that_is_no_json_and_an_unknown_method_are_refused(
    http: httpx.AsyncClient,
) -> None:
    path = f"/v1beta/models/{MODEL}"
    assert (await http.post(f"{path}:generateContent", content=b"{")).status_code == 400
    assert (await http.post(f"{path}:dance", json={})).status_code == 404


@pytest.mark.parametrize(
    ("thinking", "thoughts"),
    [
        ({"thinkingBudget": 0}, None),
        ({"thinking_budget": 64}, 64),
        ({"thinkingBudget": -1}, 96),
        ({"thinkingLevel": "MINIMAL"}, 8),
        ({"thinking_level": "high"}, 768),
    ],
)
async def test_thinking_is_counted_as_asked(
    http: httpx.AsyncClient, thinking: dict[str, object], thoughts: int | None
) -> None:
    usage = (await generate(http, asking("x", thinkingConfig=thinking))).json()["usageMetadata"]
    assert usage.get("thoughtsTokenCount") == thoughts


async def test_an_answer_that_does_not_fit_ends_with_max_tokens(http: httpx.AsyncClient) -> None:
    no_thinking = {"thinkingBudget": 0}
    answer = await generate(http, asking("x", maxOutputTokens=5, thinkingConfig=no_thinking))
    body = answer.json()
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert body["usageMetadata"]["candidatesTokenCount"] == 5
    empty = (await generate(http, asking("x", maxOutputTokens=5))).json()
    assert empty["candidates"][0]["content"]["parts"] == []


async def test_the_script_goes_before_the_model_s_name(
    http: httpx.AsyncClient, gemini_server: GeminiServer
) -> None:
    told = await http.post("/sandbox/gemini/script", json={"scenarios": ["503", "ok"]})
    assert told.json() == {"scenarios": ["503", "ok"]}
    model = f"{MODEL}--429-bare"
    statuses = [(await generate(http, asking("x"), model=model)).status_code for _ in range(3)]
    assert statuses == [503, 200, 429]
    seen = (await http.get("/sandbox/gemini/calls")).json()
    assert seen["calls"] == {"generateContent": 3}
    assert [each["model"] for each in seen["requests"]] == [model] * 3
    assert seen["script"] == []


async def test_an_unknown_scenario_is_refused_with_the_names(http: httpx.AsyncClient) -> None:
    told = await http.post("/sandbox/gemini/script", json={"scenarios": ["503", "explode"]})
    assert told.status_code == 400
    assert told.json()["unknown"] == ["explode"]
    assert set(told.json()["known"]) == NAMES
    assert (await generate(http, asking("x"), model=f"{MODEL}--explode")).status_code == 400


def row(market: str, move: str | None, held: str | None = None) -> dict[str, object]:
    return {"market": market, "ret_15": move, "rsi_14": "50", "position_return_pct": held}


def actions(*rows: dict[str, object]) -> list[object]:
    return [each["action"] for each in decisions(rows)]


def test_momentum_decides_and_all_three_actions_occur() -> None:
    assert actions(row("A", "0.5"), row("B", "-0.5"), row("C", "0.01")) == ["buy", "sell", "hold"]


def test_a_fresh_account_buys_at_least_the_strongest() -> None:
    assert actions(row("A", "-0.5"), row("B", "0.01"), row("C", None)) == ["sell", "buy", "hold"]
    assert actions(row("A", None), row("B", None)) == ["buy", "hold"]


def test_who_holds_something_is_not_made_to_buy() -> None:
    assert actions(row("A", "0.01", "0.2"), row("B", "-0.5")) == ["hold", "sell"]


def test_a_losing_position_is_sold_even_in_a_quiet_market() -> None:
    assert actions(row("A", "0.01", "-1.5")) == ["sell"]


def test_the_same_rows_give_the_same_decisions_above_the_usual_threshold() -> None:
    rows = [row("A", "0.5"), row("B", "12"), row("C", None)]
    made = decisions(rows)
    assert made == decisions(rows)
    assert [each["confidence"] for each in made] == [0.74, 0.95, 0.55]


@pytest.mark.parametrize(
    "text",
    [
        "no table",
        "<market_data>{}</market_data>",
        "<market_data>{not json}</market_data>",
        '<market_data>{"columns": ["a"], "rows": [[1, 2]]}</market_data>',
    ],
)
def test_a_prompt_without_a_proper_table_has_no_rows(text: str) -> None:
    assert market_rows(text) == []
