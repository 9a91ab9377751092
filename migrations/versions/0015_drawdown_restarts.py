"""Who had the drawdown begin anew."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

RESTARTS = """
CREATE TABLE drawdown_restarts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    restarted_at timestamptz NOT NULL DEFAULT now(),
    restarted_by text NOT NULL DEFAULT CURRENT_USER,
    peak_before_krw numeric NOT NULL,
    peak_after_krw numeric NOT NULL,
    drawdown_before_pct numeric NOT NULL
);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(RESTARTS)


def downgrade() -> None:
    """Drop it; the highest profit in force stands in equity."""
    op.execute("DROP TABLE drawdown_restarts")
