"""`upbitd replay`, as a person runs it: on files and on the daemon's own tables."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from fixtures.sandbox import Sandbox
from typer.testing import CliRunner, Result

from daemon.cli import replay as command
from daemon.postgres.pool import PoolOptions, open_database
from jobs.backtest.recordings import read_files
from jobs.store import candles as candle_store

DATA = Path(__file__).parents[4] / "sandbox" / "data"
FILES = ("--data", str(DATA), "--markets", "KRW-BTC,krw-doge")
HOURS = ("--from", "2025-09-22T04:00+00:00", "--to", "2025-09-22T10:00+00:00")
Run = Callable[..., Result]

ANSWERS = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
VALUES ('KRW-BTC', now(), 1, 1, 1, 0);
INSERT INTO llm_calls (model, prompt_hash, prompt, outcome, day)
VALUES ('flash', 'h', 'p', 'ok', '2025-09-22'), ('flash', 'h', 'p', 'rejected', '2025-09-22');
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model,
                     llm_call_id, candle_ts, status)
VALUES (1, 'KRW-BTC', 'buy', 0.9, 'up', 'gemini', 'flash-001', 1, '2025-09-22T04:04Z', 'executed'),
       (1, 'KRW-BTC', 'sell', 0.8, 'down', 'gemini', 'flash-001', 1, '2025-09-22T05:04Z', 'new'),
       (1, 'KRW-BTC', 'buy', 0.9, 'no', 'gemini', 'flash-001', 2, '2025-09-22T06:04Z', 'new'),
       (1, 'KRW-BTC', 'buy', 0.9, 'no', 'rules', 'rules-1', NULL, '2025-09-22T07:04Z', 'new');
INSERT INTO settings (key, value) VALUES ('max_position_krw', '300000');
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command in an empty folder, where there is no configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UPBITD_CONFIG", raising=False)
    app = typer.Typer()
    command.register(app)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return call


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    """A configuration whose database holds some hours of candles and what a model said then."""
    begin = datetime(2025, 9, 21, 22, tzinfo=UTC)
    recording = read_files(
        DATA, ["KRW-BTC", "KRW-XRP"], since=begin, until=begin + timedelta(hours=12)
    )

    async def fill() -> None:
        async with open_database(dsn, PoolOptions(pool_min=1, pool_max=2)) as database:
            await candle_store.upsert(
                database, [each for all_ in recording.values() for each in all_]
            )

    asyncio.run(fill())
    with psycopg.connect(dsn) as connection:
        connection.execute(ANSWERS.encode())
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{dsn}'\n[signals]\nsource = 'rules'\n")
    return path


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_files_need_neither_configuration_nor_database(run: Run) -> None:
    report = as_json(run(*FILES, *HOURS, "--source", "rules", "--shuffles", "3", "--json"))
    assert [each["market"] for each in report["markets"]] == ["KRW-BTC", "KRW-DOGE"]
    assert report["candles"] == 720 - (720 - report["candles"])
    assert report["orders"] > 0
    assert len(report["null"]["returns_pct"]) == 3
    assert sum(report["signals"].values()) == 6 * 12 * 2
    profit = sum(float(each["profit_krw"]) for each in report["markets"])
    assert profit == pytest.approx(float(report["end_krw"]) - 10_000_000, abs=1e-6)
    fees = sum(float(trade["fee"]) for trade in report["trades"])
    assert fees == pytest.approx(float(report["fees_krw"]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "KRW-BTC,2025-09-01T00:00:00Z,1,1,1,1,1,1\n",
            "candles_1m_x.csv, line 1: no column market",
        ),
        (
            "market,ts_utc,open,high,low,close,volume,value\nKRW-BTC,2025-09-01T00:00:00Z,1,NaN,1,1,1,1",
            "candles_1m_x.csv, line 2: high 'NaN' is not a number",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_line(
    run: Run, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "candles_1m_x.csv").write_text(content)
    for place in (tmp_path, tmp_path / "candles_1m_x.csv"):
        result = run("--data", str(place), "--source", "rules", "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr.replace("\n", " ")
        assert "Traceback" not in result.stderr


def test_a_long_stretch_without_candles_is_told(run: Run, tmp_path: Path) -> None:
    rows = [
        f"KRW-BTC,2025-09-0{day}T{minute // 60:02}:{minute % 60:02}:00Z,5,5,5,5,1,5\n"
        for day in (1, 3)
        for minute in range(90)
    ]
    heading = "market,ts_utc,open,high,low,close,volume,value\n"
    (tmp_path / "candles_1m_x.csv").write_text(heading + "".join(rows))
    result = run("--data", str(tmp_path), "--source", "rules", "--shuffles", "0", "--json")
    assert result.exit_code == 0
    json.loads(result.stdout)
    told = "note: KRW-BTC has no candle from 2025-09-01 01:30 to 2025-09-03 00:00 UTC; it is played"
    assert told in result.stderr


def test_a_second_run_is_the_same_to_the_last_byte(run: Run, tmp_path: Path) -> None:
    asked = (*FILES, *HOURS, "--source", "rules", "--shuffles", "2")
    outputs = []
    for number in range(2):
        page = tmp_path / f"{number}.html"
        outputs.append((run(*asked, "--json", "--html", str(page)).stdout, page.read_bytes()))
    assert outputs[0] == outputs[1]
    assert outputs[0][0]


def test_a_table_says_what_it_was_worth_and_the_pace_goes_to_standard_error(run: Run) -> None:
    result = run(*FILES, *HOURS, "--source", "rules", "--shuffles", "2")
    assert "buy and hold" in result.stdout
    assert "KRW-DOGE" in result.stdout
    assert "candles/s" not in result.stdout
    assert "times real time" in result.stderr


def test_settings_and_money_are_as_asked(run: Run) -> None:
    changes = ("--set", "max_position_krw=50000", "--start-krw", "2000000", "--slippage-bps", "0")
    report = as_json(
        run(*FILES, *HOURS, "--source", "rules", "--shuffles", "0", "--json", *changes)
    )
    bought = [float(each["funds"]) for each in report["trades"] if each["side"] == "bid"]
    assert bought
    assert max(bought) <= 50_000
    assert (report["start_krw"], report["null"]) == ("2000000", None)
    assert {each["slippage_bps"] for each in report["trades"] if each["market"] == "KRW-BTC"} == {0}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--set", "stop_los_pct=3"), 2, "stop_loss_pct"),
        (("--slippage-bps", "much"), 2, "--slippage-bps"),
        (("--markets", "KRW-NONE"), 1, "KRW-NONE"),
        (("--from", "2031-01-01"), 1, "no recording"),
        (("--source", "astrology"), 1, "astrology"),
        (("--data", "/nowhere"), 1, "candles_1m"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_line(
    run: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    base = ("--data", str(DATA), "--source", "rules", "--markets", "KRW-BTC", "--shuffles", "0")
    result = run(*base, *arguments)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_stored_candles_and_settings_are_taken_from_the_database(run: Run, config: Path) -> None:
    asked = ("--config", str(config), *HOURS, "--shuffles", "0", "--json")
    report = as_json(run(*asked))
    assert report["source"] == "rules"
    assert [each["market"] for each in report["markets"]] == ["KRW-BTC", "KRW-XRP"]
    assert report["settings"]["max_position_krw"] == "300000"
    files = (
        "--data",
        str(DATA),
        "--markets",
        "KRW-BTC,KRW-XRP",
        "--set",
        "max_position_krw=300000",
    )
    same = as_json(run(*files, *HOURS, "--source", "rules", "--shuffles", "0", "--json"))
    # the files reach further back than the table, which moves nothing but long histories
    assert report["orders"] == same["orders"]
    assert [each["price"] for each in report["trades"]] == [
        each["price"] for each in same["trades"]
    ]


def test_gemini_repeats_what_it_answered_then_and_nothing_else(run: Run, config: Path) -> None:
    asked = ("--config", str(config), *HOURS, "--source", "gemini", "--shuffles", "0", "--json")
    report = as_json(run(*asked))
    assert report["models"] == ["flash-001"]
    assert report["signals"] == {"buy": 1, "sell": 1}
    assert [(each["side"], each["at"]) for each in report["trades"]] == [
        ("bid", "2025-09-22T04:05:10+00:00"),
        ("ask", "2025-09-22T05:05:10+00:00"),
    ]
    assert report["unanswered"]["KRW-BTC"] == 70


class Page(HTMLParser):
    """Every tag, its attributes and how the tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in {"path", "rect"}:
            return
        while self.open[-1] in {"path", "rect"}:
            self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nobody_for_anything(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    run(*FILES, *HOURS, "--source", "rules", "--shuffles", "4", "--html", str(path))
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("svg") == 5, "equity, drawdown, shuffles, and one for each market"
    assert "script" not in kinds
    assert not {"src", "href", "onclick"} & {name for _, attrs in page.tags for name in attrs}
    assert not re.search(r"https?://|url\(|@import", text)
    for _, attrs in page.tags:
        assert "nan" not in str(attrs.get("d", "")).lower()
    for said in ("Sharpe", "Hit rate", "Beside luck", "KRW-DOGE", "stop_loss_pct"):
        assert said in text


def test_a_replay_without_a_trade_has_a_page_too(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    result = run(
        *(*FILES, *HOURS, "--source", "rules", "--set", "min_confidence=1"),
        *("--shuffles", "2", "--html", str(path)),
    )
    assert result.exit_code == 0, result.output
    assert Page(path.read_text("utf-8")).open == []
    assert "The account stayed where it was" in result.stdout.replace("\n", " ")


def test_gemini_is_asked_anew_only_when_told_and_within_the_budget(
    run: Run,
    config: Path,
    dsn: str,
    shared_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", shared_sandbox.gemini_key)
    with config.open("a") as file:
        file.write(f"[gemini]\nbase_url = '{shared_sandbox.base_url}'\n")
    asked = ("--config", str(config), "--source", "gemini", "--ask-gemini", "--shuffles", "0")
    hour = ("--from", "2025-09-22T04:00+00:00", "--to", "2025-09-22T04:20+00:00", "--json")
    report = as_json(run(*asked, *hour, "--budget-usd", "0.50"))
    assert (report["failures"], report["unanswered"]) == ({}, {})
    assert 0 < sum(report["signals"].values()) <= 4 * 2
    assert report["failures"].get("BudgetExhausted", 0) == 0
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE settled_at IS NULL), sum(cost_usd) "
            "FROM llm_calls WHERE reserved_usd > 0"
        ).fetchone()
    assert row is not None
    assert row[:2] == (4, 0)
    assert 0 < row[2] < Decimal("0.50")

    later = ("--from", "2025-09-22T05:00+00:00", "--to", "2025-09-22T05:20+00:00", "--json")
    poor = as_json(run(*asked, *later, "--budget-usd", "0.0001"))
    assert poor["failures"] == {"BudgetExhausted": 4}
    assert poor["signals"] == {}


def test_excluded_markets_are_left_out_unless_they_are_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPBITD_TRADING__MARKETS", '["KRW-BTC", "KRW-DOGE"]')
    monkeypatch.setenv("UPBITD_TRADING__EXCLUDE", '["KRW-DOGE"]')
    plain = ("--data", str(DATA), *HOURS, "--source", "rules", "--shuffles", "0", "--json")
    left = json.loads(run(*plain).stdout)
    asked = json.loads(run(*plain, "--markets", "KRW-DOGE").stdout)
    assert [*_markets(left), *_markets(asked)] == ["KRW-BTC", "KRW-DOGE"]


def _markets(report: dict[str, Any]) -> list[str]:
    return sorted(each["market"] for each in report["markets"])
