"""Why a setting was changed: what halts trading says why, to everybody who asks."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE settings ADD COLUMN reason text;
ALTER TABLE settings_audit ADD COLUMN reason text;
"""

# an UPDATE by hand names neither a person nor a reason: the reason of before is not its own
FUNCTIONS = """
CREATE OR REPLACE FUNCTION settings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settings_audit (key, old, new, changed_by, reason) VALUES (
        coalesce(NEW.key, OLD.key), OLD.value, NEW.value,
        coalesce(NEW.updated_by, current_user), NEW.reason);
    PERFORM pg_notify('settings_changed', coalesce(NEW.key, OLD.key));
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION settings_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := clock_timestamp();
        NEW.updated_by := session_user;
        IF NEW.reason IS NOT DISTINCT FROM OLD.reason THEN
            NEW.reason := NULL;
        END IF;
    END IF;
    RETURN NEW;
END $$;
"""

FUNCTIONS_BEFORE = """
CREATE OR REPLACE FUNCTION settings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settings_audit (key, old, new, changed_by) VALUES (
        coalesce(NEW.key, OLD.key), OLD.value, NEW.value,
        coalesce(NEW.updated_by, current_user));
    PERFORM pg_notify('settings_changed', coalesce(NEW.key, OLD.key));
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION settings_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := clock_timestamp();
        NEW.updated_by := session_user;
    END IF;
    RETURN NEW;
END $$;
"""

# the program below knows true and false alone, and takes what it does not know for a halt of all
OLD_VALUES = """
UPDATE settings SET value = to_jsonb(value <> '"none"'::jsonb)
WHERE key = 'halted' AND jsonb_typeof(value) = 'string';
"""


def upgrade() -> None:
    """Add the column to the settings and to their audit."""
    op.execute(COLUMNS)
    op.execute(FUNCTIONS)


def downgrade() -> None:
    """Take it away; a halt of entries becomes the halt that the program below knows."""
    op.execute(OLD_VALUES)
    op.execute(FUNCTIONS_BEFORE)
    op.execute("ALTER TABLE settings DROP COLUMN reason")
    op.execute("ALTER TABLE settings_audit DROP COLUMN reason")
