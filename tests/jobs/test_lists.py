"""Lists of groups, by what they are searched for, a page at a time."""

from collections.abc import AsyncIterator, Sequence
from itertools import product
from typing import Any

import attrs
import pytest

from prover_framework.database.database import Database
from prover_framework.errors import RequestError
from prover_framework.jobs.listing import JOBS_A_GROUP, JOBS_OF_GROUPS, GroupListing
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.model.listing import TOP, GroupPage, GroupQuery, parse_query
from prover_framework.model.moments import parse_moment

SIZES = {"a": 1, "b": 3 * JOBS_A_GROUP, "c": 2 * JOBS_A_GROUP + 1, "d": 1}


def group(name: str, jobs: int) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n:02}", f"type{n}", "{}", "default") for n in range(jobs))
    )


def names(page: GroupPage) -> str:
    return "".join(group.job_group_id for group in page.groups)


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[JobStore]:
    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy())
        for name, size in SIZES.items():
            await jobs.submit(group(name, size))
        yield jobs


async def listed(jobs: JobStore, query: GroupQuery, limit: int = 50) -> str:
    """Return the names on all pages."""
    found, query = "", attrs.evolve(query, limit=limit)
    while True:
        page = await jobs.listing.page(query)
        assert len(page.groups) <= limit
        found += names(page)
        if page.next_cursor is None:
            return found
        query = query.from_cursor(page.next_cursor)


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_a_list_has_each_group_once_and_whole_the_newest_first(
    jobs: JobStore, limit: int
) -> None:
    await jobs.mark_sent(["b-00", "d-00"])
    everything = await jobs.listing.page(GroupQuery())
    assert {one.job_group_id: len(one.jobs) for one in everything.groups} == SIZES
    for query, expected in (
        (GroupQuery(), "dcba"),
        (GroupQuery(state=JobState.PENDING), "cba"),
        (GroupQuery(state=JobState.QUEUED), "db"),
        (GroupQuery(state=JobState.FAILED), ""),
        (GroupQuery(proof_type="type5"), "cb"),
        (GroupQuery(proof_type="type5", state=JobState.QUEUED), ""),
        (GroupQuery(proof_type="type0", state=JobState.QUEUED), "db"),
        (GroupQuery(text="B"), "b"),
        (GroupQuery(text="x"), ""),
    ):
        assert await listed(jobs, query, limit) == expected


async def test_a_job_is_found_by_the_code_of_its_error(jobs: JobStore) -> None:
    for job_id, code in (("a-00", "one"), ("c-01", "one"), ("c-02", "other")):
        taken = await jobs.take(job_id, worker="w", lease_seconds=60)
        assert isinstance(taken, Taken)
        await jobs.fail(taken.lease, Failure(code, "why"))
    assert await listed(jobs, GroupQuery(code="one"), 1) == "ca"
    assert await listed(jobs, GroupQuery(code="one", state=JobState.FAILED)) == "ca"
    assert await listed(jobs, GroupQuery(code="one", proof_type="type2")) == ""
    assert await listed(jobs, GroupQuery(code="other", text="c")) == "c"
    assert await listed(jobs, GroupQuery(code="none")) == ""


async def test_times_bound_a_list(jobs: JobStore) -> None:
    created = {one.id: one for name in SIZES for one in await jobs.group(name)}
    since, until = created["b-00"].created_at, created["d-00"].created_at
    inside = "".join(name for name in "dcba" if since <= created[f"{name}-00"].created_at < until)
    for query in (GroupQuery(), GroupQuery(state=JobState.PENDING)):
        assert await listed(jobs, attrs.evolve(query, since_ms=since, until_ms=until)) == inside


async def test_a_page_that_has_looked_at_enough_says_how_far_it_came(jobs: JobStore) -> None:
    jobs.listing = GroupListing(jobs._database, most_looked_at=2)
    page = await jobs.listing.page(GroupQuery(text="a"))
    assert (names(page), page.searched_back_to is None) == ("", False)
    assert page.next_cursor is not None
    for query, expected in (
        (GroupQuery(text="a"), "a"),
        (GroupQuery(state=JobState.PENDING, text="a"), "a"),
        (GroupQuery(state=JobState.PENDING), "dcba"),
        # Its job is below what one look at the jobs of the group sees.
        (GroupQuery(state=JobState.PENDING, proof_type="type0"), "dcba"),
    ):
        assert await listed(jobs, query) == expected


@pytest.fixture
async def many(jobs: JobStore) -> JobStore:
    """Sixty groups more: of every fifth one all jobs have failed, of every twentieth with a gap."""
    for number in range(60):
        name = f"many-{number:02}"
        await jobs.submit(group(name, 1 + number % 5))
        for job in range(1 + number % 5 if number % 5 == 4 else 0):
            taken = await jobs.take(f"{name}-{job:02}", worker="w", lease_seconds=60)
            assert isinstance(taken, Taken)
            await jobs.fail(taken.lease, Failure("gap" if number % 20 == 4 else "other", "why"))
    return jobs


async def test_pages_have_what_a_look_at_everything_finds(many: JobStore) -> None:
    everything = (await many.listing.page(GroupQuery(limit=200))).groups
    assert len(everything) == 60 + len(SIZES)
    queries = (
        GroupQuery(),
        GroupQuery(text="2"),
        GroupQuery(text="a"),
        GroupQuery(proof_type="type4"),
        GroupQuery(proof_type="type9"),
        GroupQuery(state=JobState.FAILED),
        GroupQuery(state=JobState.PENDING, proof_type="type3"),
        GroupQuery(state=JobState.FAILED, proof_type="type4", text="1"),
        GroupQuery(code="gap"),
        GroupQuery(code="gap", state=JobState.FAILED, namespace="default"),
        GroupQuery(code="other", state=JobState.PENDING),
    )
    for query, most, limit in product(queries, (7, 60, 5000), (1, 4, 50)):
        many.listing = GroupListing(many._database, most_looked_at=most)
        expected = [
            one.job_group_id
            for one in everything
            if (query.text or "") in one.job_group_id
            and any(
                query.is_about(
                    state=job.status,
                    code=job.error["code"] if job.error else None,
                    proof_type=job.job_id,
                )
                for job in one.jobs
            )
        ]
        assert await listed(many, query, limit) == "".join(expected), (query, most)


async def test_one_page_has_what_lies_far_below_what_does_not_fit(many: JobStore) -> None:
    page = await many.listing.page(GroupQuery(state=JobState.PENDING, text="y-0", limit=1))
    assert names(page) == "many-08"
    page = await many.listing.page(GroupQuery(state=JobState.PENDING, proof_type="type9", limit=1))
    assert (names(page), page.next_cursor is None) == ("b", True)


async def test_only_the_groups_of_the_page_are_read(
    many: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    fetch = Database.read

    async def noting(self: Database, statement: str, values: Sequence[object] = ()) -> Any:
        rows = await fetch(self, statement, values)
        if statement == JOBS_OF_GROUPS:
            read.extend({row["group_id"] for row in rows})
        return rows

    monkeypatch.setattr(Database, "read", noting)
    for query in (
        GroupQuery(limit=3),
        GroupQuery(limit=3, state=JobState.PENDING),
        # There are twelve.
        GroupQuery(limit=3, state=JobState.FAILED),
        GroupQuery(limit=3, state=JobState.FAILED, text="m"),
    ):
        read.clear()
        assert len((await many.listing.page(query)).groups) == 3
        # One more tells that there is a next page.
        assert len(read) == 4


@pytest.mark.parametrize("most", [1, 9, 13, 21])
async def test_a_page_ends_where_it_would_show_too_many_jobs(jobs: JobStore, most: int) -> None:
    jobs.listing = GroupListing(jobs._database, most_shown=most)
    for query in (GroupQuery(), GroupQuery(state=JobState.PENDING)):
        assert await listed(jobs, query) == "dcba"
    first = await jobs.listing.page(GroupQuery())
    shown = sum(len(one.jobs) for one in first.groups)
    assert (first.next_cursor is None, first.searched_back_to is None) == (False, False)
    # A group that has more by itself is shown alone, since it could not be shown at all.
    assert shown <= most or len(first.groups) == 1


async def test_a_cursor_stays_where_it_is_when_groups_come(jobs: JobStore) -> None:
    query = GroupQuery(limit=2)
    first = await jobs.listing.page(query)
    assert first.next_cursor is not None
    await jobs.submit(group("e", 1))
    # A job that comes to a group that was listed does not have it listed again.
    await jobs.enqueue("c", NewJob("late", "late", "{}", "default"))
    assert names(await jobs.listing.page(query.from_cursor(first.next_cursor))) == "ba"


async def test_a_group_to_which_jobs_came_later_is_listed_once(jobs: JobStore) -> None:
    await jobs.enqueue("a", NewJob("late", "late", "{}", "default"))
    found = await listed(jobs, GroupQuery(state=JobState.PENDING), 1)
    assert sorted(found) == list("abcd")


def test_a_query_goes_through_a_url_and_back() -> None:
    query = parse_query(
        {
            "state": ["failed"],
            "proof_type": ["twap"],
            "code": ["a.b"],
            "text": ["x"],
            "since": ["2024-05-01"],
            "until": ["1714600000"],
            "limit": ["7"],
        }
    )
    assert query.since_ms == 1714521600000
    again = parse_query({name: [text] for name, text in query.parameters().items()})
    assert again == query


def test_what_is_wrong_with_a_query_is_named() -> None:
    with pytest.raises(RequestError) as refused:
        parse_query(
            {
                "state": ["lost"],
                "proof_type": ["1"],
                "code": ["?"],
                "text": ["a b"],
                "since": ["1714600000000"],
                "until": ["soon"],
                "limit": ["0"],
                "x": ["y"],
                "cursor": ["x"],
            }
        )
    told = {problem.where: problem.what for problem in refused.value.problems}
    assert list(told) == [
        *("'x'", "state", "proof_type", "since", "until", "text", "code", "limit", "cursor")
    ]
    assert "plainly in milliseconds" in told["since"]
    other = GroupQuery(text="a")
    page_of_other = other.cursor(TOP)
    with pytest.raises(ValueError, match="with other filters"):
        GroupQuery(text="b").from_cursor(page_of_other)


def test_moments() -> None:
    now = 1_714_600_000_000
    assert parse_moment("24h", now) == now - 86_400_000
    assert parse_moment("2024-05-01T12:00", now) == 1714564800000
    assert parse_moment("2024-05-01T14:00+02:00", now) == 1714564800000
