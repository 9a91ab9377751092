"""What the exchange said last of each market: its marks, and the ticks that it stated."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MARKETS = """
CREATE TABLE markets (
    market text PRIMARY KEY,
    english_name text NOT NULL,
    warning boolean NOT NULL DEFAULT false,
    cautions jsonb NOT NULL DEFAULT '[]'
);
"""


def upgrade() -> None:
    """Create the table; the market job fills it within a minute."""
    op.execute(MARKETS)


def downgrade() -> None:
    """Drop it; nothing in it is known here alone."""
    op.execute("DROP TABLE markets")
