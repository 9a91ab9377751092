"""The tables [jobs.*]: when each job is due and how long it may take; and what every table is."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from daemon.config.types import Duration, Offset, parse_cron
from daemon.redaction import mask_address

DURATION = 'a duration above zero such as "500ms", "5s", "10m" or "1h"'


class Section(BaseModel):
    """One table of config.toml: frozen, strict, without unknown keys."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False
    )

    def __repr_args__(self) -> Any:
        """The fields with the passwords inside addresses masked."""
        for name, value in super().__repr_args__():
            yield name, mask_address(value) if isinstance(value, str) else value


class JobConfig(Section):
    """When a job is due: `every` from midnight plus `offset`, or `cron`; never both.

    `misfire` and `overlap` are what becomes of a slot that comes late, or while the job is busy
    (jobs/core/job.py).
    """

    every: Annotated[Duration | None, Field(description=DURATION)] = None
    cron: Annotated[
        str | None,
        Field(description='five fields such as "*/5 9-15 * * mon-fri"'),
    ] = None
    deadline: Annotated[Duration, Field(description=DURATION)] = timedelta(minutes=1)
    enabled: Annotated[bool, Field(description="true or false")] = True
    offset: Annotated[Offset, Field(description=DURATION)] = timedelta(0)
    misfire: Annotated[Literal["newest", "skip"], Field(description='"newest" or "skip"')] = (
        "newest"
    )
    overlap: Annotated[Literal["skip", "queue"], Field(description='"skip" or "queue"')] = "skip"

    @field_validator("cron")
    @classmethod
    def _cron_is_possible(cls, value: str | None) -> str | None:
        return None if value is None else parse_cron(value)

    @model_validator(mode="before")
    @classmethod
    def _cron_replaces_the_default(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("cron") is not None and "every" not in data:
            return {**data, "every": None}
        return data

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise ValueError("cron: stands beside every; give one of the two")
        if self.every is None and self.cron is None:
            raise ValueError("every: is missing; give every or cron")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("every: must be 1s or longer")
        if self.every is not None and self.offset >= self.every:
            raise ValueError(f"offset: must be shorter than every ({self.every})")
        return self


def _every(**parts: float) -> Any:
    return Field(default=timedelta(**parts), description=DURATION)


class MarketJobConfig(JobConfig):
    """[jobs.market]"""

    every: Duration | None = _every(minutes=1)
    offset: Offset = _every(seconds=2)
    deadline: Duration = _every(seconds=50)
    candle_units: Annotated[
        tuple[Literal[1, 3, 5, 10, 15, 30, 60, 240], ...],
        Field(strict=False, min_length=1, description="a list of 1, 3, 5, 10, 15, 30, 60, 240"),
    ] = (1,)
    history: Annotated[Duration, Field(description=DURATION)] = timedelta(hours=24)
    days: Annotated[int, Field(ge=0, le=200, description="a whole number from 0 to 200")] = 200


class SignalsJobConfig(JobConfig):
    """[jobs.signals]"""

    every: Duration | None = _every(minutes=5)
    offset: Offset = _every(seconds=5)
    deadline: Duration = _every(minutes=3)
    misfire: Literal["newest", "skip"] = Field(default="skip", description='"newest" or "skip"')


class OrdersJobConfig(JobConfig):
    """[jobs.orders]"""

    every: Duration | None = _every(seconds=10)
    deadline: Duration = _every(seconds=60)


class UpkeepJobConfig(JobConfig):
    """[jobs.upkeep]"""

    every: Duration | None = _every(hours=1)
    deadline: Duration = _every(minutes=10)


class JobsConfig(Section):
    """[jobs]"""

    market: MarketJobConfig = MarketJobConfig()
    signals: SignalsJobConfig = SignalsJobConfig()
    orders: OrdersJobConfig = OrdersJobConfig()
    upkeep: UpkeepJobConfig = UpkeepJobConfig()
