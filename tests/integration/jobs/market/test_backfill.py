"""Back-filling: every candle once, empty minutes proven, cut off anywhere and run again."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from fixtures.venue import Venue
from typer.testing import CliRunner, Result

from daemon.cli import backfill as command
from jobs.core.errors import Unavailable
from jobs.market.backfill import Backfill, Done
from jobs.store import candle_proofs, candles, partitions
from jobs.store.db import Database
from jobs.upbit.wire import Candle

MINUTE = timedelta(minutes=1)
END = datetime(2026, 3, 2, tzinfo=UTC)
SINCE = END - timedelta(days=2)  # two months


def candle(ts: datetime) -> Candle:
    one = Decimal(1)
    return Candle(
        market="KRW-X", unit=1, ts=ts, open=one, high=one, low=one, close=one, volume=one, value=one
    )


class Cut(Exception):
    """The process ends here."""


@dataclass(slots=True)
class Past:
    """An exchange whose candles begin with the third hour; in odd hours nobody trades."""

    begins: datetime = SINCE + timedelta(hours=2)
    asked: list[datetime] = field(default_factory=list)
    failures: int = 0
    cut_after: int | None = None
    cut_page: tuple[int, int] | None = None
    """Of the so many-th answer only the newest so many rows come."""

    def all(self) -> list[Candle]:
        minutes = (SINCE + n * MINUTE for n in range(2 * 24 * 60))
        return [candle(ts) for ts in minutes if ts >= self.begins and ts.hour % 2 == 0]

    async def candles(
        self, market: str, unit: int, *, to: datetime | None = None, count: int = 200
    ) -> list[Candle]:
        assert (market, unit) == ("KRW-X", 1)
        assert to is not None
        if self.failures:
            self.failures -= 1
            raise Unavailable("no answer", retry_after_s=7.0)
        if self.cut_after is not None and len(self.asked) >= self.cut_after:
            raise Cut
        self.asked.append(to)
        found = [each for each in reversed(self.all()) if each.ts < to][:count]
        if self.cut_page is not None and len(self.asked) == self.cut_page[0]:
            return found[: self.cut_page[1]]
        return found


@dataclass(slots=True)
class Naps:
    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def past() -> Past:
    return Past()


@pytest.fixture
def work(past: Past, database: Database) -> Backfill:
    return Backfill(
        client=past,
        db=database,
        sleep=Naps(),
        market="KRW-X",
        unit=1,
        since=SINCE,
        until=END,
    )


async def stored(database: Database) -> list[Candle]:
    return (await candles.window(database, ["KRW-X"], 1, 10_000, END))["KRW-X"]


async def test_every_candle_is_stored_with_the_fewest_requests(
    work: Backfill, past: Past, database: Database
) -> None:
    seen: list[Done] = []
    done = await work.run(seen.append)
    assert await stored(database) == past.all()
    full_pages, rest = divmod(len(past.all()), 200)
    # one more: a short answer may have been cut, so what lies before it is asked for, too
    assert len(past.asked) == done.requests == full_pages + bool(rest) + 1
    assert (done.minutes, done.total, done.rows) == (2880, 2880, len(past.all()))
    assert [each.minutes for each in seen] == sorted(each.minutes for each in seen)
    assert await partitions.names(database) == ["candles_202602", "candles_202603"]


async def test_what_is_complete_is_not_asked_for_again(work: Backfill, past: Past) -> None:
    await work.run(lambda _: None)
    past.asked.clear()
    past.begins = SINCE
    await work.run(lambda _: None)
    past.asked.clear()
    done = await work.run(lambda _: None)
    assert (past.asked, done.total, done.requests) == ([], 0, 0)


async def test_a_short_or_empty_answer_proves_nothing_for_ever(
    work: Backfill, past: Past, database: Database
) -> None:
    done = await work.run(lambda _: None)
    assert done.unproven >= 120  # before the market began, as it seems
    assert await candle_proofs.spans(database, "KRW-X", 1, SINCE, past.begins) == []
    past.begins = SINCE  # and then the exchange has those candles after all
    done = await work.run(lambda _: None)
    assert done.rows == 60
    assert await stored(database) == past.all()


@pytest.mark.parametrize("cut", [0, 1, 199])
async def test_an_answer_that_was_cut_loses_nothing(
    work: Backfill, past: Past, database: Database, cut: int
) -> None:
    past.begins, past.cut_page = SINCE, (2, cut)
    await work.run(lambda _: None)
    past.cut_page = None
    await work.run(lambda _: None)
    assert await stored(database) == past.all()


async def test_the_end_is_not_proven_while_candles_may_come_late(
    work: Backfill, past: Past, database: Database
) -> None:
    late = END + timedelta(minutes=20)
    short = replace(work, since=END - timedelta(hours=6), clock=lambda: late)
    done = await short.run(lambda _: None)
    assert done.unproven == 10  # the last hour is without trades; fifty minutes of it for good
    spans = await candle_proofs.spans(database, "KRW-X", 1, short.since, END)
    assert spans == [(short.since, late - timedelta(minutes=30))]
    later = await replace(short, clock=lambda: END + timedelta(hours=1)).run(lambda _: None)
    assert (later.total, later.unproven) == (10, 0)


async def test_a_later_candle_proves_the_end(
    work: Backfill, past: Past, database: Database
) -> None:
    await partitions.make(database, {partitions.month_of(END)}, END)
    await candles.upsert(database, [candle(END)])
    short = replace(work, since=END - timedelta(hours=6), clock=lambda: END)
    assert (await short.run(lambda _: None)).unproven == 0


async def test_cut_off_at_any_page_it_goes_on_from_there(
    work: Backfill, past: Past, database: Database
) -> None:
    for pages in range(1, 7):
        past.cut_after = pages
        with pytest.raises(Cut):
            await work.run(lambda _: None)
    past.cut_after = None
    await work.run(lambda _: None)
    assert len(past.asked) == len(set(past.asked)), "no page was asked for twice"
    assert await stored(database) == past.all()


async def test_a_hole_is_filled_and_only_that(
    work: Backfill, past: Past, database: Database
) -> None:
    await candles.upsert(database, [e for e in past.all() if e.ts.hour != 4 or e.ts.day != 1])
    await candle_proofs.add(database, "KRW-X", 1, SINCE, datetime(2026, 3, 1, tzinfo=UTC))
    await work.run(lambda _: None)
    assert await stored(database) == past.all()
    assert min(past.asked) >= datetime(2026, 3, 1, tzinfo=UTC)


async def test_failures_are_waited_out_as_the_exchange_asks(work: Backfill, past: Past) -> None:
    past.failures = 3
    naps = Naps()
    await replace(work, sleep=naps).run(lambda _: None)
    assert naps.taken == [7.0, 7.0, 7.0]


async def test_an_exchange_that_stays_away_ends_it_with_what_came_kept(
    work: Backfill, past: Past, database: Database
) -> None:
    past.failures = 100
    with pytest.raises(Unavailable):
        await work.run(lambda _: None)
    assert work.sleep.taken == [7.0, 7.0, 7.0, 8.0, 16.0]  # type: ignore[attr-defined]  # a Naps
    past.failures = 0
    await work.run(lambda _: None)
    assert await stored(database) == past.all()


async def test_proven_spans_that_meet_become_one(database: Database) -> None:
    hour = timedelta(hours=1)
    for since, until in ((0, 1), (2, 3), (5, 6), (1, 2), (4, 7)):
        await candle_proofs.add(database, "KRW-X", 1, SINCE + since * hour, SINCE + until * hour)
    found = await candle_proofs.spans(database, "KRW-X", 1, SINCE, END)
    assert found == [(SINCE, SINCE + 3 * hour), (SINCE + 4 * hour, SINCE + 7 * hour)]
    assert await candle_proofs.spans(database, "KRW-X", 5, SINCE, END) == []
    await candle_proofs.forget_before(database, 1, SINCE + 5 * hour)
    found = await candle_proofs.spans(database, "KRW-X", 1, SINCE, END)
    assert found == [(SINCE + 5 * hour, SINCE + 7 * hour)]


def run(tmp_path: Path, dsn: str, venue: Venue, *arguments: str) -> Result:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{dsn}'\n[upbit]\nbase_url = '{venue.base_url}'\n")
    app = typer.Typer()
    command.register(app)
    options = ["--market", "KRW-BTC", *arguments, "--config", str(path)]
    return CliRunner().invoke(app, options, catch_exceptions=False)


def test_the_command_fills_and_says_so(tmp_path: Path, dsn: str, venue: Venue) -> None:
    first = run(tmp_path, dsn, venue, "--from", "12h", "--share", "0.9")
    assert first.exit_code == 0, first.output
    assert "nothing is missing" in first.stdout
    assert "KRW-BTC" in first.stderr
    again = run(tmp_path, dsn, venue, "--from", "11h", "--share", "0.9")
    assert int(again.stdout.split("with ")[1].split()[0]) <= 1  # the newest minutes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "3h", "--unit", "7"), "one of 1, 3"),
        (("--from", "3h", "--to", "4h"), "must lie before"),
        (("--from", "2020-01-01"), "larger --unit"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, dsn: str, venue: Venue, arguments: tuple[str, ...], said: str
) -> None:
    refused = run(tmp_path, dsn, venue, *arguments)
    assert (refused.exit_code, said in refused.stderr) == (2, True)


def test_an_exchange_that_refuses_ends_it_with_a_line(
    tmp_path: Path, dsn: str, venue: Venue
) -> None:
    refused = run(tmp_path, dsn, venue, "--market", "KRW-NOPE", "--from", "1h")
    assert refused.exit_code == 1
    assert "run it again" in refused.stderr
