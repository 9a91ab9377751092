"""What the doctor says of orders: whether venue and tables agreed when they were last compared."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy.exc import ProgrammingError

from daemon.config.load import Config
from daemon.doctor.results import Finding, fault, note, ok, warning
from daemon.postgres.server_paths import EmbeddedError
from daemon.postgres.session import open_for_command
from jobs.core.errors import JobError
from jobs.domain.order_states import State
from jobs.orders.balances import advice_for
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import reconciliations
from jobs.store.orders import OrderRow
from jobs.store.reconciliations import Reconciliation

ORDERS = "orders"


async def orders(config: Config) -> list[Finding]:
    """The newest reconciliation, orders nobody has answered for, positions off their fills, and
    whether trading is halted by a file."""
    found = list(_halt_file(config))
    mode = config.trading.mode
    try:
        async with open_for_command(config) as db, db.begin() as conn:
            newest = await reconciliations.newest(conn, mode)
            unfinished = await order_store.unfinished(conn, mode)
            off = await position_store.ledger_differences(conn, mode)
    except (EmbeddedError, JobError):
        return [*found, note(ORDERS, "not known without the database")]
    except ProgrammingError:
        return [*found, note(ORDERS, "the tables are not there yet, see migrations")]
    found += _reconciled(newest)
    found += _unknown(unfinished)
    for market, volume in off.items():
        said = f"the position in {market} is off the sum of its fills by {volume:f}"
        found.append(fault(ORDERS, said, "halt, and compare `upbitd explain` with the exchange"))
    return found


def _halt_file(config: Config) -> Iterator[Finding]:
    file = config.daemon.halt_file
    if file.exists():
        yield warning(ORDERS, f"trading is halted by {file}", "remove the file to resume")


def _reconciled(newest: Reconciliation | None) -> Iterator[Finding]:
    if newest is None:
        yield note(ORDERS, "never reconciled; the daemon does it when it starts")
        return
    age_s = (datetime.now(UTC) - newest.checked_at).total_seconds()
    when = f"{newest.checked_at:%Y-%m-%d %H:%M:%S} UTC, {age_s:.0f} s ago"
    for mismatch in newest.mismatches:
        mend = advice_for(mismatch) or "see `upbitd alerts --open`"
        yield fault(ORDERS, f"{mismatch} ({when})", mend)
    if not newest.mismatches:
        yield ok(
            ORDERS,
            f"reconciled {when}: {newest.open_ours} open, {newest.open_foreign} of others, "
            f"{newest.unknown} unknown",
        )


def _unknown(unfinished: list[OrderRow]) -> Iterator[Finding]:
    for order in unfinished:
        if order.state is State.UNKNOWN:
            since = f"{order.updated_at:%H:%M:%S}"
            yield warning(
                ORDERS,
                f"{order.identifier} in {order.market} is unanswered since {since}",
                f"the daemon looks for it; its market waits: `upbitd explain {order.identifier}`",
            )
