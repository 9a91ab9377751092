"""The tables as SQLAlchemy Core knows them, for building queries.

The migrations own the schema; this file mirrors their columns, keys and indexes, and a test
compares the two. Checks, triggers and partitions stand in the migrations only.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _numeric(name: str, *, default: str | None = None) -> Column[Decimal]:
    return Column(name, Numeric, nullable=False, server_default=default and text(default))


def _count(name: str, *, default: str = "0") -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text(default))


def _instant(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _now(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _maybe_instant(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True))


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


candles = Table(
    "candles",
    metadata,
    Column("market", Text, primary_key=True),
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("ts", DateTime(timezone=True), primary_key=True),
    _numeric("open"),
    _numeric("high"),
    _numeric("low"),
    _numeric("close"),
    _numeric("volume"),
    _numeric("value"),
    postgresql_partition_by="RANGE (ts)",
)

candle_proofs = Table(
    "candle_proofs",
    metadata,
    Column("market", Text, primary_key=True),
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("since", DateTime(timezone=True), primary_key=True),
    _instant("until"),
)

market_data = Table(
    "market_data",
    metadata,
    _id(),
    _text("market"),
    _instant("ts"),
    _numeric("price"),
    _numeric("volume_24h"),
    _numeric("value_24h"),
    _numeric("change_rate"),
    Index("market_data_market_ts", "market", text("ts DESC")),
)

llm_calls = Table(
    "llm_calls",
    metadata,
    _id(),
    _text("model"),
    Column("model_version", Text),
    _text("prompt_hash"),
    _text("prompt"),
    Column("answer", Text),
    _count("tokens_in"),
    _count("tokens_out"),
    _count("tokens_thought"),
    _count("tokens_cached"),
    _numeric("cost_usd", default="0"),
    Column("cost_known", Boolean, nullable=False, server_default=text("true")),
    _numeric("reserved_usd", default="0"),
    Column("verdicts", JSONB, nullable=False, server_default=text("'{}'")),
    Column("latency_ms", Integer),
    _text("outcome"),
    Column("error", Text),
    Column("day", Date, nullable=False),
    _now("created_at"),
    _maybe_instant("settled_at"),
    Index("llm_calls_day", "day"),
    Index("llm_calls_created_at", text("created_at DESC")),
    Index("llm_calls_prompts", "created_at", postgresql_where=text("prompt <> ''")),
)

signals = Table(
    "signals",
    metadata,
    _id(),
    Column("market_data_id", BigInteger, ForeignKey("market_data.id"), nullable=False),
    _text("market"),
    _text("action"),
    _numeric("confidence"),
    _text("reason"),
    _text("source"),
    _text("model"),
    Column("llm_call_id", BigInteger, ForeignKey("llm_calls.id")),
    _instant("candle_ts"),
    Column("status", Text, nullable=False, server_default="new"),
    Column("status_reason", Text),
    Column("shadow_status", Text),
    Column("shadow_reason", Text),
    _now("created_at"),
    UniqueConstraint("source", "market", "candle_ts"),
    Index("signals_market_data_id", "market_data_id"),
    Index("signals_llm_call_id", "llm_call_id"),
    Index("signals_status_created_at", "status", "created_at"),
    Index("signals_market_created_at", "market", text("created_at DESC")),
    Index("signals_created_at", text("created_at DESC")),
    Index(
        "signals_demand",
        "created_at",
        postgresql_include=["status"],
        postgresql_where=text("action IN ('buy', 'sell') AND status IN ('new', 'expired')"),
    ),
)

orders = Table(
    "orders",
    metadata,
    _id(),
    _text("mode"),
    Column("identifier", Text, nullable=False, unique=True),
    Column("uuid", Text, unique=True),
    Column("signal_id", BigInteger, ForeignKey("signals.id")),
    _text("purpose"),
    _text("market"),
    _text("side"),
    _text("ord_type"),
    Column("time_in_force", Text),
    Column("price", Numeric),
    Column("volume", Numeric),
    _numeric("reserved_krw", default="0"),
    Column("state", Text, nullable=False, server_default="intent"),
    _numeric("executed_volume", default="0"),
    _numeric("executed_funds", default="0"),
    _numeric("paid_fee", default="0"),
    Column("reason", Text),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    _maybe_instant("cancel_requested_at"),
    _now("created_at"),
    _now("updated_at"),
    Index(
        "orders_open",
        "state",
        "created_at",
        postgresql_where=text("state IN ('intent', 'sent', 'unknown', 'wait')"),
    ),
    Index("orders_state_created_at", "state", text("created_at DESC")),
    Index("orders_signal_id", "signal_id"),
    Index("orders_mode_created_at", "mode", text("created_at DESC")),
    Index("orders_market_created_at", "market", text("created_at DESC")),
)

order_events = Table(
    "order_events",
    metadata,
    _id(),
    Column("order_id", BigInteger, ForeignKey("orders.id"), nullable=False),
    _now("at"),
    _text("kind"),
    Column("from_state", Text),
    Column("to_state", Text),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Index("order_events_order_id", "order_id", "id"),
    Index("order_events_unknown", "order_id", postgresql_where=text("to_state = 'unknown'")),
)

fills = Table(
    "fills",
    metadata,
    _id(),
    Column("order_id", BigInteger, ForeignKey("orders.id"), nullable=False),
    _text("uuid"),
    _numeric("price"),
    _numeric("volume"),
    _numeric("funds"),
    _numeric("fee"),
    _numeric("realized_krw", default="0"),
    _instant("ts"),
    UniqueConstraint("order_id", "uuid"),
    Index("fills_ts", text("ts DESC")),
)

positions = Table(
    "positions",
    metadata,
    Column("mode", Text, primary_key=True),
    Column("market", Text, primary_key=True),
    _numeric("volume"),
    _numeric("avg_price"),
    _numeric("realized_krw", default="0"),
    _numeric("high_price", default="0"),
    _maybe_instant("opened_at"),
    _now("updated_at"),
    Index("positions_open", "mode", postgresql_where=text("volume > 0")),
)

position_settlements = Table(
    "position_settlements",
    metadata,
    _id(),
    _text("mode"),
    _text("market"),
    _numeric("volume_before"),
    _numeric("volume_after"),
    _numeric("price"),
    _numeric("realized_krw"),
    Column("settled_by", Text, nullable=False, server_default=text("CURRENT_USER")),
    _now("settled_at"),
)

equity = Table(
    "equity",
    metadata,
    Column("mode", Text, primary_key=True),
    Column("ts", DateTime(timezone=True), primary_key=True),
    _numeric("cash_krw"),
    _numeric("positions_krw"),
    _numeric("pnl_krw", default="0"),
    _numeric("peak_krw", default="0"),
)

drawdown_restarts = Table(
    "drawdown_restarts",
    metadata,
    _id(),
    _text("mode"),
    _now("restarted_at"),
    Column("restarted_by", Text, nullable=False, server_default=text("CURRENT_USER")),
    _numeric("peak_before_krw"),
    _numeric("peak_after_krw"),
    _numeric("drawdown_before_pct"),
)

paper_balances = Table(
    "paper_balances",
    metadata,
    Column("currency", Text, primary_key=True),
    _numeric("balance"),
    _numeric("locked"),
    _numeric("avg_buy_price", default="0"),
)

paper_orders = Table(
    "paper_orders",
    metadata,
    Column("uuid", Text, primary_key=True),
    Column("identifier", Text, unique=True),
    _text("state"),
    Column("body", JSONB, nullable=False),
    _instant("created_at"),
    Index("paper_orders_open", "created_at", postgresql_where=text("state = 'wait'")),
    Index("paper_orders_created_at", "created_at"),
)

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    _now("updated_at"),
    Column("updated_by", Text, nullable=False, server_default=text("CURRENT_USER")),
    Column("reason", Text),
)

settings_audit = Table(
    "settings_audit",
    metadata,
    _id(),
    _text("key"),
    Column("old", JSONB),
    Column("new", JSONB),
    _text("changed_by"),
    _now("changed_at"),
    Column("reason", Text),
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("job", Text, primary_key=True),
    Column("scheduled_at", DateTime(timezone=True), primary_key=True),
    _text("run_id"),
    _maybe_instant("started_at"),
    _maybe_instant("finished_at"),
    Column("outcome", Text),
    Column("reason", Text),
    _count("attempts"),
    Column("duration_s", Float, nullable=False, server_default=text("0")),
    Column("waited_s", Float, nullable=False, server_default=text("0")),
    Column("error_type", Text),
    Column("error", Text),
    _count("api_calls"),
    _count("rows"),
    _count("tokens_in"),
    _count("tokens_out"),
    _count("tokens_thought"),
    _numeric("cost_usd", default="0"),
    Index("job_runs_job_scheduled_at", "job", text("scheduled_at DESC")),
    Index("job_runs_scheduled_at", text("scheduled_at DESC")),
    Index("job_runs_open", "scheduled_at", postgresql_where=text("outcome IS NULL")),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _text("incident"),
    _text("kind"),
    _text("severity"),
    Column("body", JSONB, nullable=False),
    _count("occurrences", default="1"),
    _now("created_at"),
    _now("last_at"),
    _maybe_instant("resolved_at"),
    _maybe_instant("delivered_at"),
    Index(
        "alerts_open_incident",
        "incident",
        unique=True,
        postgresql_where=text("resolved_at IS NULL"),
    ),
    Index("alerts_created_at", text("created_at DESC")),
    Index("alerts_undelivered", "created_at", postgresql_where=text("delivered_at IS NULL")),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("alert_id", BigInteger, ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    Column("hook", Text, primary_key=True),
    _count("attempts"),
    _now("next_at"),
    _maybe_instant("delivered_at"),
    Column("last_error", Text),
    Index(
        "alert_deliveries_waiting",
        "hook",
        "alert_id",
        postgresql_where=text("delivered_at IS NULL"),
    ),
)

gates = Table(
    "gates",
    metadata,
    Column("name", Text, primary_key=True),
    _instant("closed_until"),
    _text("source"),
    _text("reason"),
    _now("updated_at"),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("mode", Text, primary_key=True),
    _instant("checked_at"),
    Column("open_ours", Integer, nullable=False),
    Column("open_foreign", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("mismatches", JSONB, nullable=False, server_default=text("'[]'")),
    Column("runs", BigInteger, nullable=False, server_default=text("1")),
)

markets = Table(
    "markets",
    metadata,
    Column("market", Text, primary_key=True),
    _text("english_name"),
    Column("warning", Boolean, nullable=False, server_default=text("false")),
    Column("cautions", JSONB, nullable=False, server_default=text("'[]'")),
)

due_exits = Table(
    "due_exits",
    metadata,
    Column("mode", Text, primary_key=True),
    Column("market", Text, primary_key=True),
    _text("purpose"),
    _text("reason"),
    _instant("since"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("too_large", Integer, nullable=False, server_default=text("0")),
    Column("held", Numeric),
    Column("sent", Numeric),
    Column("refusal", Text),
    Column("cause", Text),
    Column("told", Text),
    _maybe_instant("blocked_at"),
)

missed_spans = Table(
    "missed_spans",
    metadata,
    _id(),
    _text("job"),
    _instant("after"),
    _instant("until"),
    _text("reason"),
    _maybe_instant("mark"),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    _instant("began"),
    Column("slots", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("job", "after", "until"),
)

leadership = Table(
    "leadership",
    metadata,
    Column("account", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    _text("holder"),
    _now("since"),
)

leases = Table(
    "leases",
    metadata,
    Column("account", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("beats", BigInteger, nullable=False, server_default=text("0")),
    _text("session"),
    Column(
        "renewed_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
    ),
)

daemon_runs = Table(
    "daemon_runs",
    metadata,
    Column("session", Text, primary_key=True),
    _text("instance"),
    _text("host"),
    _text("process"),
    _text("version"),
    _text("mode"),
    Column("started_at", DateTime(timezone=True), nullable=False),
    _maybe_instant("ended_at"),
    Column("exit_code", Integer),
    Column("is_told", Boolean, nullable=False, server_default=text("false")),
    Index("daemon_runs_untold", "instance", "host", postgresql_where=text("NOT is_told")),
)

job_controls = Table(
    "job_controls",
    metadata,
    Column("job", Text, primary_key=True),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("runs_asked", BigInteger, nullable=False, server_default=text("0")),
    Column("runs_done", BigInteger, nullable=False, server_default=text("0")),
    _maybe_instant("follow_up_at"),
    _now("updated_at"),
    Column("updated_by", Text, nullable=False, server_default=text("CURRENT_USER")),
    _maybe_instant("paused_at"),
)

requests = Table(
    "requests",
    metadata,
    _id(),
    _text("command"),
    Column("arguments", JSONB, nullable=False, server_default=text("'{}'")),
    _text("mode"),
    _text("instance"),
    _text("asked_by"),
    Column(
        "asked_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
    ),
    _instant("expires_at"),
    _maybe_instant("taken_at"),
    Column("taken_by", Text),
    Column("epoch", BigInteger),
    _maybe_instant("answered_at"),
    Column("outcome", Text),
    Column("answer", JSONB),
    Index("requests_waiting", "id", postgresql_where=text("taken_at IS NULL AND outcome IS NULL")),
)
