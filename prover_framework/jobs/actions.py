"""What operators do with groups: one job, a group, or all that a filter finds."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from attrs import field, frozen

from prover_framework.errors import GroupNotFound, Problem, RequestError
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.removal import Removal
from prover_framework.jobs.store import JobStore
from prover_framework.model.actions import Action, ActionReport, GroupAction, LeftOut
from prover_framework.model.jobs import CANCELLABLE, FINAL, REDRIVABLE, JobState
from prover_framework.model.listing import GroupQuery
from prover_framework.model.names import group_id_of, group_key
from prover_framework.plugins.registry import Plugins
from prover_framework.text import quote

# Errors after which the same method comes to the same from the same parameters. Headers may come
# after all for a series that was incomplete.
HOPELESS = frozenset(
    {
        *("proof_impossible", "empty_range", "range_too_short", "kind_without_seed"),
        *("no_exact_form", "bad_parameters", "result_invalid"),
    }
)

DEPENDENCY_FAILED = "dependency_failed"


@frozen
class _Plan:
    jobs: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = field(factory=tuple)


class Actions:
    """Acts on groups, or says what it would do.

    Args:
        jobs: Where they are.
        removal: What removes them.
        send: Sends messages of jobs and returns the reasons of those that were not, by job id.
        plugins: What is installed: with another version than it failed under a job may succeed.
    """

    def __init__(
        self,
        jobs: JobStore,
        removal: Removal,
        send: Callable[[Sequence[StoredJob]], Awaitable[Mapping[str, str]]],
        plugins: Plugins,
    ) -> None:
        self._jobs = jobs
        self._removal = removal
        self._send = send
        self._versions = {
            name: proof_type.version for name, proof_type in plugins.proof_types.items()
        }

    async def on_group(
        self,
        action: Action,
        group_id: str,
        job_id: str | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> ActionReport:
        """Act on a group, or on one of its jobs.

        Args:
            action: What to do.
            group_id: The group.
            job_id: The job, by its id in the group; None for all.
            dry_run: Only say what would be done.
            force: Try again also what cannot succeed.

        Raises:
            GroupNotFound: There is no such group.
            RequestError: It has no such job, or jobs of it cannot be removed alone.
        """
        jobs = await self._jobs.group(group_id)
        names = {job.name for job in jobs}
        if job_id is not None and job_id not in names:
            known = ", ".join(sorted(names))
            raise RequestError([Problem("job_id", f"must be one of {known}; got {quote(job_id)}")])
        if job_id is not None and action is Action.DELETE:
            raise RequestError(
                [Problem("job_id", "a job is removed with its group alone, whose receipt names it")]
            )
        wanted = names if job_id is None else {job_id}
        done = await self._act(action, jobs, wanted, dry_run=dry_run, force=force)
        return ActionReport(action=action, dry_run=dry_run, groups=(done,))

    async def on_found(
        self, action: Action, query: GroupQuery, *, dry_run: bool = False, force: bool = False
    ) -> ActionReport:
        """Act on a page of the groups that a query finds, on those jobs that it is about.

        Raises:
            RequestError: The query has no filter: everything is not meant by accident.
        """
        if not query.has_filters:
            raise RequestError(
                [Problem("", "at least one filter is needed: state, proof_type, code, since, …")]
            )
        page = await self._jobs.listing.page(query)
        done: list[GroupAction] = []
        for listed in page.groups:
            try:
                jobs = await self._jobs.group(group_key(listed.namespace, listed.job_group_id))
            except GroupNotFound:
                continue
            # Groups are removed as a whole.
            wanted = {job.name for job in jobs if action is Action.DELETE or _fits(query, job)}
            if wanted:
                done.append(await self._act(action, jobs, wanted, dry_run=dry_run, force=force))
        return ActionReport(
            action=action, dry_run=dry_run, groups=tuple(done), next_cursor=page.next_cursor
        )

    async def _act(
        self,
        action: Action,
        jobs: Sequence[StoredJob],
        wanted: Collection[str],
        *,
        dry_run: bool,
        force: bool,
    ) -> GroupAction:
        group_id = jobs[0].group_id
        members = [job for job in jobs if job.name in wanted]
        unsent: tuple[str, ...] = ()
        match action:
            case Action.CANCEL:
                plan = _planned(members, CANCELLABLE, "has ended")
                if plan.jobs and not dry_run:
                    await self._jobs.cancel(group_id, plan.jobs)
            case Action.REDRIVE:
                plan = await self._redrivable(jobs, members, force=force)
                if plan.jobs and not dry_run:
                    unsent = await self._redrive(group_id, plan.jobs)
            case Action.DELETE:
                plan = _planned(members, FINAL, "has not ended: cancel it first")
                if plan.left_out:
                    plan = _Plan((), plan.left_out)
                elif not dry_run and group_id not in await self._removal.remove([group_id]):
                    why = "a seal of the group is still to be made, or a job goes on again"
                    plan = _Plan((), tuple(LeftOut(name, why) for name in plan.jobs))
        return GroupAction(
            job_group_id=group_id_of(group_id),
            jobs=plan.jobs,
            left_out=plan.left_out,
            unsent=unsent,
        )

    async def _redrive(self, group_id: str, names: Sequence[str]) -> tuple[str, ...]:
        after = await self._jobs.redrive(group_id, names)
        pending = [job for job in after if job.state is JobState.PENDING]
        failures = await self._send(pending)
        return tuple(f"{job.name}: {failures[job.id]}" for job in pending if job.id in failures)

    async def _redrivable(
        self, jobs: Sequence[StoredJob], members: Sequence[StoredJob], *, force: bool
    ) -> _Plan:
        plan = _planned(members, REDRIVABLE, "can be tried again only when failed or cancelled")
        if force:
            return plan
        reasons = {one.job_id: one.reason for one in plan.left_out}
        by_name = {job.name: job for job in jobs}
        for name in plan.jobs:
            if reason := self._hopeless(by_name[name]):
                reasons[name] = reason
        tried = [name for name in plan.jobs if name not in reasons]
        # One that is left out may leave out others that rest on it.
        edges = await self._jobs.rests_on([by_name[name].id for name in tried])
        by_id = {job.id: job for job in jobs}
        while True:
            lost = {
                name: base
                for name in tried
                for base_id in edges.get(by_name[name].id, ())
                if (base := by_id.get(base_id)) is not None
                and base.state in (JobState.FAILED, JobState.CANCELLED)
                and base.name not in tried
            }
            if not lost:
                break
            for name, base in lost.items():
                reasons[name] = (
                    f"it rests on {base.name}, which is {base.state} and not tried again"
                )
            tried = [name for name in tried if name not in reasons]
        return _Plan(
            tuple(tried),
            tuple(LeftOut(job.name, reasons[job.name]) for job in members if job.name in reasons),
        )

    def _hopeless(self, job: StoredJob) -> str | None:
        """Say why a job cannot succeed; None where it may."""
        if job.state is not JobState.FAILED or job.error_code is None:
            return None
        installed = self._versions.get(job.proof_type)
        if installed is None or job.method_version != installed:
            # Another version may come to something else.
            return None
        if job.error_code in HOPELESS:
            return f"no retry can help ({job.error_code}): {job.error_message}"
        return None


def _planned(jobs: Sequence[StoredJob], states: Collection[JobState], why: str) -> _Plan:
    return _Plan(
        tuple(job.name for job in jobs if job.state in states),
        tuple(
            LeftOut(job.name, f"is {job.state}: {why}") for job in jobs if job.state not in states
        ),
    )


def _fits(query: GroupQuery, job: StoredJob) -> bool:
    return query.is_about(state=job.state, code=job.error_code, proof_type=job.proof_type)
