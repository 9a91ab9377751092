"""How each run of the daemon ended: a run without an end was killed."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE daemon_runs (
    session text PRIMARY KEY,
    instance text NOT NULL,
    host text NOT NULL,
    process text NOT NULL,
    version text NOT NULL,
    mode text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    exit_code integer,
    is_told boolean NOT NULL DEFAULT false
);
CREATE INDEX daemon_runs_untold ON daemon_runs (instance, host) WHERE NOT is_told;
"""


def upgrade() -> None:
    """Add the table."""
    op.execute(TABLE)


def downgrade() -> None:
    """Take it away."""
    op.execute("DROP TABLE daemon_runs")
