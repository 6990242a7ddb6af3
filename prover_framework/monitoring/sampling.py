"""What the database and the queues hold now, in numbers that every process sees alike.

Only what has not ended is counted one by one, by indexes that hold nothing else; so a look costs
the same after a year as on the first day.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import evolve, field, frozen

from prover_framework.chain.store import HeaderStore, RecentHeaders
from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import QueueError, StoreError
from prover_framework.jobs.outbox import Outbox, Undelivered
from prover_framework.jobs.seal_sql import OPEN_SEALS
from prover_framework.jobs.sql import OPEN_JOBS
from prover_framework.model.jobs import NOT_CAPABLE, JobState
from prover_framework.model.proofs import split_job_id
from prover_framework.model.seals import SealState
from prover_framework.queues.base import QueueStatus

# How long a sample is shown to who asks again: several scrapers cost no more than one.
KEEP_SECONDS = 5.0


@frozen
class OpenJobs:
    """Jobs of a proof type that have not ended and are in one state.

    Args:
        proof_type: Name of the proof type.
        state: The state.
        count: How many.
        oldest_at: When the oldest was accepted, in milliseconds since the Unix epoch.
        losses: How often workers of theirs were lost, in all.
        not_capable: How many of them no worker was able to do that saw them.
    """

    proof_type: str
    state: JobState
    count: int
    oldest_at: int
    losses: int
    not_capable: int


@frozen
class OpenSeals:
    """Seals of a kind that are to be made yet and are in one state.

    Args:
        kind: The kind.
        state: The state.
        count: How many.
        oldest_at: When the oldest was asked for, in milliseconds since the Unix epoch.
    """

    kind: str
    state: SealState
    count: int
    oldest_at: int


@frozen(kw_only=True)
class Sample:
    """What there is at a moment.

    Args:
        at: Unix seconds by the database's clock; None while the database does not answer.
        jobs: Jobs that have not ended.
        undelivered: Events that plugins have still to be told, or that have no number yet.
        seals: Seals that are to be made yet.
        headers: The headers of the newest week; None where there are none.
        queues: The queues by name; None for one that does not answer.
        problems: Why database or queues do not answer, by what they are.
    """

    at: float | None = None
    jobs: tuple[OpenJobs, ...] = ()
    undelivered: tuple[Undelivered, ...] = ()
    seals: tuple[OpenSeals, ...] = ()
    headers: RecentHeaders | None = None
    queues: Mapping[str, QueueStatus | None] = field(factory=dict)
    problems: Mapping[str, str] = field(factory=dict)


class Sampler:
    """Takes samples, at most one in some seconds.

    Args:
        database: Where jobs are.
        headers: The headers.
        queue_status: Tells how full a queue is.
        queue_names: The names of the queues.
        keep_seconds: How long a sample is good for.
    """

    def __init__(
        self,
        database: Database,
        headers: HeaderStore,
        queue_status: Callable[[str], Awaitable[QueueStatus]],
        queue_names: Sequence[str],
        *,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._database = database
        self._outbox = Outbox(database)
        self._headers = headers
        self._queue_status = queue_status
        self._queue_names = tuple(queue_names)
        self._keep_seconds = keep_seconds
        self._lock = asyncio.Lock()
        self._last = Sample()
        self._taken_at: float | None = None

    async def sample(self) -> Sample:
        """Return a sample that is a few seconds old at the most. It never raises for a server."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._taken_at is None or now >= self._taken_at + self._keep_seconds:
                self._last = await self._take()
                self._taken_at = asyncio.get_running_loop().time()
            return self._last

    async def _take(self) -> Sample:
        problems: dict[str, str] = {}
        queues: dict[str, QueueStatus | None] = {}
        for name in self._queue_names:
            try:
                queues[name] = await self._queue_status(name)
            except (QueueError, StoreError, OSError) as error:
                queues[name] = None
                problems["queue"] = str(error)
        sample = Sample(queues=queues, problems=problems)
        try:
            return evolve(
                sample,
                at=await self._database.now_ms() / 1000,
                jobs=await self._open_jobs(),
                undelivered=await self._outbox.undelivered(),
                seals=await self._open_seals(),
                headers=await self._headers.recent(),
            )
        except StoreError as error:
            return evolve(sample, problems={**problems, "database": str(error)})

    async def _open_seals(self) -> tuple[OpenSeals, ...]:
        return tuple(
            OpenSeals(row["kind"], SealState(row["state"]), row["count"], row["oldest"])
            for row in await self._database.read(OPEN_SEALS)
        )

    async def _open_jobs(self) -> tuple[OpenJobs, ...]:
        by_kind: dict[tuple[str, JobState], list[Row]] = {}
        for row in await self._database.read(OPEN_JOBS):
            kind = split_job_id(row["name"])[0], JobState(row["state"])
            by_kind.setdefault(kind, []).append(row)
        return tuple(
            OpenJobs(
                proof_type,
                state,
                count=sum(row["count"] for row in same),
                oldest_at=min(row["oldest"] for row in same),
                losses=sum(int(row["losses"]) for row in same),
                not_capable=sum(row["count"] for row in same if row["error_code"] == NOT_CAPABLE),
            )
            for (proof_type, state), same in sorted(by_kind.items())
        )
