"""The daemon with a Redis: it uses it, shows it, and does not mind when it is gone."""

from pathlib import Path

import httpx
from fixtures.process import Start
from fixtures.redis_server import running_redis
from redis import Redis


def tiers(url: str) -> dict[tuple[str, str], dict[str, float]]:
    rows = httpx.get(f"{url}/cache-stats", timeout=5).json()["caches"]
    return {(row["cache"], row["tier"]): row for row in rows}


def test_the_daemon_shares_through_redis_and_goes_on_without_it(
    start_daemon: Start, tmp_path: Path
) -> None:
    where = tmp_path / "redis"
    where.mkdir()
    environ = {"UPBITD_REDIS__URL": f"unix://{where}/redis.sock"}
    with running_redis(where) as redis:
        daemon = start_daemon(environ=environ)
        url = daemon.ready()
        daemon.until("job.metric", job="market", outcome="ok")
        daemon.until("job.metric", job="signals", outcome="ok")
        with Redis.from_url(redis) as client:
            names = sorted({key.split(b":")[3] for key in client.keys("upbitd:*")})
        assert names == [b"prices"]
        counts = tiers(url)
        assert set(counts) == {
            ("settings", "process"),
            ("signals", "process"),
            ("prices", "process"),
            ("prices", "redis"),
            ("markets", "process"),
        }
        assert counts["settings", "process"]["hits"] > 0
        metrics = daemon.get("/metrics").text
        assert 'upbitd_cache_hits_total{cache="prices",tier="redis"}' in metrics
        assert 'upbitd_db_connections{state="busy"}' in metrics
    daemon.until("cache.redis", state="open")
    daemon.until("job.metric", job="market", outcome="ok")
    daemon.until("job.metric", job="signals", outcome="ok")
    for _ in range(10):  # on a machine that is busy, a probe may be late for once
        daemon.until("job.metric", job="orders")
        components = daemon.get("/health").json()["components"]
        assert "redis" not in str(components).lower()
        if components["database"]["status"] == "healthy":
            break
    assert components["database"]["status"] == "healthy", components["database"]
    with running_redis(where):
        daemon.until("cache.redis", state="closed")
    assert daemon.stop() == 0


def test_a_redis_that_is_absent_at_the_start_is_no_reason_not_to_start(
    start_daemon: Start, tmp_path: Path
) -> None:
    daemon = start_daemon(environ={"UPBITD_REDIS__URL": f"unix://{tmp_path}/none.sock"})
    daemon.ready()
    daemon.until("job.metric", job="market", outcome="ok")
    assert daemon.stop() == 0
