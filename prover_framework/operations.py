"""What can be done with a service, whether it is in this process or at a URL."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from attrs import frozen

from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.charts import GroupCharts
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.views import GroupView
from prover_framework.model.workers import WorkersView
from prover_framework.serialization.json_text import Json
from prover_framework.verification.checks import Report


@frozen(kw_only=True)
class OfferedType:
    """A proof type that a service offers.

    Args:
        name: The key in requests, messages and results.
        title: What messages to people call it.
        required: Whether each job group must ask for it.
        parameters: JSON Schema of its parameters.
    """

    name: str
    title: str
    required: bool
    parameters: Json

    @property
    def properties(self) -> dict[str, dict[str, Json]]:
        """The JSON Schemas of its parameters, by name."""
        schemas = self.parameters.get("properties") if isinstance(self.parameters, dict) else None
        found = schemas.items() if isinstance(schemas, dict) else ()
        return {name: schema for name, schema in found if isinstance(schema, dict)}


class Reading(Protocol):
    """What needs only what is stored. Every method raises a `ProverError` that says what to do."""

    async def status(self, group_id: str, *, verbose: bool = False) -> GroupView:
        """Return a group with its jobs; with ``verbose`` all that is stored of them."""
        ...

    def changes(self, group_id: str) -> AsyncGenerator[None]:
        """Say, until it is closed, that something of a group may have changed; `status` says what.

        It does not end by itself, and whatever keeps it from knowing better counts as a change.
        """
        ...

    async def find(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for."""
        ...

    async def workers(self) -> WorkersView:
        """Return all workers, and the queues that are paused."""
        ...

    async def pause(self, queue: str, reason: str = "") -> None:
        """Have no worker take jobs of a queue."""
        ...

    async def resume(self, queue: str) -> bool:
        """Have workers take jobs of a queue again; return whether it was paused."""
        ...

    async def drain(self, worker: str) -> None:
        """Have a worker finish what it has, and end."""
        ...


class Operations(Reading, Protocol):
    """What submits, looks and acts."""

    async def submit(self, body: bytes, *, priority: int = USUAL_PRIORITY) -> Accepted:
        """Submit a group, as the body of ``POST /api/job``; the same body again does no harm.

        Of the groups that wait, those of the highest ``priority`` come first.
        """
        ...

    async def charts(self, group_id: str) -> GroupCharts:
        """Return what illustrates the results of a group, as their plugins describe it."""
        ...

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
        ...

    async def act_on_found(
        self, action: Action, query: GroupQuery, *, dry_run: bool = False, force: bool = False
    ) -> ActionReport:
        """Act on a page of what a query finds."""
        ...

    async def receipt(self, group_id: str, job_id: str | None = None) -> bytes:
        """Return the receipt of a group or of one of its jobs, as JSON."""
        ...

    def attachment(self, group_id: str, job_id: str, name: str) -> AsyncIterator[bytes]:
        """Read what is attached to a result, a piece at a time."""
        ...

    async def verify(self, receipt: bytes, trusted_hash: str | None = None) -> Report:
        """Verify a receipt with what the service has."""
        ...

    async def proof_types(self) -> tuple[OfferedType, ...]:
        """Return the proof types that can be asked for."""
        ...
