"""Sales that others made with the daemon's coins, and positions written down by a person."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PURPOSES = "'entry', 'exit', 'stop_loss', 'take_profit', 'trailing_stop', 'flatten'"

SETTLEMENTS = """
CREATE TABLE position_settlements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    market text NOT NULL,
    volume_before numeric NOT NULL CHECK (volume_before > 0),
    volume_after numeric NOT NULL CHECK (volume_after >= 0 AND volume_after < volume_before),
    price numeric NOT NULL CHECK (price > 0),
    realized_krw numeric NOT NULL,
    settled_by text NOT NULL DEFAULT CURRENT_USER,
    settled_at timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Allow the purpose without reading the table twice under a lock, and create the table."""
    _allow(f"{PURPOSES}, 'foreign'")
    op.execute(SETTLEMENTS)


def downgrade() -> None:
    """Foreign sales become exits, which an older program knows; who settled what is forgotten."""
    op.execute("UPDATE orders SET purpose = 'exit' WHERE purpose = 'foreign'")
    _allow(PURPOSES)
    op.execute("DROP TABLE position_settlements")


def _allow(purposes: str) -> None:
    op.execute(
        "ALTER TABLE orders DROP CONSTRAINT orders_purpose_check, "
        f"ADD CONSTRAINT orders_purpose_check CHECK (purpose IN ({purposes})) NOT VALID"
    )
    op.execute("ALTER TABLE orders VALIDATE CONSTRAINT orders_purpose_check")
