"""The outcome of the newest comparison of venue and tables, for whoever asks how they stand."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

RECONCILIATIONS = """
CREATE TABLE reconciliations (
    mode text PRIMARY KEY CHECK (mode IN ('paper', 'live')),
    checked_at timestamptz NOT NULL,
    open_ours integer NOT NULL,
    open_foreign integer NOT NULL,
    unknown integer NOT NULL,
    mismatches jsonb NOT NULL DEFAULT '[]',
    runs bigint NOT NULL DEFAULT 1
);
"""


def upgrade() -> None:
    """Create the table: one row a mode, rewritten every few minutes."""
    op.execute(RECONCILIATIONS)


def downgrade() -> None:
    """Drop it; the next reconciliation of a newer program fills it again."""
    op.execute("DROP TABLE reconciliations")
