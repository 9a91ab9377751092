"""What the process says of itself at each moment of its life."""

from daemon.process.state import ProcessStatus


def test_a_process_is_ready_only_while_it_leads() -> None:
    now = [100.0]
    status = ProcessStatus(
        mode="paper", version="1.2.3", note="local exchange", monotonic=lambda: now[0]
    )
    assert (status.role, status.readiness().ready) == ("starting", False)
    status.starting("comparing")
    assert status.readiness().reason == "comparing"
    status.standby("another leads")
    assert (status.readiness().ready, status.readiness().standby) == (False, True)
    status.leading()
    assert (status.role, status.readiness().ready, status.readiness().reason) == (
        "leader",
        True,
        None,
    )
    status.stopping()
    assert (status.role, status.readiness().ready) == ("leader", False)
    now[0] += 12.5
    about = status.about()
    assert (about.mode, about.version, about.note) == ("paper", "1.2.3", "local exchange")
    assert about.uptime_s == 12.5
