"""Which workers there are, and what operators want of them: rows that both sides look at."""

from collections.abc import Sequence

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import WorkerNotFound
from prover_framework.model.workers import PauseView, WorkerState, WorkersView, WorkerView
from prover_framework.text import iso_utc

# How often a worker says that it is there.
PRESENCE_SECONDS = 10.0

# A worker that has said nothing for this long is called lost: three times it could not.
LOST_MS = 35_000

# Rows of lost workers are kept for somebody to see.
FORGOTTEN_MS = 3_600_000

# No more than this many are shown.
MOST_SHOWN = 1000

# A worker that is drained stays so.
SAY = """
INSERT INTO worker
    (id, queue, version, plugins, slots, in_flight, state, started_at, seen_at, is_draining)
VALUES (?, ?, ?, ?, ?, ?, ?, NOW_MS, NOW_MS, FALSE)
ON CONFLICT (id) DO UPDATE SET
    seen_at = NOW_MS, in_flight = excluded.in_flight, state = excluded.state
RETURNING is_draining
"""
FORGET = "DELETE FROM worker WHERE id = ? RETURNING id"
FORGET_LOST = "DELETE FROM worker WHERE seen_at < NOW_MS - ? RETURNING id"
ORDERS = """
SELECT (SELECT COUNT(*) FROM paused_queue WHERE name = ?) AS paused,
    (SELECT COUNT(*) FROM worker WHERE id = ? AND is_draining) AS draining
"""
DRAIN = "UPDATE worker SET is_draining = TRUE WHERE id = ? RETURNING id"
WORKERS = """
SELECT id, queue, version, plugins, slots, in_flight, state, started_at, seen_at, is_draining,
    NOW_MS - seen_at AS silent_ms
FROM worker ORDER BY started_at, id LIMIT ?
"""
# What is leased is in the index of leases, and nothing else.
RUNNING = """
SELECT group_id, name, worker FROM job WHERE state = 'running' AND lease_until >= 0
ORDER BY lease_until LIMIT ?
"""
PAUSES = "SELECT name, reason, paused_at FROM paused_queue ORDER BY name LIMIT ?"
PAUSE = """
INSERT INTO paused_queue (name, reason, paused_at) VALUES (?, ?, NOW_MS)
ON CONFLICT (name) DO UPDATE SET reason = excluded.reason
"""
RESUME = "DELETE FROM paused_queue WHERE name = ? RETURNING name"


@frozen(kw_only=True)
class Presence:
    """What a worker says of itself; see `WorkerView`."""

    worker: str
    queue: str
    version: str
    plugins: tuple[str, ...]
    slots: int
    in_flight: int
    state: WorkerState


@frozen
class Orders:
    """What operators want of a worker now."""

    is_paused: bool
    is_draining: bool


class WorkerStore:
    """Reads and writes the rows of workers and of paused queues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def say(self, presence: Presence) -> None:
        """Note that a worker is there, and forget those that have been lost for long."""
        await self._database.write(
            SAY,
            [
                presence.worker,
                presence.queue,
                presence.version,
                ",".join(presence.plugins),
                presence.slots,
                presence.in_flight,
                presence.state.value,
            ],
        )
        await self._database.write(FORGET_LOST, [FORGOTTEN_MS])

    async def forget(self, worker: str) -> None:
        """Note that a worker has stopped."""
        await self._database.write(FORGET, [worker])

    async def orders(self, worker: str, queue: str) -> Orders:
        """Return what operators want of a worker."""
        (row,) = await self._database.read(ORDERS, [queue, worker])
        return Orders(is_paused=bool(row["paused"]), is_draining=bool(row["draining"]))

    async def drain(self, worker: str) -> None:
        """Have a worker finish what it has, and end.

        Raises:
            WorkerNotFound: There is none of this name.
        """
        if not await self._database.write(DRAIN, [worker]):
            raise WorkerNotFound(f'there is no worker {worker!r}; "prover workers" lists them')

    async def pause(self, queue: str, reason: str = "") -> None:
        """Have no worker take jobs of a queue, until it is resumed."""
        await self._database.write(PAUSE, [queue, reason])

    async def resume(self, queue: str) -> bool:
        """Have workers take jobs of a queue again; return whether it was paused."""
        return bool(await self._database.write(RESUME, [queue]))

    async def all(self) -> WorkersView:
        """Return all workers with what they compute, and the queues that are paused."""
        running = await self._database.read(RUNNING, [MOST_SHOWN])
        return WorkersView(
            workers=tuple(
                _worker(row, running) for row in await self._database.read(WORKERS, [MOST_SHOWN])
            ),
            paused=tuple(
                PauseView(
                    queue=row["name"], reason=row["reason"], paused_at=iso_utc(row["paused_at"])
                )
                for row in await self._database.read(PAUSES, [MOST_SHOWN])
            ),
        )


def _worker(row: Row, running: Sequence[Row]) -> WorkerView:
    status = WorkerState(row["state"])
    if row["silent_ms"] > LOST_MS:
        status = WorkerState.LOST
    elif row["is_draining"]:
        status = WorkerState.DRAINING
    return WorkerView(
        worker=row["id"],
        queue=row["queue"],
        status=status,
        version=row["version"],
        plugins=tuple(name for name in row["plugins"].split(",") if name),
        slots=row["slots"],
        in_flight=row["in_flight"],
        started_at=iso_utc(row["started_at"]),
        seen_at=iso_utc(row["seen_at"]),
        jobs=tuple(
            f"{job['group_id']} {job['name']}" for job in running if job["worker"] == row["id"]
        ),
    )
