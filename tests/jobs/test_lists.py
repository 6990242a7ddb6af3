"""Lists of the newest groups, all or those with a job in a state."""

from prover_framework.database.database import Database
from prover_framework.jobs.store import JOBS_A_GROUP, JobStore, NewGroup, NewJob, StoredJob
from prover_framework.model.jobs import JobState, RetryPolicy


def group(name: str, jobs: int) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n:02}", f"type{n}", "{}", "default") for n in range(jobs))
    )


def names(found: list[tuple[StoredJob, ...]]) -> list[str]:
    return [jobs[0].group_id for jobs in found]


async def test_a_list_by_state_has_each_group_once_and_whole_the_newest_first(
    database_url: str,
) -> None:
    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy())
        sizes = {"a": 1, "b": 3 * JOBS_A_GROUP, "c": 2 * JOBS_A_GROUP + 1, "d": 1}
        for name, size in sizes.items():
            await jobs.submit(group(name, size))
        await jobs.mark_sent(["b-00", "d-00"])
        pending = await jobs.groups(state=JobState.PENDING)
        assert names(pending) == ["c", "b", "a"]
        assert [len(members) for members in pending] == [sizes[name] for name in "cba"]
        assert names(await jobs.groups(state=JobState.QUEUED)) == ["d", "b"]
        assert names(await jobs.groups(state=JobState.PENDING, limit=2)) == ["c", "b"]
        assert names(await jobs.groups(state=JobState.FAILED)) == []
        assert names(await jobs.groups(limit=3)) == ["d", "c", "b"]
