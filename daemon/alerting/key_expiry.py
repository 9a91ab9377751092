"""Says in good time that the account's key is about to expire, and that it could withdraw.

Upbit's keys live for a year at most.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loguru import logger

from jobs.core.errors import JobError
from jobs.core.job import Clock, Incident, Notifier, Sleep
from jobs.upbit.wire import ApiKey

EVERY_S = 6 * 3600.0
AGAIN_S = 600.0
WARN = timedelta(days=14)
URGENT = timedelta(days=2)
INCIDENT = "key_expiring"
WITHDRAW = "withdraw_permission"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyExpiryMonitor:
    """Looks at the list of keys four times a day; `access_key` is ours."""

    access_key: str
    list_keys: Callable[[], Awaitable[Sequence[ApiKey]]]
    may_withdraw: Callable[[], Awaitable[bool | None]]
    notifier: Notifier
    clock: Clock

    async def keep(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Look until cancelled; what the exchange cannot say now is asked again soon."""
        while True:
            try:
                await self.look()
                await self.look_at_rights()
                wait_s = EVERY_S
            except JobError as error:
                logger.bind(event="key.not_checked", error=str(error)).info(
                    "When the key expires cannot be told now"
                )
                wait_s = AGAIN_S
            except Exception:  # noqa: BLE001 - an odd answer about keys must not end the monitor
                logger.bind(event="job.bug").exception("The key's expiry check has a bug")
                wait_s = AGAIN_S
            await sleep(wait_s)

    async def look_at_rights(self) -> None:
        """Tell of a key that could withdraw. Raises JobError when the exchange does not answer."""
        may = await self.may_withdraw()
        if may is None:
            logger.bind(event="key.rights_unknown").warning(
                "Whether the Upbit key may withdraw is unknown: look at its rights"
            )
        elif not may:
            await self.notifier.resolve(WITHDRAW)
        else:
            await self.notifier.notify(
                Incident(
                    kind=WITHDRAW,
                    severity="critical",
                    incident=WITHDRAW,
                    title="The Upbit key may withdraw",
                    message="Whoever steals it could empty the account; nothing here needs it",
                )
            )

    async def look(self) -> None:
        """Look once. Raises JobError when the exchange does not say."""
        keys = await self.list_keys()
        ours = next((each for each in keys if each.access_key == self.access_key), None)
        if ours is None:
            return
        left = ours.expire_at - self.clock()
        if left > WARN:
            await self.notifier.resolve(INCIDENT)
            return
        what = f"in {left.days} days" if left > timedelta(0) else "already"
        await self.notifier.notify(
            Incident(
                kind=INCIDENT,
                severity="critical" if left <= URGENT else "warning",
                incident=INCIDENT,
                title="The Upbit key expires soon",
                message=f"It expires {what}, on {ours.expire_at:%Y-%m-%d %H:%M} UTC; "
                "make a new one at Upbit and restart the daemon with it",
            )
        )
