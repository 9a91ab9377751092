"""config.toml, the environment and credentials: what is taken, and how each fault is said."""

import os
import re
import shutil
import tomllib
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.config import load as config_module
from daemon.config.load import (
    Config,
    ConfigError,
    from_mapping,
    load,
    locate,
    secrets_in,
    with_credentials,
)
from daemon.config.sections import CREDENTIALS
from daemon.config.types import Markets, secrets_of
from jobs.gemini.model import Usage

KEYS = {"GEMINI_API_KEY": "AIza-not-a-real-key-0001"}
SHIPPED = Path(__file__).parents[4] / "config.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text, "utf-8")
    return load(file, {**KEYS, **environ})


def fault(file: Path, text: str, **environ: str) -> str:
    """The one line that a wrong configuration is answered with, the file's path shortened."""
    with pytest.raises(ConfigError) as caught:
        read(file, text, **environ)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(str(file), "config.toml")


WRONG = [
    # (file, what the line says)
    (
        "[database]\npool_mim = 3",
        "database.pool_mim = 3: unknown key; did you mean database.pool_min?",
    ),
    ("[databse]\nurl = 'x'", "databse = {'url': 'x'}: unknown key; did you mean database?"),
    ("[log]\npool_min = 3", "log.pool_min = 3: unknown key; did you mean database.pool_min?"),
    ("[redis]\nzzz = 1", "redis.zzz = 1: unknown key; allowed in redis: url"),
    ("zzz = 1", "zzz = 1: unknown key; allowed in the file: daemon, trading"),
    ("[database]\npool_min = 0", "database.pool_min = 0: allowed: a whole number from 1 to 1000"),
    ("[database]\npool_min = '3'", "database.pool_min = '3': allowed: a whole number"),
    ("[database]\npool_min = true", "database.pool_min = true: allowed: a whole number"),
    ("[database]\npool_min = 2.5", "database.pool_min = 2.5: allowed: a whole number"),
    ("[database]\npool_min = 30", "database.pool_min = 30: must not be more than pool_max (20)"),
    (
        "[database]\nisolation = 'dirty'",
        "database.isolation = 'dirty': allowed: \"read committed\"",
    ),
    (
        "[database]\nurl = 'mysql://u:pw@h/x'",
        "database.url = 'mysql://***@h': neither embedded",
    ),
    ("[database]\nurl = 'postgresql://h:port/x'", "database.url = 'postgresql://h': not an"),
    ("[daemon]\ntimezone = 'Asia/Soul'", "daemon.timezone = 'Asia/Soul': no such time zone"),
    ("[daemon]\ntimezone = '../x'", "daemon.timezone = '../x': no such time zone"),
    ("[daemon]\nstate_dir = 3", "daemon.state_dir = 3: allowed: the path of a folder"),
    ("[daemon]\nstate_dir = ''", "daemon.state_dir = '': empty"),
    ("[daemon]\nstandby = 'yes'", "daemon.standby = 'yes': allowed: true or false"),
    ("[daemon]\ninstance = 'My Bot'", "daemon.instance = 'My Bot': allowed: 1 to 32 of"),
    ("daemon = 3", "daemon = 3: allowed: a table"),
    ("jobs = 3", "jobs = 3: allowed: a table"),
    ("[jobs]\nmarket = 3", "jobs.market = 3: allowed: a table"),
    ("[trading]\nmode = 'real'", 'trading.mode = \'real\': allowed: "paper" or "live"'),
    ("[trading]\nmarkets = []", "trading.markets = []: names no markets; allowed: a list such as"),
    ("[trading]\nmarkets = ['BTC']", "'BTC' is not the code of a KRW market"),
    ("[trading]\nmarkets = ['KRW-BTC', 'KRW-BTC']", "names a market twice"),
    ("[trading]\nmarkets = {top = 0}", "trading.markets = {'top': 0}: names no markets"),
    ("[trading]\nmarkets = {top = 3, of = 1}", "names no markets"),
    ("[trading]\nallow_warned = 1", "trading.allow_warned = 1: allowed: true or false"),
    ("[trading]\nexclude = ['XRP']", "trading.exclude = ['XRP']: 'XRP' is not the code of a KRW"),
    (
        "[trading]\nexclude = 'KRW-XRP'",
        "trading.exclude = 'KRW-XRP': is no list; allowed: a list of",
    ),
    (
        "[trading]\nmarkets = ['KRW-BTC']\nexclude = ['KRW-BTC', 'KRW-ETH']",
        "leaves no market to trade",
    ),
    ("[trading]\npaper_balance_krw = nan", "trading.paper_balance_krw = NaN: not a finite number"),
    ("[trading]\npaper_balance_krw = true", "trading.paper_balance_krw = true: not a number"),
    ("[redis]\nurl = 'http://x'", "redis.url = 'http://x': not a Redis URL"),
    ("[redis]\nurl = 'redis://'", "redis.url = 'redis://': names no host"),
    ("[upbit]\nbase_url = 'https://api.upbit.com/v1'", "the version is added by the daemon"),
    ("[upbit]\nbase_url = 'api.upbit.com'", "not an https:// address"),
    ("[upbit]\nbase_url = ''", "upbit.base_url = '': allowed: https://"),
    ("[upbit]\nbase_url = 'http://api.upbit.com'", "would send keys over the network in clear"),
    ("[upbit]\nbase_url = 'https://u:p@api.upbit.com'", "must not hold a user"),
    ("[upbit]\nwebsocket_url = 'https://x'", "upbit.websocket_url = 'https://x': not an wss://"),
    ("[upbit]\nrate_share = 1.5", "upbit.rate_share = 1.5: allowed: more than 0, at most 1"),
    ("[upbit]\ntimeout = 5", "upbit.timeout = 5: allowed: a duration above zero"),
    ("[upbit]\ntimeout = '5 s'", "upbit.timeout = '5 s': not a duration; allowed: a duration"),
    ("[upbit]\ntimeout = '0s'", "upbit.timeout = '0s': allowed: a duration above zero"),
    ("[upbit]\ntimeout = '99999999999d'", "too long"),
    (
        "[gemini]\nmodel = 'models/gemini'",
        "gemini.model = 'models/gemini': allowed: a model's name",
    ),
    ("[gemini]\nsdk = 'openai'", "gemini.sdk = 'openai': allowed: \"google-genai\""),
    ("[gemini]\nmax_output_tokens = 1", "gemini.max_output_tokens = 1: allowed: 64 to 65536"),
    (
        "[gemini.prices]\nx = {input = -1, output = 2}",
        "gemini.prices.x.input = -1: allowed: 0 or more",
    ),
    ("[gemini.prices]\nx = {input = 1}", "gemini.prices.x.output: is missing; allowed: 0 or more"),
    ("[gemini.prices]\nx = {imput = 1}", "gemini.prices.x.imput = 1: unknown key; did you mean"),
    ("[gemini.prices]\nx = 1", "gemini.prices.x = 1: allowed: a table"),
    ("[gemini.prices]\nx = []", "gemini.prices.x = []: holds no price"),
    (
        "[gemini.prices]\nx = [{input = 1, output = 2}, {input = 2, output = 3}]",
        "two prices begin on the same day",
    ),
    (
        "[gemini.prices]\nx = [{input = 1, output = 2}, {input = -2, output = 3}]",
        "gemini.prices.x.1.input = -2: allowed: 0 or more",
    ),
    (
        "[gemini.prices]\nx = {input = 1, output = 2, since = 'soon'}",
        "gemini.prices.x.since = 'soon': not a day such as 2027-01-01; allowed: a day",
    ),
    (
        "[gemini.prices]\nx = {input = 1, output = 2, since = 2027-01-01T00:00:00}",
        "gemini.prices.x.since = ",
    ),
    ("[jobs.market]\ncron = '*/5 * * * 1-5'", "weekday by number: some programs count 1 as Monday"),
    ("[jobs.market]\ncron = '* * * *'", "has 4 fields, not 5"),
    ("[jobs.market]\ncron = '60 * * * *'", "minute '60': not 0 to 59"),
    ("[jobs.market]\ncron = '*/0 * * * *'", "minute '*/0': the step is not a number from 1 to 59"),
    ("[jobs.market]\ncron = '* * * * fri-mon'", "weekday 'fri-mon': not a value, or a range"),
    ("[jobs.market]\ncron = '* * * 13 *'", "month '13': not 1 to 12 or jan feb"),
    ("[jobs.market]\ncron = '0 0 30 feb *'", "names a date that never comes"),
    (
        "[jobs.market]\ncron = '* * * * *'\nevery = '1m'",
        "jobs.market.cron = '* * * * *': stands beside",
    ),
    ("[jobs.market]\nevery = '500ms'", "jobs.market.every = '500ms': must be 1s or longer"),
    (
        "[jobs.market]\noffset = '2m'",
        "jobs.market.offset = '2m': must be shorter than every (0:01:00)",
    ),
    (
        "[jobs.market]\ncandle_units = [2]",
        "jobs.market.candle_units.0 = 2: allowed: a list of 1, 3",
    ),
    ("[jobs.market]\ncandle_units = []", "jobs.market.candle_units = []: allowed: a list of"),
    ("[signals]\nsource = 'magic'", "no entry point of that name in the group upbitd.signals"),
    ("[retry]\ndelays = [1, 'x']", "retry.delays.1 = 'x': not a number; allowed: up to 10 waits"),
    ("[retry]\ndelays = [0]", "retry.delays.0 = 0: allowed: up to 10 waits above 0"),
    ("[health]\nhost = '0.0.0.0'", "health.token: is missing, and host '0.0.0.0' can be reached"),
    ("[health]\ntoken = 'short'", "health.token = ***: is shorter than 16 characters"),
    ("[health]\nport = 70000", "health.port = 70000: allowed: 0 (any free one) to 65535"),
    ("[alerts]\nhooks = [{exec = ['/a'], url = 'http://x'}]", "has 2 of exec, url and apprise"),
    ("[alerts]\nhooks = [{exec = ['a']}]", "alerts.hooks.0.exec = ['a']: must begin with the full"),
    (
        "[alerts]\nhooks = [{url = 'ftp://x'}]",
        "alerts.hooks.0.url = ***: must begin with http",
    ),
    (
        "[alerts]\nhooks = [{exce = ['/a']}]",
        "alerts.hooks.0.exce = ***: unknown key; did you mean",
    ),
    ("[alerts]\nhooks = ['/a']", "alerts.hooks.0 = ***: allowed: a table"),
    ("[log]\nlevel = 'LOUD'", "log.level = 'LOUD': allowed: TRACE, DEBUG"),
    ("[log]\nrotation = '50'", "log.rotation = '50': not a duration; allowed: a size"),
    ("[cache]\nmax_entries = 0", "cache.max_entries = 0: allowed: 1 to 10000000"),
    ("a =", "line 1: is not TOML: Invalid value"),
    ("[a]\nb = 1\nb = 2", "line 3: is not TOML: Cannot overwrite a value"),
    ('[daemon]\ntimezone = "Asia', "line 2: is not TOML:"),
    ("[daemon]\n\n[dae", "line 3: is not TOML:"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_file_is_refused_in_one_line(file: Path, text: str, said: str) -> None:
    line = fault(file, text)
    assert line.startswith("config.toml: ")
    assert said in line


@pytest.mark.parametrize(
    "text",
    [
        "upbit_secret_key = 'SECRETVALUE'",
        "[upbit]\nsecret_key = 'SECRETVALUE'",
        "[upbit]\naccess_key = 'SECRETVALUE'",
        "[gemini]\napi_key = 'SECRETVALUE'",
        "GEMINI_API_KEY = 'SECRETVALUE'",
        "[secrets]\ngemini_api_key = 'SECRETVALUE'",
        "[redis]\npassword = 'SECRETVALUE'",
    ],
)
def test_a_secret_in_the_file_is_refused_without_showing_it(file: Path, text: str) -> None:
    line = fault(file, text)
    assert "secrets never stand in this file" in line
    assert "UPBIT_SECRET_KEY" in line
    assert "SECRETVALUE" not in line


def test_a_second_fault_is_counted(file: Path) -> None:
    assert fault(file, "[database]\npool_min = 0\nmax_waiting = 0").endswith("(and 1 more)")


def test_a_long_value_is_cut(file: Path) -> None:
    assert len(fault(file, f"[trading]\nmode = '{'x' * 500}'")) < 250


def test_a_key_pasted_into_the_wrong_place_is_not_shown(file: Path) -> None:
    assert "AIzaSyA0123456789" not in fault(file, "[trading]\nmode = 'AIzaSyA01234567890123456789'")


LEAKS = [
    "[alerts]\nhooks = [{url = 'hooks.example/services/T000/S3cret'}]",
    "[alerts]\nhooks = [{url = 'https://hooks.example/S3cret', exec = ['/x']}]",
    "[alerts]\nhooks = [{urll = 'https://hooks.example/S3cret'}]",
    "[alerts]\nhooks = [{exec = ['curl', 'https://hooks.example/S3cret']}]",
    "[alerts]\nhooks = 'https://hooks.example/S3cret'",
    "[alerts]\nhooks = ['https://hooks.example/S3cret']",
    "[alerts]\nhook = [{url = 'https://hooks.example/S3cret'}]",
    "[alert]\nhooks = [{url = 'https://hooks.example/S3cret'}]",
    "alerts = [{url = 'https://hooks.example/S3cret'}]",
    "[alerts]\nhooks = [{apprise = 'nothing://123456789:AAS3cret/42', url = 'http://x'}]",
    "[health]\nping_url = 'hc-ping.com/6f2b1c2e-S3cret'",
    "[health]\npingurl = 'https://hc-ping.com/6f2b1c2e-S3cret'",
    "health = 'https://hc-ping.com/6f2b1c2e-S3cret'",
    "[redis]\nurl = 'redis:/:S3cret@h:6379/0'",
    "[redis]\nurl = 'redis://:pa/S3cret@h:6379/0'",
    "[redis]\nurl = 'http://:pa@S3cret@h:6379/0'",
    "[redis]\nuri = 'redis://:pa/S3cret@h:6379/0'",
    "redis = 'redis://:pa/S3cret@h:6379/0'",
    "[database]\nurl = 'mysql://upbitd:hunter2@S3cret@db.example/upbitd'",
    "[database]\nurl = 'mysql://upbitd:p?S3cret@S3cret@db.example/upbitd'",
    "[database]\nurl = 'mysql://db.example/upbitd?password=a@S3cret'",
    "[database]\nurl = 'postgresql://u:pa/S3cret@h/x'",
    "[database]\nurl = 'postgresql://u:p@h:S3cret/x'",
    "[database]\nurl = 'postgresql://u:S3cret@[h/x'",
    "database = 'postgresql://u:S3cret@h/x'",
    "[database]\nurl = ['postgresql://u:S3cret@h/x']",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_fault_shows_what_has_to_stay_secret(file: Path, text: str) -> None:
    line = fault(file, text)
    assert "S3cret" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("UPBITD_ALERTS__HOOKS", "[{'url': 'https://hooks.example/S3cret'}]"),
        ("UPBITD_ALERTS__HOOKS", "https://hooks.example/S3cret"),
        ("UPBITD_HEALTH__PING_URL", "hc-ping.com/S3cret"),
        ("UPBITD_DATABASE__URL", "mysql://u:p@S3cret@h/x"),
        ("UPBITD_REDIS__URL", "redis://:pa/S3cret@h"),
        ("UPBITD_HEALTH__TOKEN", "S3cret"),
    ],
)
def test_no_variable_is_shown_either(file: Path, variable: str, text: str) -> None:
    assert "S3cret" not in fault(file, "", **{variable: text})


def test_a_place_is_shown_without_its_secret(file: Path) -> None:
    line = fault(file, "[database]\nurl = 'mysql://u:pw@db.example:3306/x?y=z'")
    assert "database.url = 'mysql://***@db.example': neither" in line
    assert "'http://[::1]'" in fault(file, "[redis]\nurl = 'http://[::1]:6379/0'")


def test_what_is_no_secret_beside_them_is_shown(file: Path) -> None:
    text = "[alerts]\nhooks = [{url = 'https://x', min_severity = 'loud'}]"
    assert "alerts.hooks.0.min_severity = 'loud'" in fault(file, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="there is no such file; give --config PATH or set UPBITD_CONFIG"
    ):
        load(tmp_path / "config.toml", KEYS)


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, KEYS)


def test_a_file_that_is_not_utf8(file: Path) -> None:
    file.write_bytes("[daemon]\n# 업비트\n".encode("cp949"))
    with pytest.raises(ConfigError, match=r"config\.toml: line 2: is not UTF-8 text"):
        load(file, KEYS)


def test_a_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[daemon]\ninstance = 'a'\n")
    assert load(file, KEYS).daemon.instance == "a"


def test_a_file_nested_beyond_reason(file: Path) -> None:
    assert "is not TOML" in fault(file, "a = " + "[" * 100_000)


def test_an_empty_file_is_the_defaults_of_the_contract(file: Path) -> None:
    config = read(file, "")
    assert config.daemon.timezone == "Asia/Seoul"
    assert config.daemon.state_dir == file.parent / "var"
    assert config.daemon.standby
    assert config.trading.mode == "paper"
    assert config.trading.markets.names[0] == "KRW-BTC"
    assert config.database.url == "embedded"
    assert (config.database.pool_min, config.database.pool_max) == (10, 20)
    assert config.database.slow_query == timedelta(milliseconds=100)
    assert config.upbit.base_url == "https://api.upbit.com"
    assert config.gemini.daily_budget_usd == Decimal("1.00")
    assert config.jobs.market.every == timedelta(minutes=1)
    assert config.jobs.market.offset == timedelta(seconds=2)
    assert config.jobs.signals.every == timedelta(minutes=5)
    assert config.jobs.orders.every == timedelta(seconds=10)
    assert config.jobs.upkeep.every == timedelta(hours=1)
    assert config.retry.delays == (1.0, 2.0, 4.0)
    assert config.health.port == 8787
    assert config.alerts.hooks == ()
    assert config.cache.settings_ttl == timedelta(hours=1)


def test_the_shipped_file_is_exactly_the_defaults(file: Path) -> None:
    shipped = from_mapping(tomllib.loads(SHIPPED.read_text("utf-8")), KEYS, base=file.parent)
    assert shipped == read(file, "")


def test_the_shipped_file_names_every_key() -> None:
    text = SHIPPED.read_text("utf-8")
    named = set()
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[([a-z.]+)\]", line):
            section = match[1]
            named.add(section)
        elif match := re.match(r"(?:# )?([a-z_]+) = ", line):
            named.add(f"{section}.{match[1]}")
    assert set(keys_of(Config)) - {"secrets", "jobs", "gemini.prices"} <= named


def keys_of(model: type, prefix: str = "") -> list[str]:
    """Every dotted key of the configuration but the secrets."""
    keys = []
    for name, info in model.model_fields.items():  # type: ignore[attr-defined]
        if name == "secrets":
            continue
        keys.append(f"{prefix}{name}")
        if hasattr(info.annotation, "model_fields"):
            keys += keys_of(info.annotation, f"{prefix}{name}.")
    return keys


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("1.5m", 90), ("10m", 600), ("1h", 3600), ("2d", 172800)],
)
def test_durations(file: Path, text: str, seconds: float) -> None:
    config = read(file, f"[upbit]\ntimeout = '{text}'")
    assert config.upbit.timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "markets"),
    [
        ("'KRW-*'", Markets()),
        ("{top = 10}", Markets(top=10)),
        ("['KRW-BTC', 'KRW-1INCH']", Markets(names=("KRW-BTC", "KRW-1INCH"))),
    ],
)
def test_markets(file: Path, text: str, markets: Markets) -> None:
    config = read(file, f"[trading]\nmarkets = {text}")
    assert config.trading.markets == markets
    assert config.trading.markets.everything == (markets == Markets())


def test_prices_are_laid_over_the_published_ones(file: Path) -> None:
    config = read(
        file,
        """[gemini.prices]
        "gemini-3.5-flash-lite" = {input = 1, output = 2, long_input = 3, long_output = 4}
        mine = [{input = 1, output = 2}, {since = 2026-12-01, input = 3, output = 4}]
        """,
    )
    prices, million = config.gemini.price_table(), Usage(prompt=1_000_000)
    new_year, before = date(2027, 1, 1), date(2026, 11, 30)
    assert prices.cost("gemini-3.5-flash-lite", million, before).usd == 3
    assert prices.cost("mine", Usage(prompt=1000), before).usd == Decimal("0.001")
    assert prices.cost("mine", Usage(prompt=1000), date(2026, 12, 1)).usd == Decimal("0.003")
    assert prices.cost("gemini-3.8-flash", million, before).usd == Decimal("0.75")
    assert prices.cost("gemini-3.8-flash", million, new_year).usd == Decimal("1.50")
    assert prices.knows("gemini-3.7-flash")
    assert not prices.knows("gemini-0-none")


def test_prices_may_come_from_the_environment(file: Path) -> None:
    file.write_text("", "utf-8")
    given = (
        '{"mine": [{"input": 1, "output": 2}, {"since": "2027-01-01", "input": 3, "output": 4}]}'
    )
    config = load(file, KEYS | {"UPBITD_GEMINI__PRICES": given})
    assert [price.since for price in config.gemini.prices["mine"]] == [None, date(2027, 1, 1)]


def test_cron_takes_the_place_of_the_default_interval(file: Path) -> None:
    job = read(file, "[jobs.signals]\ncron = '*/10 9-15,20 1 jan-mar/2 MON-FRI'").jobs.signals
    assert job.every is None
    assert job.cron == "*/10 9-15,20 1 jan-mar/2 mon-fri"


def test_hooks_keep_their_addresses_secret(file: Path) -> None:
    config = read(
        file,
        "[alerts]\nhooks = [{url = 'https://hooks.example/abc', min_severity = 'critical'},"
        " {exec = ['/bin/page', '-v'], timeout = '3s'}]",
    )
    url, program = config.alerts.hooks
    assert url.min_severity == "critical"
    assert program.exec == ("/bin/page", "-v")
    assert program.timeout == timedelta(seconds=3)
    assert "https://hooks.example/abc" in config.sensitive()
    assert "hooks.example" not in repr(config)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("https://hooks.example/services/T1JJ3T3L2/x", ["T1JJ3T3L2"]),
        ("https://hooks.example/x?key=abcDEF12&n=12345678", ["abcDEF12"]),
        ("https://me:pa%40ss123@hooks.example/x", ["pa%40ss123", "pa@ss123"]),
        ("tgram://123456789:AAFake_x-y/42", ["AAFake_x-y"]),
        ("slack://TokenAAAA/TokenBBBB/#general", ["TokenAAAA", "TokenBBBB"]),
        ("http://[bad", []),
    ],
)
def test_the_parts_of_an_address_are_secrets_too(address: str, parts: list[str]) -> None:
    assert secrets_of(address) == (address, *parts)


@pytest.mark.parametrize(
    ("text", "rotation"), [("50 MB", 50_000_000), ("10KB", 10_000), ("1d", timedelta(days=1))]
)
def test_rotation_by_size_or_time(file: Path, text: str, rotation: object) -> None:
    assert read(file, f"[log]\nrotation = '{text}'").log.rotation == rotation


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("UPBITD_DATABASE__POOL_MIN", "7", "database.pool_min", 7),
        ("UPBITD_DAEMON__STANDBY", "False", "daemon.standby", False),
        ("UPBITD_UPBIT__RATE_SHARE", "0.5", "upbit.rate_share", 0.5),
        ("UPBITD_UPBIT__TIMEOUT", "2s", "upbit.timeout", timedelta(seconds=2)),
        ("UPBITD_GEMINI__DAILY_BUDGET_USD", "0.25", "gemini.daily_budget_usd", Decimal("0.25")),
        ("UPBITD_TRADING__MARKETS", "KRW-*", "trading.markets", Markets()),
        ("UPBITD_TRADING__MARKETS", '{"top": 3}', "trading.markets", Markets(top=3)),
        ("UPBITD_TRADING__MARKETS", '["KRW-BTC"]', "trading.markets", Markets(names=("KRW-BTC",))),
        ("UPBITD_RETRY__DELAYS", "[1, 2.5]", "retry.delays", (1.0, 2.5)),
        ("UPBITD_JOBS__MARKET__EVERY", "2m", "jobs.market.every", timedelta(minutes=2)),
        ("UPBITD_JOBS__MARKET__CRON", "5 * * * *", "jobs.market.every", None),
        ("UPBITD_REDIS__URL", "", "redis.url", ""),
        ("UPBITD_HEALTH", '{"port": 0}', "health.port", 0),
    ],
)  # fmt: skip
def test_the_environment_goes_over_the_file(
    file: Path, variable: str, text: str, path: str, value: object
) -> None:
    config: object = read(
        file,
        "[jobs.market]\nevery = '1m'\n[health]\nport = 1\n[database]\npool_min = 3",
        **{variable: text},
    )
    for part in path.split("."):
        config = getattr(config, part)
    assert config == value


def test_a_table_from_the_environment_leaves_the_files_other_keys(file: Path) -> None:
    config = read(file, "[health]\nhost = '::1'\nport = 1", UPBITD_HEALTH='{"port": 2}')
    assert (config.health.host, config.health.port) == ("::1", 2)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        (
            "UPBITD_DATABASE__POOL_MIN",
            "x",
            "UPBITD_DATABASE__POOL_MIN: database.pool_min = 'x': allowed",
        ),
        (
            "UPBITD_DATABASE__POOL_MN",
            "5",
            "unknown variable; did you mean UPBITD_DATABASE__POOL_MIN?",
        ),
        ("UPBITD_FOO", "1", "UPBITD_FOO: unknown variable; UPBITD_<SECTION>__<KEY> overrides"),
        ("UPBITD_SECRETS__GEMINI_API_KEY", "x", "unknown variable"),
        ("UPBITD_TRADING__MARKETS", '["KRW-BTC"', "is not JSON; allowed: a list such as"),
        ("UPBITD_DATABASE", "3", "database = 3: allowed: a table"),
        ("UPBITD_DATABASE", "x", "is not JSON; allowed: a JSON object"),
        ("UPBITD_DAEMON__STANDBY", "no", "daemon.standby = 'no': allowed: true or false"),
        ("UPBITD_UPBIT__RATE_SHARE", "much", "upbit.rate_share = 'much': not a number"),
        ("UPBITD_HEALTH__TOKEN", "short", "UPBITD_HEALTH__TOKEN: health.token = ***: is shorter"),
        (
            "UPBITD_TRADING__MODE",
            "live",
            'UPBITD_TRADING__MODE: trading.mode: "live" needs UPBIT_ACCESS',
        ),
        ("GEMINI_API_KEY", "two words", "GEMINI_API_KEY: holds characters that no key has"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    file: Path, variable: str, text: str, said: str
) -> None:
    assert said in fault(file, "", **{variable: text})


def test_a_variable_below_something_that_is_no_table(file: Path) -> None:
    line = fault(file, "database = 3", UPBITD_DATABASE__POOL_MIN="3")
    assert line == "config.toml: database = 3: allowed: a table"


def test_foreign_variables_are_nobodys_business(file: Path) -> None:
    assert read(file, "", UPBITD_CONFIG="x", UPBITDX="1", PATH="/bin") == read(file, "")


def test_live_needs_both_upbit_keys(file: Path) -> None:
    keys = {"UPBIT_ACCESS_KEY": "a" * 40, "UPBIT_SECRET_KEY": "s" * 40}
    assert read(file, "[trading]\nmode = 'live'", **keys).trading.mode == "live"
    for name, key in keys.items():
        line = fault(file, "[trading]\nmode = 'live'", **{name: key})
        assert "needs UPBIT_ACCESS_KEY and UPBIT_SECRET_KEY" in line


def test_gemini_needs_its_key_and_the_line_names_the_mend(file: Path) -> None:
    line = fault(file, "", GEMINI_API_KEY="")
    assert "needs GEMINI_API_KEY" in line
    assert 'source = "rules"' in line
    assert read(file, "[signals]\nsource = 'rules'", GEMINI_API_KEY="").secrets.values() == ()


def test_commands_that_need_no_keys_load_without(file: Path) -> None:
    file.write_text("[trading]\nmode = 'live'")
    assert load(file, {}, keys=False).missing_keys() is not None


def test_a_systemd_credential_wins_over_the_environment(file: Path, tmp_path: Path) -> None:
    (tmp_path / "gemini_api_key").write_text("AIza-from-systemd\n")
    config = read(
        file, "", CREDENTIALS_DIRECTORY=str(tmp_path), UPBIT_ACCESS_KEY="from-environment"
    )
    assert set(config.secrets.values()) == {"AIza-from-systemd", "from-environment"}


def test_credentials_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    (tmp_path / "gemini_api_key").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in fault(file, "", CREDENTIALS_DIRECTORY=str(tmp_path))
    (tmp_path / "gemini_api_key").unlink()
    (tmp_path / "gemini_api_key").mkdir()
    assert "cannot be read" in fault(file, "", CREDENTIALS_DIRECTORY=str(tmp_path))


def test_every_secret_can_be_a_credential(file: Path, tmp_path: Path) -> None:
    told = {
        "health_token": "0123456789abcdef",
        "database_url": "postgresql://me:pw@h/x",
        "redis_url": "rediss://:pw@h/0",
        "alerts_hooks": '[{"url": "https://hooks.example/x", "min_severity": "critical"}]',
        "ping_url": "https://ping.example/x",
    }
    for name, text in told.items():
        (tmp_path / name).write_text(f"{text}\n")
    config = read(
        file,
        "[health]\ntoken = 'of-the-file-0123456'",
        CREDENTIALS_DIRECTORY=str(tmp_path),
        UPBITD_REDIS__URL="redis://of-the-environment",
    )
    assert config.health.token.get_secret_value() == told["health_token"]
    assert config.database.url == told["database_url"]
    assert config.redis.url == told["redis_url"]
    assert config.alerts.hooks[0].min_severity == "critical"
    assert config.health.ping_url.get_secret_value() == told["ping_url"]
    assert sorted(told) == sorted(CREDENTIALS)


@pytest.mark.parametrize(
    ("name", "text"), [("alerts_hooks", "[{'url': 'S3cret'}]"), ("ping_url", "S3cret.example/x")]
)
def test_a_wrong_credential_is_named_and_not_shown(
    file: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    line = fault(file, "", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert line.startswith(f"credential {name}: ")
    assert "S3cret" not in line


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("", []),
        ("[database]\nurl = 'postgresql://me@h/x'\n[alerts]\nhooks = [{exec = ['/x']}]", []),
        ("[database]\nurl = 'postgresql://me:pw@h/x'", ["database.url"]),
        ("[database]\nurl = 'postgresql://me@h/x?password=pw'", ["database.url"]),
        ("[redis]\nurl = 'redis://:pw@h'", ["redis.url"]),
        ("[health]\ntoken = '0123456789abcdef'\nping_url = ''", ["health.token"]),
        ("[health]\nping_url = 'https://x'", ["health.ping_url"]),
        ("[alerts]\nhooks = [{exec = ['/x']}, {url = 'https://x'}]", ["alerts.hooks"]),
        ("alerts = 3\nhealth = 'x'", []),
    ],
)
def test_which_secrets_stand_in_a_file(file: Path, text: str, held: list[str]) -> None:
    file.write_text(text)
    assert secrets_in(file) == held


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, "{base}/var"),
        ("", {"STATE_DIRECTORY": "/var/lib/upbitd:/x"}, "/var/lib/upbitd"),
        (
            "[daemon]\nstate_dir = './var'",
            {"STATE_DIRECTORY": "/var/lib/upbitd"},
            "/var/lib/upbitd",
        ),
        ("[daemon]\nstate_dir = '/data'", {"STATE_DIRECTORY": "/var/lib/upbitd"}, "/data"),
        ("", {"UPBITD_DAEMON__STATE_DIR": "x"}, "{base}/x"),
    ],
)
def test_the_state_directory(file: Path, text: str, environ: dict[str, str], expected: str) -> None:
    config = read(file, text, **environ)
    assert str(config.daemon.state_dir) == expected.format(base=file.parent)


def test_which_file_is_read(tmp_path: Path) -> None:
    assert locate(tmp_path, {"UPBITD_CONFIG": "/b"}) == tmp_path
    assert locate(None, {"UPBITD_CONFIG": "/b"}) == Path("/b")
    assert locate(None, {}) == Path("config.toml")


def test_no_secret_shows_in_the_text_of_a_configuration(file: Path) -> None:
    config = read(
        file,
        "[database]\nurl = 'postgresql://me:dbpassword@h/x'\n[redis]\nurl = 'redis://:redispw1@h'\n"
        "[health]\ntoken = 'tokentokentokentoken'",
        UPBIT_SECRET_KEY="upbit-secret-key-value",
    )
    shown = f"{config!r} {config} {config.database!r} {config.secrets!r}"
    for secret in ("dbpassword", "redispw1", "tokentoken", "upbit-secret", KEYS["GEMINI_API_KEY"]):
        assert secret not in shown
    assert {"dbpassword", "redispw1", "tokentokentokentoken"} <= set(config.sensitive())


def test_a_configuration_cannot_be_changed(file: Path) -> None:
    config = read(file, "")
    with pytest.raises(ValueError, match="frozen"):
        config.database.pool_min = 3


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation as the README makes it, in a folder; we stand in another one."""
    for name, place in (("SYSTEM_PATH", "etc/upbitd/config.toml"), ("SYSTEM_CREDENTIALS", "store")):
        monkeypatch.setattr(config_module, name, tmp_path / place)
    monkeypatch.setattr(config_module, "SYSTEM_STATE", str(tmp_path / "lib"))
    (tmp_path / "etc" / "upbitd").mkdir(parents=True)
    shutil.copy(SHIPPED, tmp_path / "etc" / "upbitd")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_the_installation_is_found_where_nothing_nearer_is(installed: Path) -> None:
    """Every command after the README's ten lines ended with "no such file" (fault I1)."""
    place = installed / "etc" / "upbitd" / "config.toml"
    assert locate(None, {}) == place
    assert load(None, {}, keys=False).daemon.state_dir == installed / "lib"
    assert load(place, {}, keys=False).daemon.state_dir == installed / "lib"
    given = {"STATE_DIRECTORY": "/srv/state:/srv/other"}
    assert load(None, given, keys=False).daemon.state_dir == Path("/srv/state")
    Path("config.toml").touch()
    assert locate(None, {}) == Path("config.toml")
    assert load(None, {}, keys=False).daemon.state_dir == installed / "here" / "var"


def test_the_program_s_own_sample_stands_behind_the_installation(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's lines are typed in /opt/upbitd, where a config.toml lies."""
    monkeypatch.chdir(SHIPPED.parent)
    assert locate(None, {}) == installed / "etc" / "upbitd" / "config.toml"
    (installed / "etc" / "upbitd" / "config.toml").unlink()
    assert locate(None, {}) == Path("config.toml")


def test_a_closed_folder_is_no_missing_file(installed: Path) -> None:
    def closed(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", closed)
        assert config_module._is_there(installed / "etc")


def test_as_root_the_credential_store_stands_in_for_systemd(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live commands had no way to the keys but a command line (security review, 12)."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = installed / "etc" / "upbitd" / "config.toml"
    assert with_credentials(place, {}) == {}
    (installed / "store").mkdir()
    (installed / "store" / "upbit_access_key").write_text("ACCESS\n")
    (installed / "store" / "health_token").write_text("a token of the installation\n")
    assert with_credentials(place, {}) == {"CREDENTIALS_DIRECTORY": str(installed / "store")}
    other = with_credentials(Path("config.toml"), {"UPBIT_SECRET_KEY": "mine"})
    assert other == {"UPBIT_ACCESS_KEY": "ACCESS", "UPBIT_SECRET_KEY": "mine"}
    own = {"CREDENTIALS_DIRECTORY": "/run/credentials/upbitd.service"}
    assert with_credentials(place, own) == own
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert with_credentials(place, {}) == {}
