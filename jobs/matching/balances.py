"""The balances of one account: free, locked, average cost. Nothing appears or disappears here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from jobs.upbit.wire import Account

P = ParamSpec("P")
T = TypeVar("T")

ZERO = Decimal(0)
AVERAGE_STEP = Decimal("0.00000001")

# balances carry up to 20 decimals before 10 digits: the default 28 digits would round them
_EXACT = Context(prec=80)


def exact(function: Callable[P, T]) -> Callable[P, T]:
    """Run `function` with enough digits that sums and products of amounts are never rounded."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with localcontext(_EXACT):
            return function(*args, **kwargs)

    return wrapper


@dataclass(slots=True)
class Purse:
    """One currency; `average` is the mean price paid for it, fees left out."""

    currency: str
    balance: Decimal = ZERO
    locked: Decimal = ZERO
    average: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Free and locked together."""
        return self.balance + self.locked

    def account(self) -> Account:
        """The purse as a row of /accounts."""
        return Account(
            currency=self.currency,
            balance=self.balance,
            locked=self.locked,
            avg_buy_price=self.average,
        )


class Ledger:
    """The purses of one account, and which of them changed since `drain`."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._touched: dict[str, None] = {}
        self._purses = {
            row.currency: Purse(row.currency, row.balance, row.locked, row.avg_buy_price)
            for row in accounts
        }

    def accounts(self) -> list[Account]:
        """Every currency that holds something, and KRW; the order is that of first use."""
        rows = self._purses.values()
        return [row.account() for row in rows if row.total or row.currency == "KRW"]

    def account(self, currency: str) -> Account:
        """One currency, zero when it is not held."""
        return self._purses.get(currency, Purse(currency)).account()

    def drain(self) -> tuple[Account, ...]:
        """The currencies that changed since the last call."""
        rows = tuple(self._purses[currency].account() for currency in self._touched)
        self._touched.clear()
        return rows

    def credit(self, currency: str, amount: Decimal) -> None:
        """Add `amount` (negative: take away) from outside. Raises ValueError below zero."""
        purse = self._purse(currency)
        if purse.balance + amount < 0:
            raise ValueError(f"{currency} would fall below zero")
        purse.balance += amount

    def lock(self, currency: str, amount: Decimal) -> bool:
        """Bind `amount`; False, changing nothing, when the free balance does not cover it."""
        if self.account(currency).balance < amount:
            return False
        purse = self._purse(currency)
        purse.balance -= amount
        purse.locked += amount
        return True

    def release(self, currency: str, amount: Decimal) -> None:
        """Give a bound `amount` back."""
        purse = self._purse(currency)
        purse.locked -= amount
        purse.balance += amount

    def buy(self, base: str, volume: Decimal, funds: Decimal) -> None:
        """Receive `volume` that cost `funds`; the average cost follows."""
        purse = self._purse(base)
        cost = purse.average * purse.total + funds
        purse.balance += volume
        purse.average = (cost / purse.total).quantize(AVERAGE_STEP).normalize()

    def spend(self, currency: str, amount: Decimal) -> None:
        """Pay a bound `amount` away."""
        purse = self._purse(currency)
        purse.locked -= amount
        if not purse.total:
            purse.average = ZERO

    def receive(self, currency: str, amount: Decimal) -> None:
        """Get the proceeds of a sale."""
        self._purse(currency).balance += amount

    def _purse(self, currency: str) -> Purse:
        self._touched[currency] = None
        return self._purses.setdefault(currency, Purse(currency))
