"""One worker: a database and a sandbox of its own, its share of the matrix, a line for each cell.

python -m proof.worker DSN '{"shard": 0, "of": 2, "every": 1, ...}'
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from loguru import logger
from proof.cells import SCENARIOS, Answer, Scenario
from proof.lives import Cell, Theatre
from proof.servers import connect
from proof.venue import Control, sandbox

ACCOUNTS_PER_SANDBOX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which cells: of every pair of scenario and answer whose number is `shard` modulo `of`, the
    undisturbed life and every `every`th failpoint; `only` names answers."""

    shard: int = 0
    of: int = 1
    every: int = 1
    only: Sequence[str] = ()
    paths: Sequence[str] = ()
    is_careless: bool = False

    def pairs(self) -> Iterator[tuple[int, Scenario, Answer]]:
        """The pairs of this share, numbered over the whole matrix, dealt in an order that mixes
        the slow with the quick."""
        pairs = [(scenario, answer) for scenario in SCENARIOS for answer in scenario.answers]
        random.Random(0).shuffle(pairs)  # noqa: S311 - a deck of cards
        for number, (scenario, answer) in enumerate(pairs):
            wanted = (not self.only or answer.name in self.only) and (
                not self.paths or scenario.path in self.paths
            )
            if wanted and number % self.of == self.shard:
                yield number, scenario, answer


class Venues:
    """A sandbox that is exchanged for a new one before its accounts become too many."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._left = 0
        self._control: Control | None = None

    def next(self) -> Control:
        """The sandbox for one more account."""
        if not self._left or self._control is None:
            self.close()
            self._control = self._stack.enter_context(sandbox())
            self._left = ACCOUNTS_PER_SANDBOX
        self._left -= 1
        return self._control

    def close(self) -> None:
        """End the present one."""
        self._stack.close()


def play(theatre: Theatre, venues: Venues, share: Share) -> None:
    """Play every cell of the share; a pair's failpoints are those its undisturbed life meets."""

    def played(cell: Cell) -> list[str]:
        theatre.control = venues.next()
        verdict, reached = theatre.play(cell)
        print(json.dumps(asdict(verdict)), flush=True)
        return reached

    for number, scenario, answer in share.pairs():
        whole = Cell(scenario=scenario, answer=answer, is_careless=share.is_careless)
        for failpoint in played(whole)[number % share.every :: share.every]:
            played(
                Cell(
                    scenario=scenario,
                    answer=answer,
                    failpoint=failpoint,
                    is_careless=share.is_careless,
                )
            )


def main(dsn: str, share: Share) -> None:
    """Play the share."""
    logger.remove()
    venues = Venues()
    with asyncio.Runner() as runner:
        db = connect(dsn)
        theatre = Theatre(db=db, control=venues.next(), run=runner.run)
        play(theatre, venues, share)
        runner.run(db.engine.dispose())
    venues.close()


if __name__ == "__main__":
    main(sys.argv[1], Share(**json.loads(sys.argv[2])))
