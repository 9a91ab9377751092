"""Indexes of what is rare among much, and a notification of every new signal."""

from alembic import op

from migrations.indexes import create_index, drop_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "job_runs_open": ("job_runs (scheduled_at)", "outcome IS NULL"),
    "alert_deliveries_waiting": ("alert_deliveries (hook, alert_id)", "delivered_at IS NULL"),
    "order_events_unknown": ("order_events (order_id)", "to_state = 'unknown'"),
    "signals_demand": (
        "signals (created_at) INCLUDE (status)",
        "action IN ('buy', 'sell') AND status IN ('new', 'expired')",
    ),
    "paper_orders_created_at": ("paper_orders (created_at)", None),
    "llm_calls_prompts": ("llm_calls (created_at)", "prompt <> ''"),
}

NOTIFY = """
CREATE FUNCTION signals_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('signals_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER signals_changed
    AFTER INSERT OR DELETE OR UPDATE OF created_at, market, action ON signals
    FOR EACH STATEMENT EXECUTE FUNCTION signals_changed();
"""


def upgrade() -> None:
    """Build the indexes beside the work that goes on, then the notification."""
    for name, (on, where) in INDEXES.items():
        create_index(name, on, where=where)
    op.execute(NOTIFY)


def downgrade() -> None:
    """Drop what this revision made."""
    for name in INDEXES:
        drop_index(name)
    op.execute("DROP TRIGGER IF EXISTS signals_changed ON signals")
    op.execute("DROP FUNCTION IF EXISTS signals_changed()")
