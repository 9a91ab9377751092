"""What is wrong for too long is told by the real daemon, each under its own kind."""

import psycopg
from fixtures.process import Start
from fixtures.venue import Venue

PAUSED = """
INSERT INTO job_controls (job, paused, paused_at, updated_by)
VALUES ('signals', true, now() - interval '25 hours', 'cli:alice'),
    ('upkeep', true, now() - interval '23 hours', 'cli:alice')
"""
OLD_SIGNAL = """
WITH seen AS (
    INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
    VALUES ('KRW-BTC', now(), 1000, 1, 1, 0) RETURNING id
)
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts,
    status, created_at)
SELECT id, 'KRW-BTC', 'hold', 0.7, 'planted', 'rules', 'rules', now(), 'executed',
    now() - interval '2 hours' FROM seen
"""
LIMITS = {"UPBITD_ALERTS__MAX_UNHEALTHY": "1s", "UPBITD_ALERTS__MAX_DEGRADED": "1s"}
WANTED = {
    "component_unhealthy:upbit",
    "component_unhealthy:scheduler:degraded",
    "signal_stale",
    "job_paused:signals",
}


def test_a_bad_component_an_old_signal_and_a_paused_job_are_told(
    start_daemon: Start, venue: Venue, dsn: str
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(PAUSED)
        connection.execute(OLD_SIGNAL)
    daemon = start_daemon(environ=LIMITS, database=dsn)
    daemon.ready()
    told = {line["incident"] for line in daemon.of("alert.raised")}
    while not told >= WANTED - {"component_unhealthy:upbit"}:
        told.add(daemon.until("alert.raised")["incident"])
    venue.fault(path="/v1/*", action="answer", status=503, count=0)
    daemon.until("alert.raised", incident="component_unhealthy:upbit")
    venue.http.delete("/sandbox/faults")
    assert "job_paused:upkeep" not in told
    assert daemon.stop() == 0
