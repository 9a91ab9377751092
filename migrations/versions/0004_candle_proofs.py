"""Which spans of candles are known to be complete, minutes without a trade included."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE candle_proofs (
            market text NOT NULL,
            unit integer NOT NULL CHECK (unit > 0),
            since timestamptz NOT NULL,
            until timestamptz NOT NULL CHECK (until > since),
            PRIMARY KEY (market, unit, since)
        )
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE candle_proofs")
