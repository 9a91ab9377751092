from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jobs.candles.selection import Selection, choose
from jobs.upbit.wire import Market, Ticker

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def ticker(market: str, value: int) -> Ticker:
    one = Decimal(1)
    return Ticker(
        market=market,
        price=one,
        volume_24h=one,
        value_24h=Decimal(value),
        change_rate=one,
        ts=NOW,
    )


@dataclass(slots=True)
class Listed:
    """An exchange with three markets whose turnover the test changes."""

    values: dict[str, int] = field(default_factory=lambda: {"KRW-A": 1, "KRW-B": 3, "KRW-C": 2})
    asked: list[str] = field(default_factory=list)

    async def markets(self) -> list[Market]:
        self.asked.append("markets")
        return [
            Market(market=each, korean_name="x", english_name=each[-1] * 3, warning=False)
            for each in self.values
        ]

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        self.asked.append(quote)
        return [ticker(market, value) for market, value in self.values.items()]


@dataclass(slots=True)
class Watch:
    """A clock that the test sets."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def test_the_top_is_by_turnover_and_ties_by_name() -> None:
    rows = [ticker("KRW-B", 5), ticker("KRW-A", 5), ticker("KRW-C", 9), ticker("KRW-D", 1)]
    assert choose(rows, 3) == ("KRW-C", "KRW-A", "KRW-B")
    assert choose(rows, None) == ("KRW-A", "KRW-B", "KRW-C", "KRW-D")


async def test_named_markets_ask_nobody() -> None:
    listed = Listed()
    selection = Selection(listing=listed, clock=Watch(), names=("KRW-Z",))
    assert selection.is_fixed
    assert await selection.current() == ("KRW-Z",)
    assert selection.offer([ticker("KRW-A", 1)]) == ("KRW-Z",)
    assert listed.asked == []


async def test_the_choice_holds_for_its_time() -> None:
    listed, watch = Listed(), Watch()
    selection = Selection(listing=listed, clock=watch, top=2, ttl_s=60)
    assert await selection.current() == ("KRW-B", "KRW-C")
    listed.values["KRW-A"] = 100
    watch.now += timedelta(seconds=59)
    assert await selection.current() == ("KRW-B", "KRW-C")
    watch.now += timedelta(seconds=1)
    assert await selection.current() == ("KRW-A", "KRW-B")
    assert listed.asked == ["KRW", "KRW"]


async def test_tickers_at_hand_save_the_question() -> None:
    listed = Listed()
    selection = Selection(listing=listed, clock=Watch())
    assert selection.offer([ticker("KRW-A", 1)]) == ("KRW-A",)
    assert await selection.current() == ("KRW-A",)
    assert listed.asked == []


async def test_no_tickers_change_nothing() -> None:
    selection = Selection(listing=Listed(), clock=Watch())
    assert selection.offer([]) == ()
    assert await selection.current() == ("KRW-A", "KRW-B", "KRW-C")


async def test_every_market_has_a_name() -> None:
    listed = Listed()
    selection = Selection(listing=listed, clock=Watch(), names=("KRW-A", "KRW-Z"), ttl_s=60)
    assert await selection.called() == {"KRW-A": "AAA", "KRW-Z": "KRW-Z"}
    assert listed.asked == ["markets"]


async def engaged() -> frozenset[str]:
    return frozenset({"KRW-A", "KRW-B"})


async def test_what_is_held_stays_in_the_work_and_takes_no_entry() -> None:
    """A held market that leaves the top keeps its candles, its decisions and so its sale."""
    selection = Selection(listing=Listed(), clock=Watch(), top=2, engaged=engaged)
    assert await selection.chosen() == ("KRW-B", "KRW-C")
    assert await selection.current() == ("KRW-B", "KRW-C", "KRW-A")
    assert list(await selection.called()) == ["KRW-B", "KRW-C", "KRW-A"]
    assert await selection.why_no_entry("KRW-B") is None
    assert await selection.why_no_entry("KRW-A") == "KRW-A is not among the chosen markets any more"


async def test_a_market_taken_off_the_list_is_worked_on_while_it_is_held() -> None:
    selection = Selection(listing=Listed(), clock=Watch(), names=("KRW-Z",), engaged=engaged)
    assert await selection.current() == ("KRW-Z", "KRW-A", "KRW-B")
    assert await selection.why_no_entry("KRW-Z") is None
    assert await selection.why_no_entry("KRW-B") is not None


async def test_excluded_markets_are_never_chosen_and_the_next_takes_their_place() -> None:
    excluded = frozenset({"KRW-B", "KRW-Y"})
    top = Selection(listing=Listed(), clock=Watch(), top=2, excluded=excluded)
    assert await top.chosen() == ("KRW-C", "KRW-A")
    assert await top.why_no_entry("KRW-B") == "KRW-B is excluded (trading.exclude)"
    named = Selection(
        listing=Listed(),
        clock=Watch(),
        names=("KRW-Y", "KRW-Z"),
        excluded=excluded,
        engaged=engaged,
    )
    assert await named.chosen() == ("KRW-Z",)
    assert await named.current() == ("KRW-Z", "KRW-A", "KRW-B"), "held: worked on all the same"
