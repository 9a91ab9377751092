"""Recordings in the spellings that people keep them in: read rightly, or refused by file and line.

Fault G3: another order of columns was read by position, naive times as local ones, NaN as a price.
"""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.backtest.recordings import read_files
from jobs.candles.files import files_in, rows_of
from jobs.core.errors import BadData
from jobs.upbit.wire import Candle
from sandbox.recording import load

BEGIN = datetime(2025, 9, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HEADING = ["market", "ts_utc", "open", "high", "low", "close", "volume", "value"]
UPBIT = {
    "market": "market",
    "ts_utc": "candle_date_time_utc",
    "open": "opening_price",
    "high": "high_price",
    "low": "low_price",
    "close": "trade_price",
    "volume": "candle_acc_trade_volume",
    "value": "candle_acc_trade_price",
}


def table(count: int = 12, *, step: int = 1) -> list[dict[str, str]]:
    """So many candles, no two numbers of one equal."""
    return [
        {
            "market": "KRW-XRP",
            "ts_utc": f"{BEGIN + number * step * MINUTE:%Y-%m-%dT%H:%M:%SZ}",
            "open": str(1000 + number),
            "high": str(1010 + number),
            "low": str(990 + number),
            "close": str(1005 + number),
            "volume": f"{number}.25",
            "value": f"{number}99.5",
        }
        for number in range(count)
    ]


def text(
    rows: list[dict[str, str]], *, heading: list[str] | None = None, end: str = "\n", by: str = ","
) -> str:
    names = heading or HEADING
    lines = [by.join(names), *(by.join(row[name] for name in names) for row in rows)]
    return end.join(lines) + end


def renamed(rows: list[dict[str, str]], names: dict[str, str]) -> list[dict[str, str]]:
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def put(folder: Path, content: str | bytes, name: str = "candles_1m_x.csv.gz") -> Path:
    raw = content if isinstance(content, bytes) else gzip.compress(content.encode())
    (folder / name).write_bytes(raw)
    return folder


def read(folder: Path) -> list[Candle]:
    found = read_files(folder, (), since=None, until=None)
    return found.get("KRW-XRP", [])


@pytest.fixture
def truth(tmp_path: Path) -> list[Candle]:
    """The table as documented."""
    (tmp_path / "truth").mkdir()
    candles = read(put(tmp_path / "truth", text(table())))
    assert [each.ts for each in candles] == [BEGIN + number * MINUTE for number in range(12)]
    second = candles[1]
    prices = [second.open, second.high, second.low, second.close, second.volume, second.value]
    assert prices == [1001, 1011, 991, 1006, Decimal("1.25"), Decimal("199.5")]
    return candles


KST = [
    row | {"ts_kst": f"{BEGIN + timedelta(hours=9) + number * MINUTE:%Y-%m-%d %H:%M:%S}"}
    for number, row in enumerate(table())
]
OFFSET = [row | {"ts": row["ts_kst"].replace(" ", "T") + "+09:00"} for row in KST]
SPELLINGS: dict[str, str | bytes] = {
    "value before volume": text(table(), heading=[*HEADING[:6], "value", "volume"]),
    "low before high": text(table(), heading=[*HEADING[:3], "low", "high", *HEADING[5:]]),
    "all turned round": text(table(), heading=HEADING[::-1]),
    "capitals and spaces": text(table()).replace("market,ts_utc", " Market , TS_UTC ", 1),
    "Korean times under a name that says so": text(KST, heading=["market", "ts_kst", *HEADING[2:]]),
    "offsets": text(OFFSET, heading=["market", "ts", *HEADING[2:]]),
    "offsets under ts_utc": text([row | {"ts_utc": row["ts"]} for row in OFFSET]),
    "naive times under ts_utc": text(table()).replace("Z,", ","),
    "newest first": text(table()[::-1]),
    "CRLF": text(table(), end="\r\n"),
    "BOM": b"\xef\xbb\xbf" + text(table()).encode(),
    "packed BOM": gzip.compress(b"\xef\xbb\xbf" + text(table(), end="\r\n").encode()),
    "semicolons": text(table(), by=";"),
    "tabs": text(table(), by="\t"),
    "quotes": text(table()).replace("KRW-XRP", '"KRW-XRP"'),
    "pandas index": "".join(
        f"{number - 1 if number else ''},{line}\n"
        for number, line in enumerate(text(table()).splitlines())
    ),
    "not packed": text(table()).encode(),
    "other columns": text(
        [row | {"value_est": "0", "timestamp": "1"} for row in table()],
        heading=["timestamp", *HEADING, "value_est"],
    ),
    "the exchange's own names": text(
        [row | {"unit": "1"} for row in renamed(table(), UPBIT)],
        heading=[*UPBIT.values(), "unit"],
    ),
    "exponents": text([row | {"open": f"{row['open']}E+0"} for row in table()]),
    "blank lines at the end": text(table()) + "\n\n",
}


@pytest.mark.parametrize("content", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_gives_the_same_candles(
    tmp_path: Path, truth: list[Candle], content: str | bytes
) -> None:
    (tmp_path / "x").mkdir()
    assert read(put(tmp_path / "x", content)) == truth


OFFICIAL = ["date_time_utc", "open", "high", "low", "close", "acc_trade_price", "acc_trade_volume"]
GUIDE = [
    "candle_date_time_utc",
    "opening_price",
    "high_price",
    "low_price",
    "trade_price",
    "candle_acc_trade_price",
    "candle_acc_trade_volume",
]


@pytest.mark.parametrize("heading", [OFFICIAL, GUIDE], ids=["download", "guide"])
@pytest.mark.parametrize("empty", ["{},,,,,,", ",,,,,,", ""])
def test_the_exchanges_own_files_are_read(
    tmp_path: Path, truth: list[Candle], heading: list[str], empty: str
) -> None:
    """Newest first, with a BOM, without a market; a minute without a trade is an empty row."""
    lines = [
        ",".join([r["ts_utc"][:-1], *(r[name] for name in HEADING[2:6]), r["value"], r["volume"]])
        for r in table()
    ]
    lines[4] = empty.format("2025-09-01T00:04:00")
    content = "\ufeff" + "\r\n".join([",".join(heading), *lines[::-1]]) + "\r\n"
    (tmp_path / "x").mkdir()
    put(tmp_path / "x", content.encode(), "KRW-XRP_candle-1m_20250901.csv")
    assert read(tmp_path / "x") == [each for number, each in enumerate(truth) if number != 4]


def test_a_row_without_prices_or_turnover_is_a_minute_without_a_trade(
    tmp_path: Path, truth: list[Candle]
) -> None:
    rows = table()
    rows[3] |= dict.fromkeys(HEADING[2:], "")
    rows[5] |= dict.fromkeys(HEADING[2:], " ")
    rows[7] |= {"open": "9", "high": "9", "low": "9", "close": "9", "volume": "0", "value": "0.0"}
    (tmp_path / "x").mkdir()
    found = read(put(tmp_path / "x", text(rows)))
    assert found == [each for number, each in enumerate(truth) if number not in {3, 5, 7}]


def test_one_file_may_be_given_and_a_folder_may_hold_both_kinds(tmp_path: Path) -> None:
    put(tmp_path, text(table(6)).encode(), "candles_1m_a.csv")
    put(tmp_path, text(table(12)[6:]), "candles_1m_b.csv.gz")
    assert len(read(tmp_path)) == 12
    assert len(read(tmp_path / "candles_1m_a.csv")) == 6


def changed(column: str, value: str, line: int = 5) -> str:
    rows = table()
    rows[line - 2] |= {column: value}
    return text(rows)


PLAIN = text(table())
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "NaN": (changed("close", "NaN"), "line 5: close 'NaN' is not a number"),
    "infinity": (changed("high", "Infinity"), "line 5: high 'Infinity' is not a number"),
    "signalling": (changed("high", "sNaN"), "line 5: high 'sNaN' is not a number"),
    "a huge exponent": (changed("open", "1E+300000"), "line 5: open '1E.300000' is not a number"),
    "underscores": (changed("open", "1_0"), "line 5: open '1_0'"),
    "thousands": (changed("open", '"1,002"'), "line 5: open '1,002' is not a number"),
    "a word": (changed("volume", "much"), "line 5: volume 'much' is not a number"),
    "price 0": (changed("low", "0"), "line 5: open 1003, high 1013, low 0"),
    "below 0": (changed("low", "-1"), "line 5: open 1003, high 1013, low -1"),
    "high below close": (changed("high", "1004"), "line 5: open 1003, high 1004"),
    "negative volume": (changed("volume", "-1"), "line 5: volume -1"),
    "half a row": (changed("close", ""), "line 5: close '' is not a number"),
    "too few fields": (PLAIN.replace(",3.25,399.5", ",3.25"), "line 5: 7 fields, 8"),
    "too many fields": (PLAIN.replace(",3.25,", ",3.25,1,"), "line 5: 9 fields, 8"),
    "seconds": (changed("ts_utc", "2025-09-01T00:03:30Z"), "is not the beginning of a minute"),
    "no such day": (changed("ts_utc", "2025-02-30T00:03:00Z"), "line 5: '2025-02-30T00:03:00Z'"),
    "an epoch": (changed("ts_utc", "1756684980"), "line 5: '1756684980' is no start"),
    "a date": (changed("ts_utc", "2025-09-01"), "line 5: '2025-09-01' is no start"),
    "no zone": (
        PLAIN.replace("ts_utc", "time").replace("Z,", ","),
        "line 2: '2025-09-01T00:00:00' has no zone: write .* or name the column ts_utc or ts_kst",
    ),
    "ccxt's code": (changed("market", "XRP/KRW"), "line 5: market 'XRP/KRW' is no code as KRW-BTC"),
    "no code": (changed("market", ""), "line 5: market '' is no code"),
    "no heading": (PLAIN.split("\n", 1)[1], "line 1: no column market, .*expected market, ts_utc"),
    "other names": (PLAIN.replace("high", "top", 1), "line 1: no column high in the heading"),
    "no market": (
        text(table(), heading=HEADING[1:]),
        "line 1: no column market in the heading .* may stand in the file's name",
    ),
    "one name twice": (PLAIN.replace("value", "volume", 1), "more than one column for volume"),
    "both spellings": (
        text([row | {"trade_price": "1"} for row in table()], heading=[*HEADING, "trade_price"]),
        "more than one column for close or trade_price",
    ),
    "nothing": ("", "line 1: no column market"),
    "5 minutes": (text(table(step=5)), "begin on the grid of 5 minutes"),
    "3 minutes, three rows": (text(table(3, step=3)), "begin on the grid of 3 minutes"),
    "hours": (text(table(step=60)), "begin on the grid of 60 minutes"),
    "days": (text(table(step=1440)), "begin on the grid of 1440 minutes"),
    "5 minutes with gaps": (
        text([row for number, row in enumerate(table(30, step=5)) if number % 3]),
        "begin on the grid of 5 minutes: they seem to be longer ones; give one-minute candles",
    ),
    "a unit that says so": (
        text([row | {"unit": "5"} for row in table()], heading=[*HEADING, "unit"]),
        "line 2: unit '5'; one-minute candles are read",
    ),
    "UTF-16": (PLAIN.encode("utf-16"), "not UTF-8 text"),
    "EUC-KR": ("이름\n".encode("euc-kr"), "not UTF-8 text"),
    "cut off": (gzip.compress(PLAIN.encode())[:-20], "damaged or cut off gzip"),
    "damaged": (gzip.compress(PLAIN.encode())[:30] + b"x" * 60, "damaged or cut off gzip"),
    "a quote that never ends": (changed("market", '"KRW-XRP'), "not CSV"),
    "a zip file": (b"PK\x03\x04" + b"\x00" * 60, "a zip archive; unpack it"),
    "a field without end": (changed("open", "1" * 200_000), "not CSV"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_by_file_and_line(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    put(tmp_path, content)
    for reader in (read, load):  # `upbitd replay --data`, `sandbox --data` and `demo --data`
        with pytest.raises(BadData, match=said) as caught:
            reader(tmp_path)
        assert str(caught.value).startswith("candles_1m_x.csv.gz")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_whatever_bytes_there_are_nothing_but_bad_data_comes(
    tmp_path: Path, raw: bytes, after_heading: bool
) -> None:
    content = PLAIN.encode() + raw if after_heading else raw
    put(tmp_path, content)
    try:
        read(tmp_path)
    except BadData as exc:
        assert str(exc)  # noqa: PT017 - either is right, a traceback is not


def test_a_quiet_market_is_not_taken_for_longer_candles(tmp_path: Path) -> None:
    rows = [row for number, row in enumerate(table(60)) if number in {5, 10, 20, 35, 50}]
    assert len(read(put(tmp_path, text(rows)))) == 5


def test_where_nothing_is_recorded_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        files_in(tmp_path)
    put(tmp_path, text([]))
    assert list(rows_of(tmp_path / "candles_1m_x.csv.gz")) == []
    with pytest.raises(BadData, match="have no candle"):
        load(tmp_path)
