"""What people hear when a daemon begins to lead: live trading, and how the one before it ended."""

import socket
from dataclasses import dataclass

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from daemon.config.load import Config
from daemon.leadership.live_start import live_incident, read_stakes
from daemon.leadership.run_marker import tell_of_unclean
from jobs.core.errors import JobError
from jobs.core.job import Notifier
from jobs.store.daemon_runs import DaemonRun
from jobs.store.db import Database


@dataclass(slots=True, kw_only=True)
class LeadNews:
    """Tells once a process of live trading, and at each take-over of who ended badly."""

    config: Config
    run: DaemonRun
    db: Database
    notifier: Notifier
    _is_told: bool = False

    async def tell(self) -> None:
        """Tell what there is to tell. Never raises: leading does not depend on it."""
        try:
            await tell_of_unclean(self.db, self.run, self.notifier)
            if self.config.trading.mode == "live" and not self._is_told:
                stakes = await read_stakes(self.db, self.config)
                await self.notifier.notify(live_incident(self.config, socket.gethostname(), stakes))
                self._is_told = True
        except (JobError, SQLAlchemyError) as exc:
            logger.bind(event="lead.news_untold", error=str(exc)).warning(
                "What a new leader tells cannot be read from the database now"
            )
