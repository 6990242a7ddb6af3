"""What is stored of groups, for those who only look. It takes no plugin."""

from collections.abc import Sequence

from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.views import StatusText, status_text, verbose_view, view
from prover_framework.jobs.workers import WorkerStore
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.views import GroupView, VerboseGroupView


class GroupReader:
    """Tells what became of groups, and what is known of workers.

    A ``group_id`` that a method takes is the group's key, as
    `prover_framework.model.names.group_key` makes it.

    Args:
        jobs: Where jobs are.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    @property
    def workers(self) -> WorkerStore:
        """What is known of workers, and of queues that are paused."""
        return self._jobs.workers

    async def status(self, group_id: str) -> GroupView:
        """Return a group with its jobs.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._view(await self._jobs.group(group_id))

    async def status_text(self, group_id: str) -> StatusText:
        """Return the same as JSON text, as it is answered to whoever asks again and again.

        Raises:
            GroupNotFound: There is no such group.
        """
        jobs = await self._jobs.group(group_id)
        return status_text(jobs, await self._jobs.seals.of_group(group_id))

    async def verbose_status(self, group_id: str) -> VerboseGroupView:
        """Return a group with its jobs, and the attempts at these.

        Raises:
            GroupNotFound: There is no such group.
        """
        jobs = await self._jobs.group(group_id)
        attempts = await self._jobs.attempts.of_group(group_id)
        return verbose_view(jobs, attempts, await self._jobs.seals.of_group(group_id))

    async def find(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for, the newest first."""
        return await self._jobs.listing.page(query)

    async def _view(self, jobs: Sequence[StoredJob]) -> GroupView:
        return view(jobs, await self._jobs.seals.of_group(jobs[0].group_id))
