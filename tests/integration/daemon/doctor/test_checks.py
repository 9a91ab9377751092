"""The doctor against a real database, a real Redis, and the local exchange and Gemini."""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from fixtures.gemini import GeminiServer
from fixtures.raw_http import Raw, RawServer
from fixtures.venue import Venue
from redis import Redis
from typer.testing import CliRunner

from daemon.cli import doctor as command
from daemon.config.load import Config, from_mapping
from daemon.config.types import Markets
from daemon.doctor import checks as doctor_module
from daemon.doctor.checks import (
    configuration_file,
    database,
    disk,
    open_to_the_network,
    read_unit,
    redis,
    systemd,
)
from daemon.doctor.results import Check, Finding, examine, fault
from daemon.doctor.services import gemini, upbit

Make = Callable[..., Config]


def now() -> datetime:
    return datetime.now(UTC)


def levels(found: list[Finding], subject: str) -> list[str]:
    return [each.level for each in found if each.subject == subject]


def bad(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.level in {"warning", "fault"}]


def venue_config(venue: Venue, **environ: str) -> Config:
    keys = {"UPBIT_ACCESS_KEY": venue.access_key, "UPBIT_SECRET_KEY": venue.secret_key}
    data = {"upbit": {"base_url": venue.base_url}, "trading": {"mode": "live"}}
    return from_mapping(data, keys | environ, keys=False)


@pytest.mark.parametrize(
    ("text", "mode", "level", "said"),
    [
        ("[redis]\nurl = 'redis://:pw@h'", 0o644, "fault", "everybody may read redis.url"),
        ("[redis]\nurl = 'redis://:pw@h'", 0o640, "ok", "closed to others"),
        ("", 0o644, "ok", "holds no secret"),
        ("", 0o666, "fault", "everybody may change"),
    ],
)
def test_a_file_with_secrets_is_closed_to_others(
    tmp_path: Path, text: str, mode: int, level: str, said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    found = configuration_file(path)
    assert (found.level, found.mend != "") == (level, level == "fault")
    assert said in found.said


async def test_a_good_key_is_found_good_and_nothing_is_ordered(venue: Venue) -> None:
    found = await upbit(venue_config(venue), now)
    assert bad(found) == []
    said = [each.said for each in found if each.subject == "Upbit key"]
    assert said[1:] == [
        "may view assets",
        "may view orders",
        "may make orders",
        "may not withdraw or see withdrawals, as it should be",
    ]
    assert "expires" in said[0]
    assert venue.orders() == []


TRADING = ["assets", "orders", "orders_view"]


@pytest.mark.parametrize(
    ("rights", "level", "said"),
    [
        (["withdraw"], "fault", "may withdraw: whoever steals it"),
        (["withdraw", "withdraw_view"], "fault", "may withdraw: whoever steals it"),
        (["withdraw_view"], "warning", "may not withdraw, but see withdrawals"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_right_of_withdrawal_is_found(
    venue: Venue, rights: list[str], level: str, said: str, status: int
) -> None:
    venue.tell(
        "keys",
        access_key=venue.access_key,
        secret_key=venue.secret_key,
        pocket=venue.pocket,
        permissions=TRADING + rights,
    )
    venue.tell("options", out_of_scope_status=status)
    try:
        (found,) = bad(await upbit(venue_config(venue), now))
    finally:
        venue.tell("options", out_of_scope_status=401)
    assert (found.level, found.subject) == (level, "Upbit key")
    assert said in found.said
    assert "without any withdrawal right" in found.mend


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404, "body": "<html>no such page</html>"},
        {"status": 404, "body": {"error": {"name": "not_found", "message": "x"}}},
        {"status": 400, "body": {"error": {"name": "invalid_parameter", "message": "x"}}},
        {"status": 200, "body": {}},
        {"status": 503, "body": "x"},
    ],
)
async def test_what_the_exchange_does_not_tell_is_not_taken_for_good(
    venue: Venue, answer: dict[str, Any]
) -> None:
    venue.fault(method="DELETE", path="/v1/withdraws/coin", action="answer", count=9, **answer)
    (found,) = bad(await upbit(venue_config(venue), now))
    assert (found.level, "unknown" in found.said) == ("warning", True)


async def test_a_right_that_is_missing_is_named(venue: Venue) -> None:
    venue.tell(
        "keys",
        access_key=venue.access_key,
        secret_key=venue.secret_key,
        pocket=venue.pocket,
        permissions=["assets", "orders_view"],
    )
    (found,) = bad(await upbit(venue_config(venue), now))
    assert found.said == "may not make orders: out_of_scope"
    assert "view assets, view orders and make orders" in found.mend


@pytest.mark.parametrize(
    ("change", "said", "mend"),
    [
        ({"ips": ["203.0.113.9"]}, "no_authorization_ip", "add this machine's address"),
        ({"expire_at": "2020-01-01T00:00:00+00:00"}, "expired_access_key", "issue a new key"),
        ({"secret_key": "OTHER" * 8}, "jwt_verification", "copy both again"),
    ],
)
async def test_a_key_that_is_not_accepted_says_why(
    venue: Venue, change: dict[str, Any], said: str, mend: str
) -> None:
    key = {
        "access_key": venue.access_key,
        "secret_key": venue.secret_key,
        "pocket": venue.pocket,
    }
    venue.tell("keys", **key | change)
    (found,) = bad(await upbit(venue_config(venue), now))
    assert found.said == f"not accepted: {said}"
    assert mend in found.mend


async def test_an_unknown_key_is_not_accepted(venue: Venue) -> None:
    (found,) = bad(await upbit(venue_config(venue, UPBIT_ACCESS_KEY="X" * 40), now))
    assert "invalid_access_key" in found.said


@pytest.mark.parametrize(("days", "level"), [(2, "fault"), (20, "warning"), (300, "ok")])
async def test_a_key_about_to_expire_is_named(venue: Venue, days: int, level: str) -> None:
    venue.tell(
        "keys",
        access_key=venue.access_key,
        secret_key=venue.secret_key,
        pocket=venue.pocket,
        expire_at=(now() + timedelta(days=days, hours=1)).isoformat(),
    )
    found = await upbit(venue_config(venue), now)
    assert levels(found, "Upbit key")[0] == level
    assert f"in {days} days" in next(e.said for e in found if e.subject == "Upbit key")


async def test_without_keys_only_the_public_part_is_asked(venue: Venue) -> None:
    config = from_mapping({"upbit": {"base_url": venue.base_url}}, {}, keys=False)
    found = await upbit(config, now)
    assert [(each.subject, each.level) for each in found] == [
        ("Upbit", "ok"),
        ("clock", "ok"),
        ("markets", "ok"),
        ("Upbit key", "note"),
    ]


@pytest.mark.parametrize(("seconds", "level"), [(5, "warning"), (-5, "warning"), (60, "fault")])
async def test_a_clock_that_is_off_is_named(venue: Venue, seconds: int, level: str) -> None:
    config = from_mapping({"upbit": {"base_url": venue.base_url}}, {}, keys=False)
    found = await upbit(config, lambda: now() + timedelta(seconds=seconds))
    assert levels(found, "clock") == [level]


def gemini_config(url: str, key: str, **section: Any) -> Config:
    data = {"gemini": {"base_url": url, "model": "gemini-3.5-flash-lite", **section}}
    return from_mapping(data, {"GEMINI_API_KEY": key}, keys=False)


async def test_gemini_that_takes_key_and_model_is_good(gemini_server: GeminiServer) -> None:
    (key,) = gemini_server.fake.keys
    found = await gemini(gemini_config(gemini_server.url, key), now)
    assert [each.level for each in found] == ["ok"]


async def test_a_key_that_gemini_does_not_take_is_named(gemini_server: GeminiServer) -> None:
    (found,) = await gemini(gemini_config(gemini_server.url, "AIza-another-key"), now)
    assert (found.level, found.said) == ("fault", "the key is not accepted: API_KEY_INVALID")
    assert "set GEMINI_API_KEY" in found.mend


async def test_a_model_nobody_knows_is_named(gemini_server: GeminiServer) -> None:
    (key,) = gemini_server.fake.keys
    found = await gemini(gemini_config(gemini_server.url, key, model="gemini-0-none"), now)
    assert [each.level for each in found] == ["warning", "fault"]
    assert "has no price" in found[0].said
    assert "gemini-0-none is refused" in found[1].said


async def test_the_old_sdk_and_an_empty_budget_are_named() -> None:
    config = from_mapping(
        {"gemini": {"sdk": "google-generativeai", "daily_budget_usd": 0}}, {}, keys=False
    )
    found = await gemini(config, now)
    assert [each.level for each in found] == ["warning", "warning"]
    assert "out of support" in found[0].said


async def test_gemini_is_not_asked_where_it_is_not_used() -> None:
    config = from_mapping({"signals": {"source": "rules"}}, {})
    assert levels(await gemini(config, now), "Gemini") == ["note"]


def database_config(url: str, **section: Any) -> Config:
    return from_mapping({"database": {"url": url, **section}}, {}, keys=False)


async def test_a_database_at_head_is_good(dsn: str) -> None:
    found = await database(database_config(dsn))
    assert bad(found) == []
    assert found[-1].said.startswith("at head")


async def test_a_database_that_is_behind_gets_the_command_to_run(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    (found,) = bad(await database(database_config(dsn)))
    assert (found.subject, found.mend) == ("migrations", "run `upbitd migrate up`")


async def test_an_empty_or_read_only_database_with_few_connections(empty_dsn: str) -> None:
    found = bad(
        await database(
            database_config(
                f"{empty_dsn}&options=-cdefault_transaction_read_only%3Don", pool_max=500
            )
        )
    )
    assert [(each.subject, each.level) for each in found] == [
        ("database", "fault"),
        ("database", "warning"),
        ("migrations", "fault"),
    ]


async def test_an_embedded_database_is_made_by_the_first_run(tmp_path: Path) -> None:
    config = from_mapping({}, {}, base=tmp_path, keys=False)
    assert levels(await database(config), "database") == ["note"]


async def test_redis_answers_or_is_not_used(redis_url: str) -> None:
    assert [each.level for each in await redis(redis_url)] == ["ok", "ok"]
    assert [each.level for each in await redis("")] == ["note"]


async def test_a_redis_that_answers_and_takes_nothing_is_a_fault(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            (found,) = bad(await redis(redis_url))
        finally:
            client.config_set("maxmemory", 0)
    assert "OutOfMemoryError" in found.said
    assert "maxmemory" in found.mend


async def test_a_redis_that_lets_nobody_publish_is_a_fault(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.acl_setuser(
            "mute", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-publish"]
        )
        try:
            (found,) = bad(await redis(redis_url.replace("unix://", "unix://mute:pw@")))
        finally:
            client.acl_deluser("mute")
    assert "publish" in found.said


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://10.0.0.7:6379/0", True),
        ("redis://cache.example:6379", True),
        ("redis://user@cache.example", True),
        ("redis://[2001:db8::1]:6379", True),
        ("redis://0.0.0.0:6379", True),
        ("redis://:secret@cache.example", False),
        ("redis://cache.example?password=secret", False),
        ("rediss://cache.example", False),
        ("redis://127.0.0.1:6379", False),
        ("redis://localhost", False),
        ("redis://[::1]:6379", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_a_redis_without_a_password_on_a_network_is_named(url: str, *, is_open: bool) -> None:
    assert open_to_the_network(url) is is_open


async def test_what_does_not_answer_is_a_fault_with_a_mend(unused_url: str) -> None:
    check = Check(
        subject="Redis", run=lambda: redis(unused_url.replace("http", "redis")), mend="mend it"
    )
    (found,) = await examine(check, str)
    assert (found.level, found.mend) == ("fault", "mend it")


async def test_a_check_that_hangs_or_leaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.doctor.results.DEADLINE_S", 0.01)

    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def leak() -> list[Finding]:
        raise RuntimeError("key SECRET")

    (slow,) = await examine(Check(subject="x", run=hang, mend="m"), str)
    assert slow.said == "no answer within 0.01 s"
    (bug,) = await examine(
        Check(subject="x", run=leak, mend="m"), lambda text: text.replace("SECRET", "***")
    )
    assert bug.said == "RuntimeError: key ***"


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "not" / "yet"
    assert disk(state).level in {"ok", "warning"}
    monkeypatch.setattr(doctor_module, "FEW_BYTES", 2**62)
    assert disk(state).level == "warning"
    monkeypatch.setattr(doctor_module, "LEAST_BYTES", 2**62)
    assert disk(state).level == "fault"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in disk(state).said


@pytest.mark.parametrize(
    ("load", "active", "file", "level"),
    [
        ("loaded", "active", "enabled", "ok"),
        ("loaded", "inactive", "disabled", "warning"),
        ("loaded", "failed", "enabled", "fault"),
        ("not-found", "inactive", "", "note"),
    ],
)
def test_the_unit(load: str, active: str, file: str, level: str) -> None:
    shown = f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\n"
    assert read_unit(shown).level == level


async def test_systemd_is_asked_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "SYSTEMD_FOLDER", tmp_path / "none")
    assert [each.level for each in await systemd()] == ["note"]
    program = tmp_path / "systemctl"
    program.write_text(
        f"#!{sys.executable}\nprint('LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled')\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(doctor_module, "SYSTEMD_FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [each.level for each in await systemd()] == ["ok"]


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Any]:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)

    def call(text: str, *arguments: str) -> Any:
        (tmp_path / "config.toml").write_text(text)
        return CliRunner().invoke(
            app, ["doctor", "--config", str(tmp_path / "config.toml"), *arguments]
        )

    return call


def test_the_command_shows_everything_and_ends_with_0_when_all_is_well(
    doctor: Callable[..., Any], dsn: str, venue: Venue, redis_url: str
) -> None:
    text = (
        f"[database]\nurl = '{dsn}'\n[upbit]\nbase_url = '{venue.base_url}'\n"
        f"[signals]\nsource = 'rules'\n[redis]\nurl = '{redis_url}'\n"
        "[alerts]\nhooks = [{exec = ['/bin/true']}]\n"
    )
    result = doctor(text)
    assert result.exit_code == 0, result.output
    for subject in ("configuration", "database", "migrations", "Redis", "Upbit", "disk", "alerts"):
        assert subject in result.stdout
    assert {each["level"] for each in json.loads(doctor(text, "--json").stdout)} <= {
        "ok",
        "note",
        "warning",
    }


def test_every_fault_has_its_mend(
    doctor: Callable[..., Any], unused_url: str, tmp_path: Path
) -> None:
    text = (
        f"[database]\nurl = 'postgresql://me:hunter2hunter2@/x?host={tmp_path}'\n"
        f"[upbit]\nbase_url = '{unused_url}'\n[trading]\nmode = 'live'\n"
        "[alerts]\nhooks = [{exec = ['/nowhere/hook']}]\n"
    )
    result = doctor(text, "--json")
    assert result.exit_code == 1
    faults = [each for each in json.loads(result.stdout) if each["level"] == "fault"]
    assert {each["subject"] for each in faults} == {
        "configuration",
        "configuration file",
        "database",
        "Upbit",
        "alerts",
    }
    assert all(each["mend"] for each in faults)
    assert "hunter2" not in result.output


def test_a_configuration_that_cannot_be_read_is_the_one_fault(doctor: Callable[..., Any]) -> None:
    result = doctor("[daemon]\ntimezone = 'Mars'")
    assert result.exit_code == 1
    assert "daemon.timezone = 'Mars'" in result.stdout
    assert fault("configuration", "x", "y").level == "fault"


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (
            {
                "code": 403,
                "status": "PERMISSION_DENIED",
                "message": "disabled",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "SERVICE_DISABLED",
                    }
                ],
            },
            "enable the Generative Language API",
        ),
        (
            {
                "code": 400,
                "status": "FAILED_PRECONDITION",
                "message": "User location is not supported for the API use.",
            },
            "available-regions",
        ),
    ],
)
async def test_the_doctor_tells_what_mends_a_refusal(
    raw_server: RawServer, error: dict[str, Any], mend: str
) -> None:
    body = json.dumps({"error": error}).encode()
    raw_server.answer = lambda _: Raw(body=body, status=int(error["code"]))
    found = await gemini(gemini_config(raw_server.url, "AIzaSyNoKey"), now)
    assert (found[-1].level, mend in str(found[-1].mend)) == ("fault", True)


async def test_the_doctor_keeps_the_transport_s_words(unused_url: str) -> None:
    found = await gemini(gemini_config(unused_url, "AIzaSyNoKey"), now)
    assert found[-1].level == "fault"
    assert "Connect call failed" in found[-1].said
    assert "base_url in the configuration" in str(found[-1].mend)


async def test_markets_that_do_not_exist_are_named_with_the_nearest(venue: Venue) -> None:
    config = venue_config(venue)
    trading = config.trading.model_copy(
        update={"markets": Markets(names=("KRW-BTC", "KRW-ETC2", "KRW-XPR")), "exclude": ("KRW-X",)}
    )
    venue.options(warned=["KRW-BTC"])
    found = await upbit(config.model_copy(update={"trading": trading}), now)
    about = [each for each in found if each.subject == "markets"]
    assert [(each.level, each.said) for each in about] == [
        ("fault", "KRW-ETC2 is not a market of the exchange"),
        ("fault", "KRW-XPR is not a market of the exchange"),
        ("warning", "KRW-X is not a market of the exchange"),
        ("note", "KRW-BTC is under the exchange's warning and is not entered"),
    ]
    assert about[1].mend == "take it out of trading.markets, or write KRW-XRP"


async def test_named_markets_that_exist_are_well(venue: Venue) -> None:
    found = await upbit(venue_config(venue), now)
    assert levels(found, "markets") == ["ok"]


async def test_a_list_of_markets_that_does_not_come_hides_nothing_else(venue: Venue) -> None:
    venue.fault(method="GET", path="/v1/market/all", action="answer", status=500)
    found = await upbit(venue_config(venue), now)
    assert levels(found, "markets") == ["fault"]
    assert "fault" not in levels(found, "Upbit key")


async def test_the_doctor_tells_why_upbit_cannot_be_reached(unused_url: str) -> None:
    config = from_mapping({"upbit": {"base_url": unused_url}}, {}, keys=False)
    (found,) = await upbit(config, now)
    assert found.level == "fault"
    assert "Connect call failed" in found.said
    assert "base_url" in str(found.mend)
