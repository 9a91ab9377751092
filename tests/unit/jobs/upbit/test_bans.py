from datetime import UTC, datetime, timedelta

from jobs.upbit.bans import Bans

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def wait(bans: Bans, *, at_s: float, text: str = "", asked_s: float | None = None) -> float:
    return bans.wait_s("ip", text=text, asked_s=asked_s, now=NOW + timedelta(seconds=at_s))


def test_what_the_text_says_is_the_wait() -> None:
    assert wait(Bans(), at_s=0, text="30초") == 30


def test_retry_after_comes_before_the_text() -> None:
    assert wait(Bans(), at_s=0, text="30초", asked_s=45.0) == 45


def test_without_a_word_it_doubles_up_to_an_hour() -> None:
    bans, at_s, waits = Bans(), 0.0, []
    for _ in range(8):
        waits.append(wait(bans, at_s=at_s))
        at_s += waits[-1] + 1
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_answers_to_what_was_in_flight_are_the_same_block() -> None:
    bans = Bans()
    assert wait(bans, at_s=0) == 60
    assert wait(bans, at_s=1) == 59
    assert wait(bans, at_s=1, text="5분") == 300
    assert wait(bans, at_s=61) == 120


def test_after_an_hour_of_peace_the_next_block_is_a_first_one() -> None:
    bans = Bans()
    wait(bans, at_s=0)
    assert wait(bans, at_s=60 + 3601) == 60


def test_the_sides_are_blocked_apart() -> None:
    bans = Bans()
    wait(bans, at_s=0)
    assert bans.wait_s("pocket", text="", asked_s=None, now=NOW) == 60


def test_a_header_alone_closes_for_an_hour_at_most() -> None:
    assert wait(Bans(), at_s=0, asked_s=7 * 86400.0) == 3600
    assert wait(Bans(), at_s=0, asked_s=7 * 86400.0, text="60초") == 3600


def test_a_longer_ban_that_the_body_names_is_kept() -> None:
    assert wait(Bans(), at_s=0, text="24시간") == 86400
    assert wait(Bans(), at_s=0, asked_s=7 * 86400.0, text="24시간") == 86400


def test_a_header_of_years_beside_a_running_block_changes_little() -> None:
    bans = Bans()
    wait(bans, at_s=0)
    assert wait(bans, at_s=1, asked_s=7 * 86400.0) == 3600
