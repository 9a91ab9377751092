"""The commands on a real database, as a person runs them."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import drawdown, halt, lists, positions, settings, stats
from daemon.cli.arguments import instant
from daemon.config.load import load
from daemon.postgres.schema import upgrade
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.session import open_for_command

NOW = datetime.now(UTC).replace(microsecond=0)
Run = Callable[..., Result]

ROWS = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
VALUES ('KRW-BTC', now(), 152000000, 1, 1, 0.01);
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts,
                     status, created_at)
SELECT 1, 'KRW-BTC', 'buy', 0.7, 'rising', 'rules', 'rules', now() - n * interval '5 minutes',
       CASE WHEN n % 2 = 0 THEN 'new' ELSE 'executed' END, now() - n * interval '5 minutes'
FROM generate_series(1, 5) AS n;
INSERT INTO orders (mode, identifier, signal_id, purpose, market, side, ord_type, price, volume,
                    created_at)
SELECT 'paper', 'paper-' || n, 1, 'entry', CASE WHEN n % 2 = 0 THEN 'KRW-BTC' ELSE 'KRW-ETH' END,
       'bid', 'limit', 150000000, 0.001, now() - n * interval '1 hour'
FROM generate_series(1, 5) AS n;
UPDATE orders SET state = 'refused', reason = 'too small' WHERE identifier = 'paper-1';
INSERT INTO orders (mode, identifier, purpose, market, side, ord_type, volume)
VALUES ('live', 'live-1', 'exit', 'KRW-BTC', 'ask', 'market', 1);
INSERT INTO positions (mode, market, volume, avg_price, realized_krw, opened_at)
VALUES ('paper', 'KRW-BTC', 0.01, 150000000, 12.5, now()), ('paper', 'KRW-ETH', 0, 0, 3, now()),
       ('paper', 'KRW-XRP', 100, 800, 0, now());
INSERT INTO job_runs (job, scheduled_at, run_id, started_at, finished_at, outcome, attempts,
                      duration_s, reason)
SELECT 'market', now() - n * interval '1 minute', 'm' || n, now(), now(),
       CASE WHEN n = 3 THEN 'failed' ELSE 'ok' END, CASE WHEN n IN (2, 3) THEN 4 ELSE 1 END,
       n / 10.0, NULL
FROM generate_series(1, 9) AS n;
INSERT INTO job_runs (job, scheduled_at, run_id, outcome, reason)
VALUES ('market', now() - interval '10 minutes', 's', 'skipped', 'still running');
INSERT INTO llm_calls (model, model_version, prompt_hash, prompt, tokens_in, tokens_out,
                       tokens_thought, cost_usd, outcome, day)
SELECT 'flash', 'flash-001', 'h', 'p', 1000, 100, 50, 0.002, 'ok',
       (now() AT TIME ZONE 'Asia/Seoul')::date FROM generate_series(1, 3);
"""


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    """A configuration with a filled database."""
    with psycopg.connect(dsn) as connection:
        connection.execute(ROWS.encode())
    path = tmp_path / "config.toml"
    path.write_text(f"[daemon]\nstate_dir = '{tmp_path}'\n[database]\nurl = '{dsn}'\n")
    return path


@pytest.fixture
def run(config: Path) -> Run:
    app = typer.Typer()
    for family in (drawdown, halt, lists, positions, settings, stats):
        family.register(app)

    def call(*arguments: str, stdin: bytes | None = None) -> Result:
        command = [*arguments, "--config", str(config)]
        return CliRunner().invoke(app, command, input=stdin, catch_exceptions=False)

    return call


def rows(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def query(config: Path, statement: str) -> Any:
    url = load(config, {}, keys=False).database.url
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_orders_come_newest_first_with_exact_numbers(run: Run) -> None:
    listed = rows(run("orders", "--json"))
    assert [each["identifier"] for each in listed] == [f"paper-{n}" for n in range(1, 6)]
    assert listed[0]["price"] == "150000000"
    assert listed[0]["volume"] == "0.001"
    assert listed[0]["reason"] == "too small"


def test_orders_are_filtered(run: Run) -> None:
    assert [r["identifier"] for r in rows(run("orders", "--state", "refused", "--json"))] == [
        "paper-1"
    ]
    assert [r["identifier"] for r in rows(run("orders", "--mode", "live", "--json"))] == ["live-1"]
    assert [r["identifier"] for r in rows(run("orders", "--market", "KRW-BTC", "--json"))] == [
        "paper-2",
        "paper-4",
    ]
    assert len(rows(run("orders", "--since", "150m", "--json"))) == 2
    assert len(rows(run("orders", "-n", "3", "--json"))) == 3


def test_pages_follow_each_other_without_a_gap(run: Run) -> None:
    seen: list[str] = []
    before: list[str] = []
    for _ in range(4):
        page = rows(run("orders", "-n", "2", "--json", *before))
        seen += [each["identifier"] for each in page]
        if page:
            before = ["--before", str(page[-1]["id"])]
    assert seen == [f"paper-{n}" for n in range(1, 6)]


def test_a_table_shows_every_row_in_full_where_there_is_no_terminal(run: Run) -> None:
    result = run("orders")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["ID", "CREATED", "(KST)", "MARKET"]
    assert len(lines) == 6
    assert "150,000,000" in lines[1]
    assert "too small" in lines[1]


def test_an_empty_list_says_so_and_is_an_empty_array_for_programs(run: Run) -> None:
    assert rows(run("signals", "--market", "KRW-NONE", "--json")) == []
    result = run("signals", "--market", "KRW-NONE")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No signals.\n")


def test_signals_by_status(run: Run) -> None:
    listed = rows(run("signals", "--status", "executed", "--json"))
    assert len(listed) == 3
    assert {each["action"] for each in listed} == {"buy"}


def test_positions_are_valued_at_the_last_stored_price(run: Run) -> None:
    listed = rows(run("positions", "--json"))
    assert [each["market"] for each in listed] == ["KRW-BTC", "KRW-XRP"]
    assert listed[0]["last_price"] == "152000000"
    assert listed[0]["unrealized_krw"].rstrip("0").rstrip(".") == "20000"
    assert listed[1]["last_price"] is None
    assert len(rows(run("positions", "--all", "--json"))) == 3
    shown = run("positions").stdout.splitlines()
    assert "20,000" in shown[1]
    assert shown[2].split()[3:5] == ["-", "-"]
    assert len(rows(run("positions", "--limit", "1", "--json"))) == 1
    assert [each["market"] for each in rows(run("positions", "--market", "KRW-XRP", "--json"))] == [
        "KRW-XRP",
    ]
    assert len(rows(run("positions", "--since", "1h", "--json"))) == 2
    assert rows(run("positions", "--since", "2999-01-01", "--json")) == []


def test_slots_by_job_outcome_and_instant(run: Run) -> None:
    assert len(rows(run("slots", "--job", "market", "--json"))) == 10
    assert rows(run("slots", "--job", "orders", "--json")) == []
    failed = rows(run("slots", "--outcome", "failed", "--json"))
    assert [each["run_id"] for each in failed] == ["m3"]
    later = rows(run("slots", "--before", failed[0]["scheduled_at"], "-n", "1", "--json"))
    assert [each["run_id"] for each in later] == ["m4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders", "--since", "yesterday"), "neither a span"),
        (("orders", "--state", "gone"), "gone"),
        (("orders", "-n", "0"), "--limit"),
    ],
)
def test_a_wrong_argument_is_refused(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_stats_from_the_database(run: Run) -> None:
    told = rows(run("stats", "--json"))
    (job,) = told["jobs"]
    assert job["slots"] == 10
    assert (job["runs"], job["ok"], job["skipped"]) == (9, 8, 1)
    assert (job["retries"], job["retried"], job["recovered"]) == (6, 2, 1)
    assert job["success_rate"] == pytest.approx(8 / 9)
    assert job["p50_s"] == pytest.approx(0.5)
    assert job["p95_s"] == pytest.approx(0.86)
    assert job["p99_s"] == pytest.approx(0.892)
    (day,) = told["days"]
    assert (day["model"], day["calls"], day["cost_usd"]) == ("flash-001", 3, "0.006")
    shown = run("stats").stdout
    assert "88.9%" in shown
    assert "0.006" in shown


def test_stats_of_nothing(run: Run) -> None:
    assert "No slots." in run("stats", "--since", "2099-01-01").stdout


def test_no_setting_passes_its_ceiling(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPBITD_LIMITS__MAX_POSITION_KRW", "500000")
    monkeypatch.setenv("UPBITD_LIMITS__DAILY_LOSS_LIMIT_KRW", "50000")
    refused = run("settings", "set", "max_position_krw", "1000000000000")
    assert refused.exit_code == 2
    assert "passes the ceiling 500,000 of [limits]" in refused.stderr
    assert run("settings", "set", "daily_loss_limit_krw", "0").exit_code == 2
    assert run("settings", "set", "max_position_krw", "400000").exit_code == 0
    query(config, "UPDATE settings SET value = '1000000000000' RETURNING key")
    assert run("settings", "get", "max_position_krw").stdout == "500000\n"
    listed = {each["key"]: each for each in rows(run("settings", "list", "--json"))}
    assert listed["daily_loss_limit_krw"]["allowed"] == "at most 50000 ([limits])"


def test_in_live_mode_what_risks_more_wants_a_second_word(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPBITD_TRADING__MODE", "live")
    refused = run("settings", "set", "max_position_krw", "2000000")
    assert refused.exit_code == 2
    assert "max_position_krw: 1,000,000 -> 2,000,000 lets the live account" in refused.stderr
    assert "--yes" in refused.stderr
    assert "switches this limit off" in run("settings", "set", "max_drawdown_pct", "0").stderr
    assert run("settings", "set", "max_position_krw", "900000").exit_code == 0
    assert run("settings", "set", "max_position_krw", "950000").exit_code == 2
    assert run("settings", "set", "max_position_krw", "950000", "--yes").exit_code == 0
    assert run("settings", "get", "max_position_krw").stdout == "950000\n"


def test_settings_are_listed_with_defaults_and_who_changed_them(run: Run) -> None:
    assert run("settings", "set", "stop_loss_pct", "4.5").stdout == "stop_loss_pct = 4.5\n"
    assert run("settings", "set", "stop_loss_pct", "4.50").stdout.startswith("stop_loss_pct is")
    listed = {each["key"]: each for each in rows(run("settings", "list", "--json"))}
    assert listed["stop_loss_pct"]["value"] == "4.5"
    assert listed["stop_loss_pct"]["default"] == "5"
    assert listed["stop_loss_pct"]["updated_by"].startswith("cli:")
    assert listed["take_profit_pct"]["updated_by"] is None
    assert run("settings", "get", "max_position_krw").stdout == "1000000\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "stop_loss_pct", "many"), "many is not allowed: a number from 0 to 99"),
        (("set", "stop_los_pct", "4"), "did you mean stop_loss_pct?"),
        (("get", "nothing"), "is no setting"),
    ],
)
def test_a_wrong_setting_ends_with_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run("settings", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_halt_is_stored_audited_and_alerted_and_resume_ends_it(run: Run, config: Path) -> None:
    assert run("halt", "--reason", "maintenance").stdout.startswith("halted: no new orders")
    assert run("halt").stdout == "halted already\n"
    assert run("settings", "get", "halted").stdout == "all\n"
    audit = "SELECT new, changed_by LIKE 'cli:%', reason FROM settings_audit"
    assert query(config, audit) == [("all", True, "maintenance")]
    (alert,) = rows(run("alerts", "--open", "--json"))
    assert (alert["kind"], alert["occurrences"]) == ("halted", 2)
    assert run("resume").stdout.startswith("resumed")
    assert run("resume").stdout == "was not halted\n"
    assert rows(run("alerts", "--open", "--json")) == []
    assert [each["kind"] for each in rows(run("alerts", "--json"))] == ["recovered", "halted"]


def test_halt_lists_the_positions_that_lose_their_stop_loss(run: Run) -> None:
    """Exits stop as well: said only in docs/orders.md before (fault I5)."""
    assert "KRW-BTC" not in run("halt", "--entries").stdout
    said = run("halt").stdout
    assert "stop-loss off: KRW-BTC, 0.01 bought at 150,000,000" in said
    assert "upbitd halt --entries" in said


def test_a_later_reason_is_kept_and_none_takes_it_away(run: Run, config: Path) -> None:
    run("halt")
    assert run("halt", "--reason", "the news").stdout == "halted already\n"
    run("halt")
    run("halt", "--entries", "--reason", "never mind")
    stored = "SELECT value, reason FROM settings WHERE key = 'halted'"
    assert query(config, stored) == [("all", "the news")]


def test_halting_entries_never_loosens_a_halt_of_all(run: Run) -> None:
    assert run("halt", "--entries").stdout.startswith("halted (entries): no new positions")
    assert run("settings", "get", "halted").stdout == "entries\n"
    assert run("halt").stdout.startswith("halted: no new orders")
    assert "upbitd settings set halted entries" in run("halt", "--entries").stdout
    assert run("settings", "get", "halted").stdout == "all\n"


def test_a_damaged_setting_is_a_halt_that_says_so(run: Run, config: Path) -> None:
    query(config, "INSERT INTO settings (key, value) VALUES ('halted', '\"no\"') RETURNING key")
    assert run("settings", "get", "halted").stdout == "all\n"
    assert run("halt").stdout.startswith("halted already")
    (alert,) = rows(run("alerts", "--open", "--json"))
    assert "the setting is damaged" in alert["message"]
    assert run("resume").stdout.startswith("resumed")


def test_without_a_database_a_file_halts_and_resume_removes_it(
    config: Path, tmp_path: Path, run: Run
) -> None:
    """The kill switch failed with the database (fault I8)."""
    good = config.read_text("utf-8")
    config.write_text(
        f"{good.split('[database]')[0]}[database]\nurl = 'postgresql://127.0.0.1:1/x'"
    )
    said = run("halt", "--reason", "the disk is full")
    assert said.exit_code == 0
    file = tmp_path / "HALT"
    assert f"by the file {file}" in said.stdout
    assert "stop-losses of all open positions are off" in said.stdout
    assert file.read_text().splitlines()[2] == "the disk is full"
    assert run("resume").exit_code == 3
    assert file.exists()
    config.write_text(good)
    assert run("resume").stdout.startswith("resumed")
    assert not file.exists()


def test_alerts_are_filtered_and_shown(run: Run) -> None:
    run("halt", "--reason", "why not")
    assert rows(run("alerts", "--severity", "critical", "--json")) == []
    assert len(rows(run("alerts", "--kind", "halted", "--json"))) == 1
    assert "why not" in run("alerts").stdout


def test_trying_the_hooks_says_who_took_the_sample(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = tmp_path / "good.py"
    good.write_text(f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())")
    bad = tmp_path / "bad.py"
    bad.write_text("import sys; sys.exit('no route')")
    hooks = [
        f"{{exec = [{sys.executable!r}, {str(good)!r}]}}",
        f"{{exec = [{sys.executable!r}, {str(bad)!r}]}}",
        "{exec = ['/bin/true'], min_severity = 'critical'}",
    ]
    config.write_text(f"{config.read_text()}[alerts]\nhooks = [{', '.join(hooks)}]\n")
    result = run("alerts", "test", "--severity", "warning")
    assert result.exit_code == 1
    assert "took it" in result.stdout
    assert "ended with status 1: no route" in result.stdout
    assert "not asked" in result.stdout
    assert json.loads(out.read_text())["kind"] == "test"
    assert query(config, "SELECT count(*) FROM alert_deliveries WHERE delivered_at IS NULL") == [
        (0,)
    ]
    assert rows(run("alerts", "--open", "--json")) == []


def test_trying_without_hooks_is_a_fault(run: Run) -> None:
    result = run("alerts", "test")
    assert result.exit_code == 1
    assert "alerts.hooks is empty" in result.stderr


def test_a_database_without_our_tables_is_named(run: Run, config: Path, empty_dsn: str) -> None:
    config.write_text(f"[database]\nurl = '{empty_dsn}'\n")
    result = run("orders")
    assert result.exit_code == 3
    assert "upbitd migrate status" in result.stderr


def test_a_database_that_is_away_ends_with_3(run: Run, config: Path, tmp_path: Path) -> None:
    config.write_text(f"[database]\nurl = 'postgresql://me@/x?host={tmp_path}'\n")
    result = run("orders")
    assert result.exit_code == 3
    assert result.stderr.startswith("upbitd: ")


def test_an_embedded_database_that_was_never_started_is_named(run: Run, config: Path) -> None:
    config.write_text("")
    result = run("orders")
    assert result.exit_code == 3
    assert "start the daemon with `upbitd run`" in result.stderr


async def test_an_embedded_database_is_used_where_it_runs_and_started_where_not() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        await asyncio.to_thread(state.chmod, 0o755)
        path = state / "config.toml"
        path.write_text("[daemon]\nstate_dir = 'state'\n")
        config = load(path, {}, keys=False)
        with EmbeddedPostgres(config.daemon.state_dir / "postgres") as server:
            upgrade(server.url)
            running = server.pid
            async with open_for_command(config) as database:
                stats_then = database.pool_stats()
            assert server.pid == running
        async with open_for_command(config) as database, database.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM orders")
            assert await cursor.fetchone() == (0,)
        assert stats_then.max == 4


LOG = [
    {
        "ts": "2026-11-20T03:00:01.000000Z",
        "event": "job.metric",
        "job": "market",
        "scheduled_at": "2026-11-20T03:00:00Z",
        "started_at": "2026-11-20T03:00:00.010Z",
        "outcome": "ok",
        "attempts": 2,
        "duration_s": 1.5,
    },
    {"ts": "2026-11-20T03:00:01Z", "event": "daemon.start"},
    {
        "ts": "2026-11-19T15:00:01Z",
        "event": "gemini.call",
        "model": "flash",
        "model_version": None,
        "outcome": "ok",
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_thought": 1,
        "cost_usd": "0.0001",
        "cost_known": False,
    },
]


def test_stats_from_files_and_standard_input_name_broken_lines(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    lines = [json.dumps(each).encode() for each in LOG]
    log.write_bytes(b"\n".join([lines[0], b"<6>" + lines[1], b"{half", b"", lines[2]]))
    told = rows(run("stats", "--json", str(log), "-", stdin=lines[0] + b"\n[1]\n"))
    assert told["jobs"][0]["runs"] == 2
    assert told["days"][0]["day"] == "2026-11-20"
    assert told["days"][0]["is_estimate"] is True
    assert told["malformed"] == 2
    assert [each["place"] for each in told["faults"]] == [f"{log}:3", "standard input:2"]
    shown = run("stats", str(log))
    assert "at most 0.0001" in shown.stdout
    assert "1 of 4 lines could not be counted, 1 are not upbitd's:" in shown.stderr


JOURNAL = Path(__file__).parents[3] / "data" / "journal"


@pytest.mark.parametrize(
    ("name", "slots", "foreign"),
    [
        ("bom_crlf.txt", 1, 0),
        ("docker.json", 1, 0),
        ("export.json", 2, 0),
        ("mixed.txt", 1, 3),
        ("short-iso.txt", 1, 0),
        ("short.txt", 1, 0),
    ],
)
def test_stats_of_lines_as_others_show_them(run: Run, name: str, slots: int, foreign: int) -> None:
    told = rows(run("stats", "--json", str(JOURNAL / name)))
    assert (told["jobs"][0]["slots"], told["foreign"]) == (slots, foreign)


def test_stats_of_a_text_that_is_not_ours_is_a_failure(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    path.write_text("a line\n{}\n\n", encoding="utf-8")
    result = run("stats", str(path))
    assert result.exit_code == 1
    assert "none of the 2 lines is upbitd's" in result.stderr


def test_stats_of_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("stats", str(tmp_path / "none.log"))
    assert result.exit_code == 1
    assert "none.log: No such file" in result.stderr


def test_since_counts_back_from_now() -> None:
    assert instant("90m", now=NOW) == NOW - timedelta(minutes=90)
    assert instant("2026-11-20T09:00+09:00") == datetime(2026, 11, 20, tzinfo=UTC)
    assert instant(None) is None


# -- drawdown ----------------------------------------------------------------------------------

EQUITY = """
INSERT INTO equity (mode, ts, cash_krw, positions_krw, pnl_krw, peak_krw)
SELECT 'paper', now() - n * interval '1 minute', 700000, 100000, -200000, 0
FROM generate_series(0, 9) AS n
"""


def test_the_drawdown_is_shown_and_begins_anew(run: Run, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(EQUITY.encode())
    shown = run("drawdown").stdout
    assert "drawdown  20.00 %, limit 20 % (max_drawdown_pct)" in shown
    refused = run("drawdown", "restart")
    assert refused.exit_code == 1
    assert "say --yes" in refused.stderr
    made = run("drawdown", "restart", "--yes")
    assert made.exit_code == 0
    assert "from a profit of -200,000 KRW now, not from 0 KRW" in made.stdout
    again = run("drawdown", "restart")
    assert (again.exit_code, again.stdout) == (
        0,
        "nothing to restart: the profit is at its highest\n",
    )
    told = json.loads(run("drawdown", "--json").stdout)
    assert float(told["drawdown_pct"]) == 0
    assert told["restarted_by"].startswith("cli:")
    (alert,) = [each for each in rows(run("alerts", "--json")) if "drawdown" in each["incident"]]
    assert alert["kind"] == "setting_loosened"


def test_nothing_measured_is_nothing_to_restart(run: Run) -> None:
    assert run("drawdown", "--json").exit_code == 0
    assert run("drawdown", "restart").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders", "--market", "KRW-NOPE"), "no market is called KRW-NOPE"),
        (("signals", "--market", "KRW-BTX"), "did you mean KRW-BTC?"),
        (("orders", "--market", "bitcoin"), "is no market: write it as KRW-BTC"),
        (("slots", "--job", "ordrs"), "did you mean orders?"),
        (("alerts", "--kind", "halt"), "did you mean halted?"),
    ],
)
def test_an_unknown_name_is_said_with_exit_code_2(
    run: Run, config: Path, arguments: tuple[str, ...], said: str
) -> None:
    """An empty list and exit 0 (fault I11)."""
    query(
        config,
        "INSERT INTO markets (market, english_name) VALUES ('KRW-BTC', 'Bitcoin'),"
        " ('KRW-NEW', 'New') RETURNING market",
    )
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert run("orders", "--market", "krw-btc").exit_code == 0
    assert run("orders", "--market", "KRW-NEW").stderr == "No orders.\n"


def test_while_nobody_knows_the_markets_none_is_refused(run: Run) -> None:
    assert run("signals", "--market", "KRW-NEW").exit_code == 0
