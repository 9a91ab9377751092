"""A lease beside each leadership, and what people ask of jobs: pause, resume, run now."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# `beats` counts renewals: a standby needs no clock but its own to see that they stopped.
# A table of its own, so that renewing never meets the transactions that hold on to `leadership`.
LEASES = """
CREATE TABLE leases (
    account text PRIMARY KEY,
    epoch bigint NOT NULL,
    beats bigint NOT NULL DEFAULT 0,
    session text NOT NULL,
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

JOB_CONTROLS = """
CREATE TABLE job_controls (
    job text PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    runs_asked bigint NOT NULL DEFAULT 0,
    runs_done bigint NOT NULL DEFAULT 0,
    follow_up_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT current_user
);
CREATE FUNCTION job_controls_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('job_controls', coalesce(NEW.job, OLD.job));
    RETURN NULL;
END $$;
CREATE TRIGGER job_controls_changed
    AFTER INSERT OR DELETE OR UPDATE OF paused, runs_asked ON job_controls
    FOR EACH ROW EXECUTE FUNCTION job_controls_changed();
"""


def upgrade() -> None:
    """Create both tables and the notification."""
    op.execute(LEASES)
    op.execute(JOB_CONTROLS)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("DROP TABLE job_controls, leases")
    op.execute("DROP FUNCTION job_controls_changed()")
