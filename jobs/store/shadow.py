"""How the paper twin and the live account differ: what both made of the same signals."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from psycopg.rows import class_row

from jobs.store.db import Database

COMPARE: Final = """
WITH both_ended AS (
    SELECT id, status, shadow_status FROM signals
    WHERE created_at >= %(since)s AND shadow_status IS NOT NULL AND action <> 'hold'
), counted AS (
    SELECT count(*) AS signals,
           count(*) FILTER (WHERE status = shadow_status) AS same,
           count(*) FILTER (WHERE status = 'executed') AS live_executed,
           count(*) FILTER (WHERE shadow_status = 'executed') AS twin_executed
    FROM both_ended
), paid AS (
    SELECT avg((live.executed_funds / live.executed_volume)
               / (twin.executed_funds / twin.executed_volume) - 1)
           * 10000 * CASE live.side WHEN 'bid' THEN 1 ELSE -1 END AS worse_bps, count(*) AS pairs
    FROM both_ended
    JOIN orders AS live ON live.signal_id = both_ended.id AND live.mode = 'live'
    JOIN orders AS twin ON twin.signal_id = both_ended.id AND twin.mode = 'paper'
    WHERE live.executed_volume > 0 AND twin.executed_volume > 0
    GROUP BY live.side
), cost AS (
    SELECT sum(worse_bps * pairs) / nullif(sum(pairs), 0) AS worse_bps,
           coalesce(sum(pairs), 0) AS pairs
    FROM paid
)
SELECT counted.*, cost.worse_bps, cost.pairs::bigint AS pairs,
       (SELECT pnl_krw FROM equity WHERE mode = 'live' ORDER BY ts DESC LIMIT 1)
       - coalesce((SELECT pnl_krw FROM equity WHERE mode = 'live' AND ts < %(since)s
                   ORDER BY ts DESC LIMIT 1), 0) AS live_pnl_krw,
       (SELECT pnl_krw FROM equity WHERE mode = 'paper' ORDER BY ts DESC LIMIT 1)
       - coalesce((SELECT pnl_krw FROM equity WHERE mode = 'paper' AND ts < %(since)s
                   ORDER BY ts DESC LIMIT 1), 0) AS twin_pnl_krw
FROM counted CROSS JOIN cost
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What live and twin made of the buy and sell signals since an instant.

    `same` counts the ends that agree. `worse_bps` is how much worse live paid than its twin on the
    `pairs` of orders that both filled, on average, in hundredths of a per cent (negative: better);
    None without any. Profits are of the same time, None where nothing was written.
    """

    signals: int
    same: int
    live_executed: int
    twin_executed: int
    pairs: int
    worse_bps: Decimal | None
    live_pnl_krw: Decimal | None
    twin_pnl_krw: Decimal | None


async def difference(db: Database, since: datetime) -> Difference | None:
    """How they differ since then; None when no signal had a twin's end."""
    async with (
        db.connection() as connection,
        connection.cursor(row_factory=class_row(Difference)) as cursor,
    ):
        await cursor.execute(COMPARE.encode(), {"since": since})
        found = await cursor.fetchone()
    return found if found is not None and found.signals else None
