"""What the paper twin beside a live account made of each signal."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that stay empty without a twin: no row is rewritten."""
    op.execute(
        "ALTER TABLE signals ADD COLUMN shadow_status text "
        "CHECK (shadow_status IN ('executed', 'refused', 'expired')), "
        "ADD COLUMN shadow_reason text"
    )


def downgrade() -> None:
    """Forget what the twin did with signals; its orders and positions stay."""
    op.execute("ALTER TABLE signals DROP COLUMN shadow_status, DROP COLUMN shadow_reason")
