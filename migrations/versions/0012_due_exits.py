"""Exits that are due and not done yet: what was tried survives a restart, and health can say it."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DUE_EXITS = """
CREATE TABLE due_exits (
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    market text NOT NULL,
    purpose text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    too_large integer NOT NULL DEFAULT 0,
    held numeric,
    sent numeric,
    refusal text,
    cause text,
    told text,
    blocked_at timestamptz,
    PRIMARY KEY (mode, market)
);
"""


def upgrade() -> None:
    """Create the table: one row a market whose exit is under way."""
    op.execute(DUE_EXITS)


def downgrade() -> None:
    """Drop it; an exit that is still due is found again by its rule."""
    op.execute("DROP TABLE due_exits")
