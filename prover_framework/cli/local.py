"""What commands do in this process: with the database alone, or with all of the service."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from prover_framework.cli.common import stored_key
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.database.opening import open_database
from prover_framework.jobs.feed import EventFeed, Interest
from prover_framework.jobs.reading import GroupReader
from prover_framework.jobs.store import JobStore
from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.callers import Caller
from prover_framework.model.charts import GroupCharts
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.names import DEFAULT_NAMESPACE, group_id_of
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.views import GroupView
from prover_framework.model.workers import WorkersView
from prover_framework.operations import OfferedType
from prover_framework.receipts.documents import dump_receipt
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.settings import Settings
from prover_framework.verification.checks import Report

if TYPE_CHECKING:
    from prover_framework.app import Runtime

# How often a command that waits looks at the database. It is the only listener of its feed.
LOOK_SECONDS = 0.2


class LocalReading:
    """See `prover_framework.operations.Reading`; a database is all that it needs.

    Args:
        settings: Those of the service.
        database: Its database.
        reader: Reads it.
        namespace: Of the groups; None for the usual one, and for all in lists.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reader: GroupReader,
        namespace: str | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.reader = reader
        self.namespace = namespace

    def key(self, group_id: str) -> str:
        """Return what a group is stored under.

        Raises:
            GroupNotFound: No group can have this id.
        """
        return stored_key(self.namespace, group_id)

    async def status(self, group_id: str, *, verbose: bool = False) -> GroupView:
        """Return a group with its jobs; with ``verbose`` all that is stored of them."""
        if verbose:
            return await self.reader.verbose_status(self.key(group_id))
        return await self.reader.status(self.key(group_id))

    async def changes(self, group_id: str) -> AsyncGenerator[None]:
        """Say, until it is closed, that something of a group may have changed; `status` says what.

        Raises:
            StoreError: The database cannot be read.
        """
        key = frozenset({self.key(group_id)})
        feed = EventFeed(self.database, poll_seconds=LOOK_SECONDS)
        try:
            async with feed.listen(Interest(groups=key, follows=key)) as news:
                async for _ in news:
                    yield
        finally:
            await feed.close()

    async def find(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for."""
        return await self.reader.find(attrs.evolve(query, namespace=self.namespace))

    async def workers(self) -> WorkersView:
        """Return all workers, and the queues that are paused."""
        return await self.reader.workers.all()

    async def pause(self, queue: str, reason: str = "") -> None:
        """Have no worker take jobs of a queue."""
        self.settings.require_queue(queue)
        await self.reader.workers.pause(queue, reason)

    async def resume(self, queue: str) -> bool:
        """Have workers take jobs of a queue again; return whether it was paused."""
        return await self.reader.workers.resume(queue)

    async def drain(self, worker: str) -> None:
        """Have a worker finish what it has, and end."""
        await self.reader.workers.drain(worker)


class LocalOperations(LocalReading):
    """See `prover_framework.operations.Operations`; what is in this process does it.

    Args:
        runtime: The service.
        namespace: Of the groups; None for the usual one, and for all in lists.
    """

    def __init__(self, runtime: "Runtime", namespace: str | None = None) -> None:
        super().__init__(runtime.settings, runtime.database, runtime.service, namespace)
        self.runtime = runtime

    async def submit(self, body: bytes, *, priority: int = USUAL_PRIORITY) -> Accepted:
        """Submit a group, as the body of ``POST /api/job``; the same body again does no harm."""
        service = self.runtime.service
        caller = Caller(namespace=self.namespace or DEFAULT_NAMESPACE)
        acceptance = await service.submit(service.parse(body), caller, priority=priority)
        return Accepted(
            group_id_of(acceptance.group_id),
            tuple(f"{title}: {reason}" for title, reason in acceptance.unsent),
        )

    async def charts(self, group_id: str) -> GroupCharts:
        """Return what illustrates the results of a group, as their plugins describe it."""
        return await self.runtime.charts.document(self.key(group_id))

    async def act(
        self,
        action: Action,
        group_id: str,
        job_id: str | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> ActionReport:
        """Act on a group, or on one of its jobs."""
        return await self.runtime.service.actions.on_group(
            action, self.key(group_id), job_id, dry_run=dry_run, force=force
        )

    async def act_on_found(
        self, action: Action, query: GroupQuery, *, dry_run: bool = False, force: bool = False
    ) -> ActionReport:
        """Act on a page of what a query finds."""
        return await self.runtime.service.actions.on_found(
            action,
            attrs.evolve(query, namespace=self.namespace),
            dry_run=dry_run,
            force=force,
        )

    async def receipt(self, group_id: str, job_id: str | None = None) -> bytes:
        """Return the receipt of a group or of one of its jobs, as JSON."""
        receipts = self.runtime.receipts
        if job_id is not None:
            return dump_receipt(await receipts.of_proof(self.key(group_id), job_id))
        return dump_receipt(await receipts.of_group(self.key(group_id)))

    async def attachment(self, group_id: str, job_id: str, name: str) -> AsyncIterator[bytes]:
        """Read what is attached to a result, a piece at a time."""
        found = await self.runtime.receipts.attachment(self.key(group_id), job_id, name)
        async for chunk in found.chunks:
            yield chunk

    async def verify(self, receipt: bytes, trusted_hash: str | None = None) -> Report:
        """Verify a receipt with what the service has."""
        answer = await self.runtime.verification.verify(receipt, trusted_hash)
        return structure(parse_json(answer), Report)

    async def proof_types(self) -> tuple[OfferedType, ...]:
        """Return the proof types that can be asked for."""
        return tuple(
            OfferedType(
                name=one.name, title=one.title, required=one.required, parameters=one.parameters
            )
            for one in self.runtime.service.catalogue().proof_types
        )


@asynccontextmanager
async def open_local_reading(
    chosen: Settings, namespace: str | None = None
) -> AsyncIterator[LocalReading]:
    """Open the database of the settings alone."""
    async with open_database(chosen, Bounds.below(chosen.lease_seconds)) as database:
        reader = GroupReader(JobStore(database, RetryPolicy()))
        yield LocalReading(chosen, database, reader, namespace)
