"""Every table of the contract, the order state machine and the settings notification."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MARKET = """
CREATE TABLE candles (
    market text NOT NULL,
    unit integer NOT NULL CHECK (unit > 0),
    ts timestamptz NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (market, unit, ts)
) PARTITION BY RANGE (ts);
CREATE TABLE candles_default PARTITION OF candles DEFAULT;

CREATE TABLE market_data (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market text NOT NULL,
    ts timestamptz NOT NULL,
    price numeric NOT NULL,
    volume_24h numeric NOT NULL,
    value_24h numeric NOT NULL,
    change_rate numeric NOT NULL
);
CREATE INDEX market_data_market_ts ON market_data (market, ts DESC);
"""

SIGNALS = """
CREATE TABLE llm_calls (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    model_version text,
    prompt_hash text NOT NULL,
    prompt text NOT NULL,
    answer text,
    tokens_in integer NOT NULL DEFAULT 0,
    tokens_out integer NOT NULL DEFAULT 0,
    tokens_thought integer NOT NULL DEFAULT 0,
    tokens_cached integer NOT NULL DEFAULT 0,
    cost_usd numeric NOT NULL DEFAULT 0,
    cost_known boolean NOT NULL DEFAULT true,
    reserved_usd numeric NOT NULL DEFAULT 0,
    verdicts jsonb NOT NULL DEFAULT '{}',
    latency_ms integer,
    outcome text NOT NULL CHECK (outcome IN
        ('reserved', 'ok', 'partial', 'rejected', 'refused', 'timeout', 'failed', 'cancelled')),
    error text,
    day date NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz
);
CREATE INDEX llm_calls_day ON llm_calls (day);
CREATE INDEX llm_calls_created_at ON llm_calls (created_at DESC);

CREATE TABLE signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_data_id bigint NOT NULL REFERENCES market_data (id),
    market text NOT NULL,
    action text NOT NULL CHECK (action IN ('buy', 'sell', 'hold')),
    confidence numeric NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    reason text NOT NULL,
    source text NOT NULL,
    model text NOT NULL,
    llm_call_id bigint REFERENCES llm_calls (id),
    candle_ts timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'new'
        CHECK (status IN ('new', 'executed', 'refused', 'expired')),
    status_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, market, candle_ts)
);
CREATE INDEX signals_market_data_id ON signals (market_data_id);
CREATE INDEX signals_llm_call_id ON signals (llm_call_id);
CREATE INDEX signals_status_created_at ON signals (status, created_at);
CREATE INDEX signals_market_created_at ON signals (market, created_at DESC);
CREATE INDEX signals_created_at ON signals (created_at DESC);
"""

ORDERS = """
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    identifier text NOT NULL UNIQUE CHECK (length(identifier) BETWEEN 1 AND 32),
    uuid text UNIQUE,
    signal_id bigint REFERENCES signals (id),
    purpose text NOT NULL CHECK (purpose IN
        ('entry', 'exit', 'stop_loss', 'take_profit', 'trailing_stop', 'flatten')),
    market text NOT NULL,
    side text NOT NULL CHECK (side IN ('bid', 'ask')),
    ord_type text NOT NULL CHECK (ord_type IN ('limit', 'price', 'market', 'best')),
    time_in_force text CHECK (time_in_force IN ('ioc', 'fok', 'post_only')),
    price numeric CHECK (price > 0),
    volume numeric CHECK (volume > 0),
    reserved_krw numeric NOT NULL DEFAULT 0 CHECK (reserved_krw >= 0),
    state text NOT NULL DEFAULT 'intent' CHECK (state IN
        ('intent', 'sent', 'unknown', 'wait', 'done', 'cancel', 'refused')),
    executed_volume numeric NOT NULL DEFAULT 0 CHECK (executed_volume >= 0),
    executed_funds numeric NOT NULL DEFAULT 0 CHECK (executed_funds >= 0),
    paid_fee numeric NOT NULL DEFAULT 0 CHECK (paid_fee >= 0),
    reason text,
    epoch bigint NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_open ON orders (state, created_at)
    WHERE state IN ('intent', 'sent', 'unknown', 'wait');
CREATE INDEX orders_state_created_at ON orders (state, created_at DESC);
CREATE INDEX orders_signal_id ON orders (signal_id);
CREATE INDEX orders_mode_created_at ON orders (mode, created_at DESC);
CREATE INDEX orders_market_created_at ON orders (market, created_at DESC);

CREATE FUNCTION orders_guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = NEW.state THEN
        RETURN NEW;
    END IF;
    IF (OLD.state, NEW.state) NOT IN (
        ('intent', 'sent'), ('intent', 'refused'),
        ('sent', 'wait'), ('sent', 'unknown'), ('sent', 'refused'),
        ('unknown', 'wait'), ('unknown', 'refused'),
        ('wait', 'done'), ('wait', 'cancel')
    ) THEN
        RAISE EXCEPTION 'order % cannot go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER orders_guard_state BEFORE UPDATE OF state ON orders
    FOR EACH ROW EXECUTE FUNCTION orders_guard_state();

CREATE TABLE order_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id),
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    from_state text,
    to_state text,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX order_events_order_id ON order_events (order_id, id);

CREATE TABLE fills (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id),
    uuid text NOT NULL,
    price numeric NOT NULL CHECK (price > 0),
    volume numeric NOT NULL CHECK (volume > 0),
    funds numeric NOT NULL CHECK (funds > 0),
    fee numeric NOT NULL CHECK (fee >= 0),
    realized_krw numeric NOT NULL DEFAULT 0,
    ts timestamptz NOT NULL,
    UNIQUE (order_id, uuid)
);
CREATE INDEX fills_ts ON fills (ts DESC);

CREATE TABLE positions (
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    market text NOT NULL,
    volume numeric NOT NULL CHECK (volume >= 0),
    avg_price numeric NOT NULL CHECK (avg_price >= 0),
    realized_krw numeric NOT NULL DEFAULT 0,
    high_price numeric NOT NULL DEFAULT 0,
    opened_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mode, market)
);
CREATE INDEX positions_open ON positions (mode) WHERE volume > 0;

CREATE TABLE equity (
    mode text NOT NULL CHECK (mode IN ('paper', 'live')),
    ts timestamptz NOT NULL,
    cash_krw numeric NOT NULL,
    positions_krw numeric NOT NULL,
    pnl_krw numeric NOT NULL DEFAULT 0,
    peak_krw numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (mode, ts)
);

CREATE TABLE paper_balances (
    currency text PRIMARY KEY,
    balance numeric NOT NULL CHECK (balance >= 0),
    locked numeric NOT NULL CHECK (locked >= 0),
    avg_buy_price numeric NOT NULL DEFAULT 0
);
CREATE TABLE paper_orders (
    uuid text PRIMARY KEY,
    identifier text UNIQUE,
    state text NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX paper_orders_open ON paper_orders (created_at) WHERE state = 'wait';
"""

PROCESS = """
CREATE TABLE settings (
    key text PRIMARY KEY,
    value jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT current_user
);
CREATE TABLE settings_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL,
    old jsonb,
    new jsonb,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION settings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settings_audit (key, old, new, changed_by) VALUES (
        coalesce(NEW.key, OLD.key), OLD.value, NEW.value,
        coalesce(NEW.updated_by, current_user));
    PERFORM pg_notify('settings_changed', coalesce(NEW.key, OLD.key));
    RETURN NULL;
END $$;
-- an UPDATE by hand names nobody: the row then tells who was connected
CREATE FUNCTION settings_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := clock_timestamp();
        NEW.updated_by := session_user;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settings_stamp BEFORE UPDATE ON settings
    FOR EACH ROW EXECUTE FUNCTION settings_stamp();
CREATE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE ON settings
    FOR EACH ROW EXECUTE FUNCTION settings_changed();

CREATE TABLE job_runs (
    job text NOT NULL,
    scheduled_at timestamptz NOT NULL,
    run_id text NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    outcome text CHECK (outcome IN
        ('ok', 'failed', 'timeout', 'deferred', 'skipped', 'cancelled')),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    duration_s double precision NOT NULL DEFAULT 0,
    waited_s double precision NOT NULL DEFAULT 0,
    error_type text,
    error text,
    api_calls integer NOT NULL DEFAULT 0,
    rows integer NOT NULL DEFAULT 0,
    tokens_in integer NOT NULL DEFAULT 0,
    tokens_out integer NOT NULL DEFAULT 0,
    tokens_thought integer NOT NULL DEFAULT 0,
    cost_usd numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (job, scheduled_at)
);
CREATE INDEX job_runs_job_scheduled_at ON job_runs (job, scheduled_at DESC);
CREATE INDEX job_runs_scheduled_at ON job_runs (scheduled_at DESC);

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    body jsonb NOT NULL,
    occurrences integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    delivered_at timestamptz
);
CREATE UNIQUE INDEX alerts_open_incident ON alerts (incident) WHERE resolved_at IS NULL;
CREATE INDEX alerts_created_at ON alerts (created_at DESC);
CREATE INDEX alerts_undelivered ON alerts (created_at) WHERE delivered_at IS NULL;

CREATE TABLE alert_deliveries (
    alert_id bigint NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    hook text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    last_error text,
    PRIMARY KEY (alert_id, hook)
);

CREATE TABLE gates (
    name text PRIMARY KEY,
    closed_until timestamptz NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leadership (
    account text PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
"""

TABLES = (
    "leadership",
    "gates",
    "alert_deliveries",
    "alerts",
    "job_runs",
    "settings_audit",
    "settings",
    "paper_orders",
    "paper_balances",
    "equity",
    "positions",
    "fills",
    "order_events",
    "orders",
    "signals",
    "llm_calls",
    "market_data",
    "candles",
)


def upgrade() -> None:
    """Create everything; the order follows the references."""
    for part in (MARKET, SIGNALS, ORDERS, PROCESS):
        op.execute(part)


def downgrade() -> None:
    """Drop everything this revision made."""
    for table in TABLES:
        op.execute(f"DROP TABLE {table} CASCADE")
    op.execute("DROP FUNCTION orders_guard_state(), settings_changed(), settings_stamp()")
