"""Since when a job is paused: `updated_at` also moves when a run of a paused job is asked for."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the instant; jobs that are paused are since their row was changed last."""
    op.execute("ALTER TABLE job_controls ADD COLUMN paused_at timestamptz")
    op.execute("UPDATE job_controls SET paused_at = updated_at WHERE paused")


def downgrade() -> None:
    """Take it away."""
    op.execute("ALTER TABLE job_controls DROP COLUMN paused_at")
