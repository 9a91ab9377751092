"""What people ask the running daemon to do: carried out once, by the leader, or never."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# a request that nobody took by `expires_at` is never carried out: late is worse than not at all
REQUESTS = """
CREATE TABLE requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command text NOT NULL,
    arguments jsonb NOT NULL DEFAULT '{}',
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    instance text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    taken_at timestamptz,
    taken_by text,
    epoch bigint,
    answered_at timestamptz,
    outcome text CHECK (outcome IN ('done', 'failed', 'withdrawn')),
    answer jsonb
);
CREATE INDEX requests_waiting ON requests (id) WHERE taken_at IS NULL AND outcome IS NULL;
CREATE FUNCTION requests_asked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('requests', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER requests_asked AFTER INSERT ON requests
    FOR EACH ROW EXECUTE FUNCTION requests_asked();
"""


def upgrade() -> None:
    """Create the table and its notification."""
    op.execute(REQUESTS)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("DROP TABLE requests")
    op.execute("DROP FUNCTION requests_asked()")
