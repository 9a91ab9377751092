"""Spans in which a job's slots came due while nobody ran them, until their rows are written."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MISSED_SPANS = """
CREATE TABLE missed_spans (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    after timestamptz NOT NULL,
    until timestamptz NOT NULL,
    reason text NOT NULL,
    mark timestamptz,
    repeats integer NOT NULL DEFAULT 0,
    began timestamptz NOT NULL,
    slots bigint NOT NULL DEFAULT 0,
    UNIQUE (job, after, until)
);
"""


def upgrade() -> None:
    """Create the table; it is empty but after a long absence."""
    op.execute(MISSED_SPANS)


def downgrade() -> None:
    """Drop it; slots of spans that were not written yet have no rows then."""
    op.execute("DROP TABLE missed_spans")
