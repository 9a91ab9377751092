"""What the doctor says of the log file and the environment."""

from pathlib import Path

import pytest

from daemon.config.load import Config, ConfigError, from_mapping
from daemon.doctor.network import check_network
from daemon.doctor.process import encryption, environment, log_file
from daemon.postgres.encryption import refuse_clear


def config(**sections: object) -> Config:
    return from_mapping(sections, {}, keys=False)


def test_without_a_log_file_there_is_nothing_to_look_at() -> None:
    assert log_file(config()).level == "note"


@pytest.mark.parametrize(("name", "level"), [("new/a.log", "ok"), ("a.log", "ok"), (".", "fault")])
def test_a_log_file_is_tried_without_writing(tmp_path: Path, name: str, level: str) -> None:
    (tmp_path / "a.log").write_text("x")
    found = log_file(config(log={"file": str(tmp_path / name)}))
    assert found.level == level
    assert (level == "fault") == bool(found.mend)
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]
    assert (tmp_path / "a.log").read_text() == "x"


def test_a_folder_that_is_missing_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = log_file(config(log={"file": str(tmp_path / "file" / "a.log")}))
    assert (found.level, "Not a directory" in found.said) == ("fault", True)


REMOTE = [
    "postgresql://u:pw@db.example/x",
    "postgresql://u:pw@db.example/x?sslmode=require",
    "postgresql://u:pw@db.example/x?sslmode=verify-ca",
    "postgresql://u@10.0.0.1:5432/x",
    "postgresql://u@[2001:db8::1]:5432/x",
    "postgresql:///x?host=db.example",
    "postgresql:///x?hostaddr=10.0.0.1",
    "postgresql:///x?host=/run/postgresql,db.example",
    "postgresql://u@localhost/x?hostaddr=10.0.0.1",
]
SAFE = [
    "embedded",
    "postgresql://u:pw@localhost:5432/x",
    "postgresql://u@127.0.0.1/x",
    "postgresql://u@[::1]:5432/x",
    "postgresql:///x",
    "postgresql:///x?host=/run/postgresql",
    "postgresql://u@%2Frun%2Fpostgresql/x",
    "postgresql://u:pw@db.example/x?sslmode=verify-full",
]


@pytest.mark.parametrize("url", REMOTE)
def test_a_database_elsewhere_in_clear_is_refused_unless_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url.*in clear or unverified") as refused:
        check_network(config(database={"url": url}), {})
    assert "database.allow_clear = true" in str(refused.value)
    assert "pw" not in str(refused.value)
    (found,) = encryption(config(database={"url": url}))
    assert found.level == "fault"
    allowed = config(database={"url": url, "allow_clear": True})
    refuse_clear(allowed)
    (found,) = encryption(allowed)
    assert found.level == "warning"


@pytest.mark.parametrize("url", SAFE)
def test_one_that_nobody_can_listen_to_is_taken(url: str) -> None:
    refuse_clear(config(database={"url": url}))
    assert encryption(config(database={"url": url})) == []


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("redis://:pw@cache.example", False),
        ("rediss://:pw@cache.example?ssl_cert_reqs=none", False),
        ("redis://10.0.0.1:6379/0", False),
        ("rediss://:pw@cache.example", True),
        ("redis://127.0.0.1:6379/0", True),
        ("redis://localhost", True),
        ("redis://[::1]:6379", True),
        ("unix:///run/redis.sock", True),
    ],
)
def test_redis_elsewhere_needs_tls_or_a_word(url: str, is_safe: bool) -> None:
    if is_safe:
        assert encryption(config(redis={"url": url})) == []
        return
    with pytest.raises(ConfigError, match=r"redis\.allow_clear = true"):
        check_network(config(redis={"url": url}), {})
    (found,) = encryption(config(redis={"url": url, "allow_clear": True}))
    assert found.level == "warning"


def test_variables_in_force_are_named() -> None:
    environ = {
        "HTTPS_PROXY": "http://me:secret@proxy.example:3128",
        "UPBITD_PORT": "tcp://10.0.0.1:8787",
        "PGHOSTADDR": "10.0.0.1",
    }
    said = " | ".join(each.said for each in environment(config(), environ))
    assert "Upbit is called through http://proxy.example:3128 (HTTPS_PROXY)" in said
    assert "service links are ignored: UPBITD_PORT" in said
    assert "PGHOSTADDR is ignored: the database is our own" in said
    assert "secret" not in said
    (found,) = environment(config(), {"ALL_PROXY": "socks5://x"})
    assert found.level == "fault"
    (found,) = environment(config(), {"HOME": "/root"})
    assert found.level == "ok"
