"""Signs of life: they extend the leases of jobs and the visibility of their messages together.

The heartbeat has a task and, where the database has more than one, a connection of its own. It
shares nothing with computations.
"""

import asyncio
import logging
from collections.abc import Callable

from attrs import define

from prover_framework.errors import ProverError
from prover_framework.jobs.store import JobStore
from prover_framework.logs import Trouble
from prover_framework.worker.intake import Claim, Intake
from prover_framework.worker.loops import is_unforeseen

log = logging.getLogger(__name__)

# Three chances to be heard before a lease expires.
HEARTBEATS_PER_LEASE = 3

# A sign of life that was not heard is followed by the next one after this part of a lease. A call
# to the database has a quarter of a lease: so there is time for both before the lease expires.
PAUSE_PART = 30


@define(eq=False)
class Held:
    """A job that signs of life are given for.

    Args:
        claim: The job, with its lease.
        on_lost: Called when the lease is found to be lost; the heartbeat holds the job no longer.
    """

    claim: Claim
    on_lost: Callable[[], None]


class Heartbeat:
    """Holds jobs for as long as they are executed.

    Args:
        jobs: Where the leases are.
        intake: What keeps their messages from other workers.
        lease_seconds: How long a lease lasts from each heartbeat on, and its message is invisible.
        trouble_seconds: How long a failure stands in the log before the next one does.
    """

    def __init__(
        self, jobs: JobStore, intake: Intake, *, lease_seconds: float, trouble_seconds: float
    ) -> None:
        self._jobs = jobs
        self._intake = intake
        self._lease_seconds = lease_seconds
        self._held: set[Held] = set()
        # A beat must not make a message invisible again that the end of its job has just released.
        self._beating = asyncio.Lock()
        self._trouble = Trouble("a heartbeat", log, first_seconds=trouble_seconds)

    def hold(self, held: Held) -> None:
        """Hold a job from now on."""
        self._held.add(held)

    async def let_go(self, held: Held) -> None:
        """Hold a job no longer. A beat that is under way is over when this returns."""
        async with self._beating:
            self._held.discard(held)

    async def run(self) -> None:
        """Give signs of life until the task is cancelled."""
        was_heard = True
        while True:
            await asyncio.sleep(pause_seconds(self._lease_seconds, was_heard=was_heard))
            try:
                await self.beat()
            except Exception as error:
                # Without heartbeats every job of this worker would be lost.
                self._trouble.failed(error, stack=is_unforeseen(error))
                was_heard = False
            else:
                self._trouble.passed()
                was_heard = True

    async def beat(self) -> None:
        """Give one sign of life for all that is held.

        Raises:
            StoreError: The database did not hear it.
        """
        async with self._beating:
            await self._beat()

    async def _beat(self) -> None:
        if not (held := list(self._held)):
            return
        lost = await self._jobs.extend(
            [one.claim.lease for one in held], lease_seconds=self._lease_seconds
        )
        for one in held:
            if one.claim.lease in lost:
                # Cancelled, or taken over: the computation is of no more use.
                self._held.discard(one)
                one.on_lost()
        try:
            await self._intake.keep(
                [one.claim for one in held if one.claim.lease not in lost], self._lease_seconds
            )
        except (ProverError, OSError) as error:
            # They come back, to be refused while the leases last.
            log.error("messages could not be kept invisible for longer: %s", error)


def pause_seconds(lease_seconds: float, *, was_heard: bool) -> float:
    """Return how long to wait between two heartbeats.

    Args:
        lease_seconds: How long a lease lasts.
        was_heard: Whether the one before has extended the leases.
    """
    return lease_seconds / (HEARTBEATS_PER_LEASE if was_heard else PAUSE_PART)
