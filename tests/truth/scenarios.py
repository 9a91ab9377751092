"""The health truth table: what is done to a daemon, and what each component has to say of it.

`expect` has one letter a component, in the order database, upbit, gemini, scheduler, latest signal,
latest order: `H` healthy, `D` degraded, `U` unhealthy, `!` not healthy (either), `.` a consequence
that may or may not show: not judged. `says` are words that the component's cause must hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from truth.world import Setup

Pull = tuple[str, Mapping[str, Any]]

PLANT_SIGNAL = """
WITH seen AS (
    INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
    VALUES ('KRW-BTC', now(), 1000, 1, 1, 0) RETURNING id
)
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts,
    status, created_at)
SELECT id, 'KRW-BTC', '{action}', 0.7, 'planted', 'rules', 'rules', now(), '{status}',
    now() - interval '{age}' FROM seen
"""
FRESH_SIGNAL = PLANT_SIGNAL.format(action="hold", status="new", age="0 s")
PLANT_ORDER = """
INSERT INTO orders (identifier, mode, purpose, market, side, ord_type, price, volume, state, reason,
    created_at, updated_at)
VALUES ('planted-{state}', 'live', 'entry', 'KRW-BTC', 'bid', 'limit', 1000, 10, '{state}',
    {reason}, now() - interval '{age}', now() - interval '{age}')
"""
HALTED = "INSERT INTO settings (key, value) VALUES ('halted', '{value}')"
RESTING = "INSERT INTO settings (key, value) VALUES ('order_timeout_s', '{timeout_s}')"
EMPTY = """
DELETE FROM fills; DELETE FROM order_events; DELETE FROM orders; DELETE FROM signals;
DELETE FROM llm_calls; DELETE FROM market_data
"""

QUIET = Setup(market_every="24h", signals_every="24h", orders_every="24h", redis=True)
"""Nothing is due: what is not well is what the scenario did."""
LIVE = Setup()
"""Jobs run every few seconds and trade."""
POOR = Setup(budget="0.0")
STANDBY = Setup(standby=True, market_every="24h", signals_every="24h", orders_every="24h")

WORLDS: Mapping[str, Setup] = {"quiet": QUIET, "live": LIVE, "poor": POOR, "standby": STANDBY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table.

    `within_s` is how soon everything expected must be said; it must then hold for `hold_s`.
    `fresh`: the trouble outlives its cause, so the next scenario gets a new daemon. `is_last`: it
    cannot be undone. `brief`: part of the reduced table. `halted`: the level that is said
    meanwhile.
    """

    name: str
    world: str
    pull: Sequence[Pull]
    expect: str
    says: Mapping[str, str] = field(default_factory=dict)
    within_s: float = 20.0
    hold_s: float = 3.0
    recover_s: float = 45.0
    fresh: bool = False
    is_last: bool = False
    brief: bool = False
    halted: str = "none"


def quiet(name: str, expect: str, *pull: Pull, **more: Any) -> Scenario:
    """A scenario of the quiet world."""
    return Scenario(name=name, world="quiet", pull=pull, expect=expect, **more)


def live(name: str, expect: str, *pull: Pull, **more: Any) -> Scenario:
    """A scenario of the world that trades."""
    return Scenario(name=name, world="live", pull=pull, expect=expect, **more)


def generates(name: str, scenario: str, **more: Any) -> Scenario:
    """Every answer of the model goes wrong; it is asked once a minute, when a candle closes."""
    pull = ("model", {"scenario": scenario})
    return live(name, "H H ! . H .", pull, within_s=90, recover_s=120, **more)


def venue(**fault: Any) -> Pull:
    """Every request to the exchange goes wrong in this way."""
    return "venue", {"path": "/v1/*", **fault}


def refusal(name: str, status: int, message: str = "refused", **headers: str) -> Pull:
    """Every request to the exchange is refused in its own form."""
    body = {"error": {"name": name, "message": message}}
    return venue(action="answer", status=status, body=body, headers=headers)


def account(**fault: Any) -> Pull:
    """Every request that needs the key goes wrong in this way."""
    return "venue", {"path": "/v1/accounts", **fault}


def gemini(**fault: Any) -> Pull:
    """Every request to the model goes wrong in this way."""
    return "venue", {"path": "/v1beta/*", **fault}


def google(code: int, status: str, message: str, **info: Any) -> Pull:
    """Every request to the model is refused in Google's form."""
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if info:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}]
    return gemini(action="answer", status=code, body={"error": error})


def door(to: str, how: str, delay_s: float = 0.0) -> Pull:
    """The way to a dependency is shut, blocked or slow."""
    return "door", {"to": to, "how": how, "delay_s": delay_s}


def halted(name: str, level: str, pull: Pull, **more: Any) -> Scenario:
    """Trading is halted in this way: everything is well, and the halt is said."""
    return quiet(f"halted {name}", "H H H H H H", pull, halted=level, **more)


def setting(value: str) -> Pull:
    """The setting `halted` has this value."""
    do = HALTED.format(value=value)
    return "rows", {"do": do, "undo": "DELETE FROM settings WHERE key = 'halted'"}


def inside(**levers: Any) -> Pull:
    """Something goes wrong inside the process."""
    return "inside", levers


def rows(do: str, undo: str = f"{EMPTY}; {FRESH_SIGNAL}") -> Pull:
    """Rows as time or somebody else may leave them."""
    return "rows", {"do": do, "undo": undo}


def order(state: str, age_s: int) -> Pull:
    """An order that is in `state` for so long."""
    reason = "'planted'" if state == "refused" else "NULL"
    return rows(PLANT_ORDER.format(state=state, reason=reason, age=f"{age_s} s"))


def resting(timeout_s: int) -> Pull:
    """Orders may rest for so long."""
    do = RESTING.format(timeout_s=timeout_s)
    return "rows", {"do": do, "undo": "DELETE FROM settings WHERE key = 'order_timeout_s'"}


def signal(action: str, age: str, status: str = "new") -> Pull:
    """One signal, and no other."""
    return rows(f"{EMPTY}; {PLANT_SIGNAL.format(action=action, status=status, age=age)}")


BAD_KEY = google(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    reason="API_KEY_INVALID",
    domain="googleapis.com",
)
NO_MODEL = google(404, "NOT_FOUND", "models/gone is not found for API version v1beta")
AWAY = "U H ! ! . U"
"""The database is away: the rest cannot be known, and what was known may still be said."""

SCENARIOS: Sequence[Scenario] = (
    # nothing is wrong
    quiet("nothing is wrong", "H H H H H H", hold_s=8, brief=True),
    live("nothing is wrong, jobs run", "H H H H H H", hold_s=20),
    quiet("every path of the port is asked", "H H H H H H", ("wait", {"seconds": 0})),
    # the database
    quiet("database stopped", AWAY, ("server", {"how": "stopped"}), brief=True),
    quiet("database killed", AWAY, ("server", {"how": "killed"})),
    quiet("database frozen by SIGSTOP", AWAY, ("server", {"how": "frozen"}), brief=True),
    quiet("database refuses connections", AWAY, door("database", "shut")),
    quiet("database black-holed", AWAY, door("database", "block")),
    quiet(
        "database slow",
        "D H . H . .",
        door("database", "slow", 0.12),
        says={"database": "limit 250 ms"},
    ),
    quiet("database crawls", "U H ! . . U", door("database", "slow", 1.2)),
    quiet(
        "all connections in use",
        "U H ! . . !",
        inside(hold_pool=12),
        within_s=12,
        says={"database": "in use"},
    ),
    quiet(
        "database read-only",
        "U H H ! H H",
        ("read_only", {}),
        says={"database": "read-only"},
    ),
    quiet(
        "database password changed",
        AWAY,
        ("role", {"password": "another"}),
        says={"database": "password"},
    ),
    quiet("database role may not log in", AWAY, ("role", {"login": False})),
    quiet("database allows no connection more", AWAY, ("role", {"most": 0})),
    quiet(
        "schema not at head",
        "U H H H H H",
        (
            "rows",
            {
                "do": "UPDATE alembic_version SET version_num = '0000'",
                "undo": "UPDATE alembic_version SET version_num = '{head}'",
            },
        ),
        says={"database": "expected"},
    ),
    quiet(
        "schema of a newer program",
        "U H H H H H",
        (
            "rows",
            {
                "do": "UPDATE alembic_version SET version_num = '9999'",
                "undo": "UPDATE alembic_version SET version_num = '{head}'",
            },
        ),
        says={"database": "9999"},
    ),
    quiet(
        "database's disk full",
        "U H H D H H",
        ("disk_full", {}),
        says={"database": "cannot write", "scheduler": "cannot write"},
        brief=True,
    ),
    quiet("state directory read-only", "H H H H H H", ("state_read_only", {})),
    halted("by a file", "all", ("halt_file", {"name": "HALT"}), brief=True),
    halted("by a link to nowhere", "all", ("halt_file", {"name": "halt", "leads_to": "nowhere"})),
    halted("for entries by a file", "entries", ("halt_file", {"name": "HALT-ENTRIES"})),
    halted("by the setting", "all", setting('"all"')),
    halted("for entries by the setting", "entries", setting('"entries"')),
    halted("by an old value", "all", setting("true")),
    halted("by a damaged setting", "all", setting('"perhaps"'), brief=True),
    quiet(
        "schema table gone",
        "U H H H H H",
        (
            "rows",
            {
                "do": "ALTER TABLE alembic_version RENAME TO away",
                "undo": "ALTER TABLE away RENAME TO alembic_version",
            },
        ),
    ),
    quiet("orders locked by somebody", "H H H H H U", ("locked", {"table": "orders"})),
    quiet("signals locked by somebody", "H H H H . .", ("locked", {"table": "signals"})),
    quiet("model calls locked by somebody", "H H ! H H H", ("locked", {"table": "llm_calls"})),
    live("database stopped under load", "U . . ! . U", ("server", {"how": "stopped"})),
    live("database frozen under load", "U . . ! . U", ("server", {"how": "frozen"}), within_s=15),
    # the exchange
    quiet("exchange down", "H U H H H H", door("upbit", "shut")),
    quiet("exchange black-holed", "H U H H H H", door("upbit", "block")),
    quiet(
        "exchange hangs",
        "H U H H H H",
        venue(action="hang"),
        says={"upbit": "no answer"},
        brief=True,
    ),
    quiet("exchange slow", "H D H H H H", venue(delay_ms=3300), says={"upbit": "limit 3,000 ms"}),
    quiet("exchange drips its answers", "H U H H H H", venue(action="drip", drip_ms=9000)),
    quiet("exchange resets connections", "H U H H H H", venue(action="reset")),
    quiet(
        "exchange 500",
        "H U H H H H",
        venue(action="answer", status=500, body={"error": {"name": "server_error"}}),
    ),
    quiet(
        "exchange 502 from its gateway",
        "H U H H H H",
        venue(action="answer", status=502, body="<html>502 Bad Gateway</html>"),
    ),
    quiet(
        "exchange 503 for maintenance",
        "H U H H H H",
        venue(action="answer", status=503, body="<html>점검 중</html>"),
    ),
    quiet(
        "exchange answers with a portal",
        "H U H H H H",
        venue(action="answer", status=200, body="<html>sign in</html>"),
    ),
    quiet("exchange garbles bodies", "H U H H H H", account(action="garble")),
    quiet(
        "exchange 429",
        "H ! H H H H",
        venue(action="answer", status=429, body={"error": {"name": "too_many_requests"}}),
    ),
    quiet(
        "exchange bans us, 418",
        "H U H H H H",
        venue(
            action="answer",
            status=418,
            body={
                "error": {
                    "name": "418",
                    "message": "이용이 제한되었습니다. 60초 후 다시 시도해주세요.",
                }
            },
        ),
        fresh=True,
        says={"upbit": "ban"},
        brief=True,
    ),
    quiet("exchange gives no date", "H U H H H H", venue(headers={"date": None})),
    quiet(
        "key unknown to the exchange",
        "H U H H H H",
        ("no_key", {}),
        says={"upbit": "invalid_access_key"},
        brief=True,
    ),
    quiet(
        "key expired",
        "H U H H H H",
        ("key", {"expire_at": "2020-01-01T00:00:00"}),
        says={"upbit": "expired_access_key"},
    ),
    quiet(
        "address not on the key's list",
        "H U H H H H",
        ("key", {"ips": ["203.0.113.9"]}),
        says={"upbit": "no_authorization_ip"},
    ),
    quiet(
        "key may not see balances",
        "H U H H H H",
        ("key", {"permissions": []}),
        says={"upbit": "out_of_scope"},
    ),
    quiet(
        "key's secret changed",
        "H U H H H H",
        ("key", {"secret_key": "ANOTHER" * 6}),
        says={"upbit": "jwt_verification"},
    ),
    quiet("account calls hang alone", "H U H H H H", account(action="hang")),
    quiet("account calls fail alone", "H U H H H H", account(action="answer", status=500)),
    quiet("quotes hang alone", "H U H H H H", ("venue", {"path": "/v1/ticker*", "action": "hang"})),
    quiet("one lost answer in three", "H . H H H H", venue(action="reset", nth=3, count=1)),
    quiet(
        "our clock 30 s behind",
        "H D H H H H",
        ("option", {"date_skew_s": 30.0}),
        says={"upbit": "behind Upbit's"},
    ),
    quiet(
        "our clock 30 s ahead",
        "H D H H H H",
        ("option", {"date_skew_s": -30.0}),
        says={"upbit": "ahead of Upbit's"},
    ),
    live("exchange hangs under load", "H U H . H .", venue(action="hang")),
    live(
        "one held coin is delisted",
        "H H H H H D",
        ("option", {"delisted": ["KRW-SOL"]}),
        ("holding", {"market": "KRW-SOL", "price": "300000"}),
        says={"latest_order": "KRW-SOL is held and the exchange does not list it"},
        within_s=30,
        hold_s=10,
        recover_s=60,
    ),
    live(
        "an exit is blocked",
        "H H H H H D",
        (
            "venue",
            {
                "path": "/v1/orders",
                "method": "POST",
                "action": "answer",
                "status": 400,
                "body": {"error": {"name": "volume_too_large", "message": "no"}},
            },
        ),
        ("holding", {"market": "KRW-SOL", "price": "900000"}),  # its stop-loss is due at once
        says={"latest_order": "the stop_loss exit from KRW-SOL has been blocked"},
        within_s=45,
        recover_s=90,
        fresh=True,
    ),
    live(
        "coins of a holding are gone",
        "H H H H H D",
        ("holding", {"market": "KRW-SOL", "price": "300000", "coins": 0}),
        says={"latest_order": "the venue"},
        within_s=90,
        fresh=True,
    ),
    # the model
    quiet("model down", "H H U H H H", door("gemini", "shut")),
    quiet("model black-holed", "H H U H H H", door("gemini", "block"), within_s=25),
    quiet("model hangs", "H H U H H H", gemini(action="hang"), within_s=25),
    quiet("model 500", "H H U H H H", google(500, "INTERNAL", "An internal error"), within_s=25),
    quiet("model 503", "H H U H H H", google(503, "UNAVAILABLE", "overloaded"), within_s=25),
    quiet("model's key refused", "H H U H H H", BAD_KEY, within_s=25),
    quiet("model unknown", "H H U H H H", NO_MODEL, within_s=25),
    quiet("model forbidden", "H H U H H H", google(403, "PERMISSION_DENIED", "no"), within_s=25),
    generates("model 429 per minute", "429-retry-info", fresh=True),
    generates("model 429 per day", "429-per-day", fresh=True),
    generates("model answers in prose", "prose"),
    generates("model answers nothing", "empty"),
    generates("model's generate hangs", "hang", fresh=True),
    generates("model's generate fails", "500"),
    generates("model unknown to generate", "404"),
    Scenario(
        name="no budget for the model",
        world="poor",
        is_last=True,
        pull=(),
        expect="H H D . . .",  # it never had the budget for a first signal
        says={"gemini": "limit 0.00"},
    ),
    quiet(
        "the day's budget is spent",
        "H H D H H H",
        rows(
            "INSERT INTO llm_calls (model, prompt_hash, prompt, outcome, cost_usd, reserved_usd,"
            " day, created_at) SELECT 'gemini', 'planted', '', 'ok', 1000, 1, "
            " (now() AT TIME ZONE 'Asia/Seoul')::date, now()"
        ),
        says={"gemini": "limit 1000.00"},
        brief=True,
    ),
    # inside the process
    live("scheduler pass raises", "H H H U H H", inside(pass_raises=True), within_s=15, brief=True),
    live("a trigger raises", "H H H U H H", inside(trigger_raises="orders"), within_s=15),
    live(
        "loop blocked in a call",
        ". . . U . .",
        inside(block_loop=16),
        within_s=13,
        hold_s=1,
        brief=True,
    ),
    live("loop spins in pure Python", ". . . U . .", inside(spin_loop=16), within_s=13, hold_s=1),
    live(
        "a job ignores its deadline",
        "H H H U H .",
        inside(job_deaf_market=True),
        within_s=40,
        fresh=True,
    ),
    live(
        "a job hangs until its deadline", "H H H ! H .", inside(job_hangs_market=True), within_s=30
    ),
    live("a job has a bug", "H H H ! H .", inside(job_raises="market")),
    live("order following has a bug", "H H H ! H .", inside(job_raises="orders")),
    live("slot writer stuck", "H H H U H H", inside(writer_hangs=True), within_s=12, brief=True),
    live("alert lane stuck", "H H H D H H", inside(starves="alerts"), within_s=20),
    quiet("loop lane starved", "H H H U H H", inside(starves="loop"), within_s=12),
    quiet("writer lane starved", "H H H U H H", inside(starves="writer"), within_s=12),
    quiet("scheduler lane starved", "H H H U H H", inside(starves="scheduler"), within_s=12),
    quiet("a check itself raises", "H U H H H H", inside(check_raises=True)),
    # what stands in the tables
    quiet(
        "no signal ever",
        "H H H H D H",
        rows(EMPTY),
        says={"latest_signal": "no signal yet"},
        brief=True,
    ),
    quiet(  # one signal a day is due in this world, and three minutes are granted
        "signal older than its schedule allows",
        "H H H H D H",
        signal("hold", "25 h"),
        says={"latest_signal": "limit 24:03:00"},
    ),
    quiet("signal an hour and a half old", "H H H H H H", signal("hold", "90 min")),
    quiet("signal from the future", "H H H H D H", signal("hold", "-3 h")),
    quiet("order unknown for 20 s", "H H H H H D", order("unknown", 20)),
    quiet(
        "order unknown for 5 min",
        "H H H H H U",
        order("unknown", 300),
        says={"latest_order": "unknown"},
        brief=True,
    ),
    quiet("order an intent for 2 min", "H H H H H U", order("intent", 120)),
    quiet("order sent for 2 min", "H H H H H U", order("sent", 120)),
    quiet("order open for 1 min", "H H H H H H", order("wait", 60)),
    quiet("order open for 10 min", "H H H H H U", order("wait", 600)),
    quiet("order open for 10 min, as set", "H H H H H H", resting(3600), order("wait", 600)),
    quiet(
        "order open for longer than set",
        "H H H H H U",
        resting(3600),
        order("wait", 7200),
        says={"latest_order": "limit"},
    ),
    quiet("order refused, long ago", "H H H H H H", order("refused", 300_000)),
    quiet("a signal waits for its order", "H H H H H D", signal("buy", "10 min")),
    quiet("signals asked, no order for a day", "H H H H D D", signal("buy", "25 h", "expired")),
    # others
    quiet("cache server gone", "H H H H H H", door("redis", "shut"), hold_s=5),
    quiet("cache server hangs", "H H H H H H", door("redis", "block"), hold_s=5),
    Scenario(name="hot standby", world="standby", pull=(), expect="H H H H H H"),
    Scenario(
        name="standby while the exchange hangs",
        world="standby",
        pull=(venue(action="hang"),),
        expect="H U H H H H",
    ),
    Scenario(
        name="standby without its leader",
        world="standby",
        pull=(("leader", {"how": "killed"}),),
        expect="H H H . H H",
        hold_s=10,
        is_last=True,
    ),
)
