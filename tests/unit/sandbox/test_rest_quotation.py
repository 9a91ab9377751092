"""The quotation half answers as the exchange does: shapes, orders, limits and errors."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from fixtures.local_venue import START, LocalVenue

INVALID = "Invalid parameter. Check the given value!"
MISMATCH = "Type mismatch error. Check the parameters type!"
CANDLE_KEYS = {
    "market",
    "candle_date_time_utc",
    "candle_date_time_kst",
    "opening_price",
    "high_price",
    "low_price",
    "trade_price",
    "timestamp",
    "candle_acc_trade_price",
    "candle_acc_trade_volume",
}


async def error(venue: LocalVenue, path: str, **params: str) -> tuple[int, object, object]:
    answer = await venue.http.get(path, params=params)
    body = answer.json()["error"]
    return answer.status_code, body["name"], body["message"]


async def test_markets_come_with_details_when_asked(local_venue: LocalVenue) -> None:
    plain = await local_venue.get("/v1/market/all")
    assert plain[5] == {"market": "KRW-BTC", "korean_name": "비트코인", "english_name": "Bitcoin"}
    for name in ("is_details", "isDetails"):
        detailed = await local_venue.get("/v1/market/all", **{name: "true"})
        assert detailed[5]["market_event"]["warning"] is False
        assert len(detailed[5]["market_event"]["caution"]) == 5
    assert (await error(local_venue, "/v1/market/all", is_details="maybe"))[:2] == (400, 400)


async def test_minute_candles_are_newest_first_with_the_head(local_venue: LocalVenue) -> None:
    rows = await local_venue.get("/v1/candles/minutes/1", market="KRW-BTC", count="3")
    assert [row["candle_date_time_utc"] for row in rows] == [
        f"{START - timedelta(minutes=m):%Y-%m-%dT%H:%M:00}" for m in range(3)
    ]
    assert set(rows[0]) == CANDLE_KEYS | {"unit"}
    assert rows[0]["unit"] == 1
    assert isinstance(rows[0]["opening_price"], int | Decimal)
    (one,) = await local_venue.get("/v1/candles/minutes/1", market="KRW-BTC")
    assert one == rows[0]
    (unnamed,) = await local_venue.get("/v1/candles/minutes", market="KRW-BTC")
    assert unnamed == one


@pytest.mark.parametrize(
    "to",
    [
        "2026-11-09T04:00:00Z",
        "2026-11-09T04:00:00",
        "2026-11-09 04:00:00",
        "2026-11-09T13:00:00+09:00",
        "2026-11-09T04:00:00.000Z",
    ],
)
async def test_to_is_exclusive_and_utc_unless_it_says_otherwise(
    local_venue: LocalVenue, to: str
) -> None:
    (row,) = await local_venue.get("/v1/candles/minutes/1", market="KRW-BTC", to=to)
    assert row["candle_date_time_utc"] == "2026-11-09T03:59:00"


async def test_pages_join_without_gap_or_double(local_venue: LocalVenue) -> None:
    path = "/v1/candles/minutes/1"
    first = await local_venue.get(path, market="KRW-BTC", count="200")
    to = first[-1]["candle_date_time_utc"]
    second = await local_venue.get(path, market="KRW-BTC", count="200", to=to)
    starts = [datetime.fromisoformat(row["candle_date_time_utc"]) for row in first + second]
    steps = {a - b for a, b in pairwise(starts)}
    assert steps == {timedelta(minutes=1)}
    assert len(starts) == 400


async def test_longer_candles_have_their_own_fields(local_venue: LocalVenue) -> None:
    days = await local_venue.get("/v1/candles/days", market="KRW-BTC", count="2")
    assert set(days[0]) == CANDLE_KEYS | {"prev_closing_price", "change_price", "change_rate"}
    assert days[0]["prev_closing_price"] == days[1]["trade_price"]
    (won,) = await local_venue.get(
        "/v1/candles/days", market="KRW-BTC", converting_price_unit="KRW"
    )
    assert won["converted_trade_price"] == won["trade_price"]
    for unit, start in (("weeks", "2026-11-09"), ("months", "2026-11-01"), ("years", "2026-01-01")):
        (row,) = await local_venue.get(f"/v1/candles/{unit}", market="KRW-BTC")
        assert set(row) == CANDLE_KEYS | {"first_day_of_period"}
        assert row["first_day_of_period"] == start
    (second,) = await local_venue.get("/v1/candles/seconds", market="KRW-BTC")
    assert set(second) == CANDLE_KEYS


async def test_candles_can_appear_late(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", candle_lag_ms=30_000)
    (row,) = await local_venue.get("/v1/candles/minutes/1", market="KRW-BTC")
    assert row["candle_date_time_utc"] == f"{START - timedelta(minutes=1):%Y-%m-%dT%H:%M:00}"


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ({}, 400, "Missing request parameter error. Check the required parameters!"),
        ({"market": "KRW-XXX"}, 404, "Code not found"),
        (
            {"market": "KRW-BTC", "count": "x"},
            400,
            "Type mismatch error. Check the parameters type!",
        ),
        ({"market": "KRW-BTC", "count": "0"}, 400, INVALID),
        ({"market": "KRW-BTC", "count": "201"}, 400, INVALID),
        ({"market": "KRW-BTC", "to": "x"}, 400, INVALID),
        (
            {"market": "KRW-BTC", "to": "2026-13-01T00:00:00"},
            400,
            "Invalid parameter. Check the given value!",
        ),
        ({"market": "KRW-BTC", "to": "20261101"}, 400, INVALID),
    ],
)
async def test_candle_errors_are_named_by_their_status(
    local_venue: LocalVenue, params: dict[str, str], status: int, message: str
) -> None:
    found = await error(local_venue, "/v1/candles/minutes/1", **params)
    assert found == (status, status, message)


async def test_an_unencoded_plus_is_an_invalid_time(local_venue: LocalVenue) -> None:
    path = "/v1/candles/minutes/1?market=KRW-BTC&to=2026-11-09T13:00:00+09:00"
    assert (await local_venue.http.get(path)).status_code == 400
    good = await local_venue.http.get(path.replace("+", "%2B"))
    assert good.json()[0]["candle_date_time_utc"] == "2026-11-09T03:59:00"


async def test_units_and_counts_beyond_the_known(local_venue: LocalVenue) -> None:
    for unit in ("2", "x", "1440"):
        found = await error(local_venue, f"/v1/candles/minutes/{unit}", market="KRW-BTC")
        assert found[:2] == (400, 400)
    await local_venue.tell("options", candle_count_over_200="clamp")
    rows = await local_venue.get("/v1/candles/minutes/1", market="KRW-BTC", count="500")
    assert len(rows) == 200


async def test_tickers_of_named_and_of_all_markets(local_venue: LocalVenue) -> None:
    two = await local_venue.get("/v1/ticker", markets="KRW-ETH,krw-btc")
    assert [row["market"] for row in two] == ["KRW-ETH", "KRW-BTC"]
    repeated = await local_venue.http.get("/v1/ticker?markets=KRW-ETH&markets=KRW-BTC")
    assert repeated.json(parse_float=Decimal) == two
    everything = await local_venue.get("/v1/ticker/all", quote_currencies="KRW,BTC")
    assert len(everything) == 36
    assert await local_venue.get("/v1/ticker/all", quote_currencies="USDT") == []
    assert await error(local_venue, "/v1/ticker", markets="KRW-BTC,KRW-XXX") == (
        404,
        404,
        "Code not found",
    )
    assert (await error(local_venue, "/v1/ticker"))[0] == 400
    assert (await error(local_venue, "/v1/ticker/all"))[0] == 400


async def test_books_have_up_to_thirty_levels(local_venue: LocalVenue) -> None:
    (row,) = await local_venue.get("/v1/orderbook", markets="KRW-BTC")
    assert len(row["orderbook_units"]) == 30
    total = sum(Decimal(str(unit["ask_size"])) for unit in row["orderbook_units"])
    assert Decimal(str(row["total_ask_size"])) == total
    (few,) = await local_venue.get("/v1/orderbook", markets="krw-btc", count="2", level="0")
    assert few["orderbook_units"] == row["orderbook_units"][:2]
    (many,) = await local_venue.get("/v1/orderbook", markets="KRW-BTC", count="50")
    assert len(many["orderbook_units"]) == 30
    assert await local_venue.get("/v1/orderbook", markets="KRW-BTC", level="10000") == []
    assert (await error(local_venue, "/v1/orderbook", markets="KRW-BTC", count="x"))[0] == 400
    assert (await error(local_venue, "/v1/orderbook", markets="KRW-BTC", level="x"))[0] == 400


async def test_instruments_tell_the_tick_of_the_present_price(local_venue: LocalVenue) -> None:
    rows = await local_venue.get("/v1/orderbook/instruments", markets="KRW-BTC,KRW-DOGE")
    assert rows[0] == {
        "market": "KRW-BTC",
        "quote_currency": "KRW",
        "tick_size": "1000",
        "supported_levels": ["0"],
    }
    assert rows[1]["tick_size"] == "1"
    await local_venue.tell("options", ticks={"KRW-DOGE": "5"})
    (row,) = await local_venue.get("/v1/orderbook/instruments", markets="KRW-DOGE")
    assert row["tick_size"] == "5"
    marked = {"warned": ["KRW-XRP"], "cautions": {"KRW-DOGE": ["PRICE_FLUCTUATIONS", "NEW"]}}
    await local_venue.tell("options", **marked)
    listed = await local_venue.get("/v1/market/all", is_details="true")
    events = {row["market"]: row["market_event"] for row in listed}
    assert [name for name, event in events.items() if event["warning"]] == ["KRW-XRP"]
    assert [name for name, on in events["KRW-DOGE"]["caution"].items() if on] == [
        "PRICE_FLUCTUATIONS",
        "NEW",
    ]


async def test_trades_are_newest_first_and_can_be_paged(local_venue: LocalVenue) -> None:
    path = "/v1/trades/ticks"
    first = await local_venue.get(path, market="KRW-BTC", count="30")
    stamps = [row["timestamp"] for row in first]
    assert stamps == sorted(stamps, reverse=True)
    assert all(stamp <= START.timestamp() * 1000 for stamp in stamps)
    cursor = str(first[9]["sequential_id"])
    rest = await local_venue.get(path, market="KRW-BTC", count="20", cursor=cursor)
    assert rest == first[10:]
    assert {row["ask_bid"] for row in first} == {"ASK", "BID"}


async def test_trades_of_earlier_times(local_venue: LocalVenue) -> None:
    path = "/v1/trades/ticks"
    for text in ("030000", "03:00:00"):
        (row,) = await local_venue.get(path, market="KRW-BTC", to=text)
        assert row["trade_time_utc"] < "03:00:01"
        assert row["trade_date_utc"] == "2026-11-09"
    (old,) = await local_venue.get(path, market="KRW-BTC", days_ago="2")
    assert old["trade_date_utc"] == "2026-11-07"
    (older,) = await local_venue.get(path, market="KRW-BTC", days_ago="2", to="120000")
    assert older["trade_time_utc"] < "12:00:01"
    for wrong in ({"to": "25:00:00"}, {"to": "noon"}, {"days_ago": "8"}, {"count": "501"}):
        assert (await error(local_venue, path, market="KRW-BTC", **wrong))[0] == 400


async def test_answers_carry_the_quota_and_say_it_is_by_address(local_venue: LocalVenue) -> None:
    answer = await local_venue.http.get("/v1/ticker", params={"markets": "KRW-BTC"})
    assert answer.headers["remaining-req"] == "group=ticker; min=600; sec=9"
    assert answer.headers["limit-by-ip"] == "Yes"
    assert answer.headers["date"] == "Mon, 09 Nov 2026 04:30:20 GMT"
    wrong = await local_venue.http.get("/v1/ticker")
    assert wrong.headers["remaining-req"] == "group=ticker; min=600; sec=8"


async def test_an_origin_moves_a_request_to_its_own_group(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True)
    headers = {"origin": "http://example.org"}
    answer = await local_venue.http.get("/v1/market/all", headers=headers)
    assert answer.headers["remaining-req"] == "group=origin; min=6; sec=0"
    again = await local_venue.http.get("/v1/market/all", headers=headers)
    assert again.status_code == 429
    assert (await local_venue.http.get("/v1/market/all")).status_code == 200


async def test_beyond_the_quota_comes_429_and_then_418(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True, limits={"market": 2})
    codes = [(await local_venue.http.get("/v1/market/all")).status_code for _ in range(13)]
    assert codes == [200] * 2 + [429] * 10 + [418]
    blocked = await local_venue.http.get("/v1/ticker", params={"markets": "KRW-BTC"})
    assert blocked.json()["error"]["name"] == 418
    assert "60 seconds" in blocked.json()["error"]["message"]
    assert blocked.headers["remaining-req"].startswith("group=ticker")
    local_venue.time.pass_s(60)
    assert (await local_venue.http.get("/v1/market/all")).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("json", "application/json", '{"error":{"name":429,"message":"Too many API requests."}}'),
        ("text", "text/plain", "Too many API requests."),
        ("empty", "text/plain", ""),
        ("html", "text/html", "<html>"),
    ],
)
async def test_the_body_of_a_429_can_be_chosen(
    local_venue: LocalVenue, body: str, kind: str, text: str
) -> None:
    await local_venue.tell("options", quotas=True, limits={"market": 0}, too_many_body=body)
    answer = await local_venue.http.get("/v1/market/all")
    assert answer.status_code == 429
    assert answer.headers["content-type"].startswith(kind)
    assert answer.text.startswith(text)


async def test_a_path_that_leads_nowhere_has_no_quota(local_venue: LocalVenue) -> None:
    answer = await local_venue.http.get("/v1/nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "name": "not_found",
        "message": "no Route matched with those values",
    }
    assert "remaining-req" not in answer.headers
    assert (await local_venue.http.delete("/v1/ticker")).status_code == 404


async def test_the_quota_header_can_be_missing(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", remaining_req=False, date_skew_s=3600.0)
    answer = await local_venue.http.get("/v1/market/all")
    assert "remaining-req" not in answer.headers
    assert answer.headers["date"] == "Mon, 09 Nov 2026 05:30:20 GMT"
