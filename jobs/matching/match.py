"""Matching: a new order takes what the book and the account's own resting orders offer.

A market offer stands before the account's own order at the same price.
"""

from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from jobs.matching.balances import Ledger
from jobs.matching.book import Depth
from jobs.matching.rules import base_of, quote_of
from jobs.matching.ticket import Fill, Ticket, TicketState
from jobs.upbit.wire import Side

ZERO = Decimal(0)
EventKind = Literal["wait", "trade", "done", "cancel", "prevented"]
OPPOSITE: Mapping[Side, Side] = {"bid": "ask", "ask": "bid"}


class Note(Protocol):
    """Told of everything that happens to an order, right after it did."""

    def __call__(self, kind: EventKind, ticket: Ticket, at: datetime, fill: Fill | None, /) -> None:
        """Record one event."""
        ...


class Matcher:
    """Fills, closes and shrinks the tickets in `open_tickets`, and moves the money."""

    def __init__(
        self,
        ledger: Ledger,
        open_tickets: MutableMapping[str, Ticket],
        new_uuid: Callable[[], str],
        note: Note,
    ) -> None:
        self._ledger = ledger
        self._open = open_tickets
        self._new_uuid = new_uuid
        self._note = note

    def take(self, ticket: Ticket, depth: Depth, now: datetime) -> None:
        """Let a new order meet the book once; afterwards it rests or is closed."""
        offers = self._offers(ticket, depth)
        if not self._may_take(ticket, depth, offers):
            self.close(ticket, "cancel", now)
            return
        for price, maker in offers:
            wanted = ticket.wanted(price)
            if wanted <= 0 or not ticket.is_open:
                break
            if maker is None:
                volume = min(wanted, depth.left(ticket.side, price))
                depth.take(ticket.side, price, volume)
                self._fill(ticket, (price, volume), now, is_maker=False)
            else:
                self._meet_own(ticket, maker, wanted, now)
        if ticket.is_open:
            self._after_taking(ticket, now)

    def match_resting(self, depth: Depth, now: datetime) -> None:
        """Fill resting orders whose price the market has reached, at their own price."""
        for side in OPPOSITE:
            for ticket in self._resting(depth.book.market, side):
                for price in list(depth.prices(side)):
                    limit = ticket.price or ZERO
                    volume = min(ticket.wanted(limit), depth.left(side, price))
                    if not ticket.crosses(price) or volume <= 0:
                        break
                    depth.take(side, price, volume)
                    self._fill(ticket, (limit, volume), now, is_maker=True)
                if ticket.is_spent:
                    self.close(ticket, _spent_state(ticket), now)

    def close(self, ticket: Ticket, state: TicketState, now: datetime) -> None:
        """End the order and give back what it still binds."""
        del self._open[ticket.uuid]
        ticket.state = state
        ticket.closed_at = now
        self._release(ticket, ticket.locked)
        self._note("done" if state == "done" else "cancel", ticket, now, None)

    def _resting(self, market: str, side: Side) -> list[Ticket]:
        """The account's resting orders of one side, in the order in which they are filled."""
        found = [
            t for t in self._open.values() if t.is_resting and t.market == market and t.side == side
        ]
        sign = -1 if side == "bid" else 1
        return sorted(found, key=lambda t: (sign * (t.price or ZERO), t.sequence))

    def _offers(self, ticket: Ticket, depth: Depth) -> list[tuple[Decimal, Ticket | None]]:
        offers: list[tuple[Decimal, Ticket | None]] = [
            (price, None) for price in depth.prices(ticket.side) if ticket.crosses(price)
        ]
        if ticket.ord_type == "best":
            return offers[:1]
        makers = self._resting(ticket.market, OPPOSITE[ticket.side])
        own = ((maker.price, maker) for maker in makers if maker.price is not None)
        offers += [(price, maker) for price, maker in own if ticket.crosses(price)]
        sign = 1 if ticket.side == "bid" else -1
        return sorted(offers, key=lambda o: (sign * o[0], o[1].sequence if o[1] else -1))

    @staticmethod
    def _may_take(
        ticket: Ticket, depth: Depth, offers: list[tuple[Decimal, Ticket | None]]
    ) -> bool:
        if ticket.time_in_force == "post_only":
            return not offers
        if ticket.time_in_force != "fok":
            return True
        found = ZERO
        for price, maker in offers:
            if maker is None:
                found += depth.left(ticket.side, price)
            elif ticket.smp_type == "none":
                found += maker.wanted(price)
        wanted = ticket.wanted(offers[0][0]) if offers else None
        return wanted is not None and found >= wanted

    def _after_taking(self, ticket: Ticket, now: datetime) -> None:
        if ticket.is_spent:
            self.close(ticket, _spent_state(ticket), now)
        elif ticket.ord_type == "limit" and ticket.time_in_force in (None, "post_only"):
            ticket.is_resting = True
        else:
            self.close(ticket, "cancel", now)

    def _meet_own(self, taker: Ticket, maker: Ticket, wanted: Decimal, now: datetime) -> None:
        """The taker's self-match prevention decides."""
        overlap = min(wanted, maker.wanted(maker.price or ZERO))
        if taker.smp_type == "none":
            trade = (maker.price or ZERO, overlap)
            self._fill(maker, trade, now, is_maker=True)
            self._fill(taker, trade, now, is_maker=False)
            if maker.is_spent:
                self.close(maker, _spent_state(maker), now)
        elif taker.smp_type == "reduce":
            self._prevent(maker, overlap, maker.price or ZERO, now)
            self._prevent(taker, overlap, maker.price or ZERO, now)
        else:
            loser = maker if taker.smp_type == "cancel_maker" else taker
            rest = loser.locked
            loser.prevented_volume += loser.remaining_volume or ZERO
            loser.prevented_fee += loser.remaining_fee
            loser.prevented_locked += rest
            self._release(loser, rest)
            self.close(loser, "cancel", now)

    def _prevent(self, ticket: Ticket, volume: Decimal, price: Decimal, now: datetime) -> None:
        """Make the order smaller by `volume`; a limit bid gives back what it locked for that."""
        if ticket.side == "ask":
            bound, fee = volume, ZERO
        else:
            own = ticket.price if ticket.ord_type == "limit" and ticket.price else price
            fee = own * volume * ticket.fee_rate
            bound = own * volume + fee
        if ticket.volume is not None:
            ticket.prevented_volume += volume
        ticket.prevented_locked += bound
        ticket.prevented_fee += fee
        self._release(ticket, bound)
        if ticket.is_spent:
            self.close(ticket, "cancel", now)
        else:
            self._note("prevented", ticket, now, None)

    def _release(self, ticket: Ticket, amount: Decimal) -> None:
        currency = quote_of(ticket.market) if ticket.side == "bid" else base_of(ticket.market)
        self._ledger.release(currency, amount)

    def _fill(
        self, ticket: Ticket, trade: tuple[Decimal, Decimal], now: datetime, *, is_maker: bool
    ) -> None:
        price, volume = trade
        funds = price * volume
        fill = Fill(
            uuid=self._new_uuid(),
            price=price,
            volume=volume,
            funds=funds,
            fee=funds * ticket.fee_rate,
            ts=now,
            trend="down" if ticket.fills and price < ticket.fills[-1].price else "up",
            is_maker=is_maker,
        )
        ticket.fills += (fill,)
        ticket.executed_volume += volume
        ticket.executed_funds += funds
        ticket.paid_fee += fill.fee
        self._settle(ticket, fill)
        self._note("trade", ticket, now, fill)

    def _settle(self, ticket: Ticket, fill: Fill) -> None:
        quote, base = quote_of(ticket.market), base_of(ticket.market)
        if ticket.side == "bid":
            self._ledger.spend(quote, fill.funds + fill.fee)
            self._ledger.buy(base, fill.volume, fill.funds)
        else:
            self._ledger.spend(base, fill.volume)
            self._ledger.receive(quote, fill.funds - fill.fee)


def _spent_state(ticket: Ticket) -> TicketState:
    return "cancel" if ticket.prevented_locked and not ticket.executed_volume else "done"
