"""What Postgres cannot hold becomes U+FFFD on its way there, in every kind of statement."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from jobs.store.db import Database
from jobs.store.text_adapters import dumps

HOSTILE = "a\x00b \ud800 c \U0001f600 비트코인 \\u0000"
HELD = "a\ufffdb \ufffd c \U0001f600 비트코인 \\u0000"


async def test_texts_arrive_without_what_cannot_be_held(database: Database) -> None:
    async with database.begin() as conn:
        assert (await conn.execute(text("SELECT :t ::text"), {"t": HOSTILE})).scalar() == HELD
        many = await conn.execute(text("SELECT :t ::text[]"), {"t": [HOSTILE, "plain"]})
        assert many.scalar() == [HELD, "plain"]


async def test_json_arrives_without_what_cannot_be_held(database: Database) -> None:
    query = text("SELECT :t").bindparams(bindparam("t", type_=JSONB))
    document = {"a\x00": [HOSTILE, {"b": float("nan")}], "c": 1}
    async with database.begin() as conn:
        stored = (await conn.execute(query, {"t": document})).scalar()
    assert stored == {"a\ufffd": [HELD, {"b": None}], "c": 1}


async def test_copied_rows_arrive_without_what_cannot_be_held(database: Database) -> None:
    async with database.connection() as conn, conn.cursor() as cursor, conn.transaction():
        await cursor.execute("CREATE TEMP TABLE copied (t text) ON COMMIT DROP")
        async with cursor.copy("COPY copied FROM STDIN") as copy:
            await copy.write_row((HOSTILE,))
        await cursor.execute("SELECT t FROM copied")
        assert await cursor.fetchone() == (HELD,)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(st.characters(exclude_categories=())),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_becomes_json_that_utf8_and_jsonb_take(document: object) -> None:
    made = dumps(document)
    made.encode()
    assert "\\u0000" not in made.replace("\\\\", "")
    json.loads(made, parse_constant=pytest.fail)
