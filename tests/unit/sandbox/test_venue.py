"""The venue keeps its accounts up to date and remembers what happened, in order."""

from datetime import timedelta
from decimal import Decimal

from fixtures.local_venue import START, LocalVenue, Time

from jobs.upbit.wire import OrderRequest
from sandbox.options import Options
from sandbox.quotes import Quotes
from sandbox.venue import ACCESS_KEY, SECRET_KEY, Venue, utc_now

BTC = "KRW-BTC"


def bid(price: str, volume: str = "0.0001", identifier: str = "") -> OrderRequest:
    return OrderRequest(
        market=BTC,
        side="bid",
        ord_type="limit",
        identifier=identifier,
        price=Decimal(price),
        volume=Decimal(volume),
    )


async def test_happenings_are_numbered_in_order(local_venue: LocalVenue) -> None:
    pocket = local_venue.venue.pockets["main"]
    book = local_venue.venue.quotes.book(BTC, START)
    pocket.engine.place(bid("300000000"), now=START, book=book)
    local_venue.venue.advance(pocket)
    assert [each.number for each in pocket.happenings] == list(range(len(pocket.happenings)))
    kinds = [each.event.kind for each in pocket.happenings if each.event]
    assert kinds == ["wait", "trade", "done"]
    touched = [row.currency for each in pocket.happenings for row in each.accounts]
    assert set(touched) == {"KRW", "BTC"}


def test_delays_and_ids_follow_the_seed(local_quotes: Quotes) -> None:
    def first_orders(seed: int | None) -> list[tuple[str, timedelta]]:
        venue = Venue(local_quotes, options=Options(), clock=Time(), seed=seed)
        pocket = venue.open_pocket("main", Decimal(1_000_000))
        found = []
        for _ in range(20):
            order = pocket.engine.place(bid("100000000"), now=START)
            ticket = pocket.engine.find(uuid=order.uuid)
            assert ticket is not None
            found.append((order.uuid, ticket.due_at - START))
        return found

    one = first_orders(7)
    assert one == first_orders(7) != first_orders(8)
    assert first_orders(None) != first_orders(None)
    delays = [delay for _, delay in one]
    assert timedelta(milliseconds=50) <= min(delays) < max(delays) <= timedelta(milliseconds=500)


async def test_orders_meet_every_trade_since_the_last_look(local_venue: LocalVenue) -> None:
    venue = local_venue.venue
    pocket = venue.pockets["main"]
    venue.options.fill_min_ms = venue.options.fill_max_ms = 200
    book = venue.quotes.book(BTC, START)
    order = pocket.engine.place(bid("300000000"), now=START, book=book)
    local_venue.time.pass_s(3600)
    venue.advance(pocket)
    ticket = pocket.engine.find(uuid=order.uuid)
    assert ticket is not None
    assert ticket.fills[0].ts == START + timedelta(milliseconds=200)
    assert pocket.at == venue.now()


async def test_time_may_go_backwards(local_venue: LocalVenue) -> None:
    venue = local_venue.venue
    pocket = venue.pockets["main"]
    pocket.engine.place(bid("100000000"), now=START)
    venue.advance(pocket)
    venue.shift = timedelta(hours=-2)
    venue.advance(pocket)
    assert pocket.engine.open_orders()


async def test_a_forced_price_is_met_at_once(local_venue: LocalVenue) -> None:
    venue = local_venue.venue
    pocket = venue.pockets["main"]
    pocket.engine.place(bid("100000000"), now=START, book=venue.quotes.book(BTC, START))
    venue.quotes.force(BTC, Decimal(90_000_000), START)
    venue.match_now(BTC)
    assert pocket.engine.closed_orders()[0].state == "done"


def test_nobody_could_take_the_demo_keys_for_real_ones() -> None:
    for key in (ACCESS_KEY, SECRET_KEY):
        assert len(key) == 40
        assert "SANDBOX" in key
        assert "NOT-A-REAL" in key


def test_the_machines_clock_is_aware() -> None:
    assert utc_now().utcoffset() == timedelta(0)
