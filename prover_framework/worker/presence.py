"""A worker says that it is there, and looks at what operators want of it."""

import asyncio
import logging
from collections.abc import Callable

from attrs import evolve

from prover_framework.jobs.workers import PRESENCE_SECONDS, Orders, Presence, WorkerStore
from prover_framework.logs import Trouble
from prover_framework.model.workers import WorkerState
from prover_framework.worker.loops import is_unforeseen

log = logging.getLogger(__name__)

# A worker that ends waits no longer than this to say so.
LEAVE_SECONDS = 1.0


class PresenceLoop:
    """Says that a worker is there, and has it obey.

    Args:
        store: Where both is written.
        presence: What is said of it.
        in_flight: How many messages it has in flight.
        pause: Has it take no jobs, or take them again.
        stop: Has it end; called when it is to be drained and has nothing in flight.
        stopping: Whether the worker ends.
        order_seconds: How often it looks.
    """

    def __init__(
        self,
        store: WorkerStore,
        presence: Presence,
        in_flight: Callable[[], int],
        pause: Callable[[bool], None],
        stop: Callable[[], None],
        stopping: asyncio.Event,
        order_seconds: float,
    ) -> None:
        self._store = store
        self._presence = presence
        self._in_flight = in_flight
        self._pause = pause
        self._stop = stop
        self._stopping = stopping
        self._order_seconds = order_seconds
        self._trouble = Trouble("being seen", log, first_seconds=1.0)
        self._looked = asyncio.Event()

    async def wait_until_looked(self) -> None:
        """Wait until it is known whether the worker may take jobs: a pause holds for new ones."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self._looked, self._stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def run(self) -> None:
        """Look and say until it is cancelled, also while the worker finishes what it has."""
        loop = asyncio.get_running_loop()
        said_at = -PRESENCE_SECONDS
        while True:
            wait = self._order_seconds
            try:
                presence = self._presence
                self._obey(await self._store.orders(presence.worker, presence.queue))
                due = loop.time() - said_at >= PRESENCE_SECONDS
                if due or self._presence.state is not presence.state:
                    await self._store.say(evolve(self._presence, in_flight=self._in_flight()))
                    said_at = loop.time()
            except Exception as error:
                wait = max(wait, self._trouble.failed(error, stack=is_unforeseen(error)))
            else:
                self._trouble.passed()
                self._looked.set()
            await asyncio.sleep(wait)

    async def leave(self) -> None:
        """Say that the worker has stopped, if the database takes it soon."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._store.forget(self._presence.worker)
        except Exception as error:
            log.warning("worker %s is shown as lost for a while: %s", self._presence.worker, error)

    def _obey(self, orders: Orders) -> None:
        state = WorkerState.RUNNING
        if orders.is_draining or self._stopping.is_set():
            state = WorkerState.DRAINING
        elif orders.is_paused:
            state = WorkerState.PAUSED
        if state is not self._presence.state:
            log.info("worker %s is %s", self._presence.worker, state)
            self._presence = evolve(self._presence, state=state)
            self._pause(state is not WorkerState.RUNNING)
        if orders.is_draining and not self._in_flight():
            self._stop()
