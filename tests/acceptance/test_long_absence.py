"""Half a year of absence: ready as usual, a handful of lines, and a stop that is heard."""

import psycopg
from fixtures.process import Start

SELDOM = {
    "UPBITD_JOBS__MARKET__EVERY": "5m",
    "UPBITD_JOBS__SIGNALS__EVERY": "10m",
    "UPBITD_JOBS__ORDERS__EVERY": "1m",
}


def test_a_start_after_half_a_year_is_like_any_other(start_daemon: Start, dsn: str) -> None:
    first = start_daemon(environ=SELDOM)
    first.ready()
    assert first.stop() == 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM job_runs")
        connection.execute(
            "INSERT INTO job_runs (job, scheduled_at, run_id, outcome)"
            " SELECT job, date_trunc('hour', now()) - interval '180 days', job, 'ok'"
            " FROM unnest(ARRAY['market', 'signals', 'orders', 'upkeep']) AS job"
        )
        second = start_daemon(environ=SELDOM)
        second.ready()
        assert second.of("slots.missed") == [], "ready before it is accounted for"
        (kept,) = connection.execute("SELECT count(*) FROM missed_spans").fetchone() or (0,)
        assert kept > 0
        assert second.stop() == 0, "a stop does not wait for it"

        third = start_daemon(environ=SELDOM)
        third.ready()
        told = [third.until("slots.missed") for _ in range(kept)]
        assert third.stop() == 0
        (left,) = connection.execute("SELECT count(*) FROM missed_spans").fetchone() or (1,)
        (rows,) = connection.execute(
            "SELECT count(*) FROM job_runs WHERE job = 'orders' AND reason = 'not running then'"
        ).fetchone() or (0,)
    assert left == 0
    assert abs(rows - 90 * 24 * 60) <= 5, "as far back as the ledger keeps rows"
    assert len({line["job"] for line in told}) == len(told)
    lines = second.of("job.metric") + third.of("job.metric")
    assert len(lines) < 100, "no line a slot"
