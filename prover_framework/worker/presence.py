"""A worker says that it is there, and looks at what operators want of it."""

import asyncio
import logging
from collections.abc import Callable

from attrs import evolve

from prover_framework.jobs.workers import PRESENCE_SECONDS, Orders, Presence, WorkerStore
from prover_framework.logs import Trouble
from prover_framework.model.workers import WorkerState
from prover_framework.worker.loops import is_unforeseen, rest

log = logging.getLogger(__name__)

# How soon a worker obeys: it reads one row this often.
LOOK_SECONDS = 1.0


class PresenceLoop:
    """Says that a worker is there, and has it obey.

    Args:
        store: Where both is written.
        presence: What is said of it.
        in_flight: How many messages it has in flight.
        pause: Has it take no jobs, or take them again.
        stop: Has it end; called when it is to be drained and has nothing in flight.
        stopping: Ends the loop.
    """

    def __init__(
        self,
        store: WorkerStore,
        presence: Presence,
        in_flight: Callable[[], int],
        pause: Callable[[bool], None],
        stop: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        self._store = store
        self._presence = presence
        self._in_flight = in_flight
        self._pause = pause
        self._stop = stop
        self._stopping = stopping
        self._trouble = Trouble("being seen", log, first_seconds=LOOK_SECONDS)

    async def run(self) -> None:
        """Look and say until the worker stops, then say that, too."""
        loop = asyncio.get_running_loop()
        said_at = -PRESENCE_SECONDS
        try:
            while not self._stopping.is_set():
                wait = LOOK_SECONDS
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
                await rest(self._stopping, wait)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        try:
            await self._store.forget(self._presence.worker)
        except Exception as error:
            log.warning("worker %s is shown as lost for a while: %s", self._presence.worker, error)

    def _obey(self, orders: Orders) -> None:
        state = WorkerState.RUNNING
        if orders.is_draining:
            state = WorkerState.DRAINING
        elif orders.is_paused:
            state = WorkerState.PAUSED
        if state is not self._presence.state:
            log.info("worker %s is %s", self._presence.worker, state)
            self._presence = evolve(self._presence, state=state)
            self._pause(state is not WorkerState.RUNNING)
        if orders.is_draining and not self._in_flight():
            self._stop()
