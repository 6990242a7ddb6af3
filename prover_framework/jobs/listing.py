"""Lists of groups, the newest first, a page at a time.

An index gives positions in the order of the list; what it does not know is looked up for as many
of them as one page may. So each statement ends soon, however few groups fit and however many there
are.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.model.jobs import JobState, group_state
from prover_framework.model.listing import (
    TOP,
    GroupPage,
    GroupQuery,
    ListedGroup,
    ListedJob,
    Position,
)
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.model.proofs import split_job_id
from prover_framework.text import iso_utc

# How many positions a page looks through: some milliseconds.
MOST_LOOKED_AT = 5_000

# How many jobs a page shows, of its first group all: some ten milliseconds, and 400 KB. Groups of
# three reach it at no limit that a page has.
MOST_SHOWN = 1_000

# Of the jobs of a group, how many are expected to fit: a group stands in an index once for each.
JOBS_A_GROUP = 4

# How many times as far each look at positions goes as the one before it.
FARTHER = 5

FIELDS = (
    *("group_id", "name", "state", "attempts", "queue", "worker", "method_version"),
    *("created_at", "queued_at", "started_at", "finished_at", "error_code", "error_message"),
)
JOBS_OF_GROUPS = f"SELECT {', '.join(FIELDS)} FROM job WHERE group_id = ANY(?) ORDER BY id"

SIZES = """
SELECT id, created_at, (SELECT COUNT(*) FROM job WHERE group_id = job_group.id) AS jobs
FROM job_group WHERE id = ANY(?)
"""

# One of the same type, with whatever label.
OF_TYPE = "(name = ? OR SUBSTR(name, 1, ?) = ?)"

WITH_TEXT = "REPLACE(LOWER(group_id), ?, '') <> LOWER(group_id)"


@frozen
class _Look:
    """Statements that give positions, from the newest below one on, and their values.

    Args:
        place: The columns of a position.
        columns: These, and those that the filters need.
        positions: Where an index has them, in the order of the list.
        values: Its values.
        filters: Conditions on these; empty where all fit.
        filter_values: Their values.
    """

    place: str
    columns: str
    positions: str
    values: list[object]
    filters: str
    filter_values: list[object]

    @property
    def matching(self) -> str:
        """The positions that fit, of as many as are looked at."""
        return (
            "SELECT created_at, group_id "
            f"FROM (SELECT {self.columns} {self.positions} LIMIT ?) AS looked "
            f"WHERE {self.filters or 'TRUE'} ORDER BY created_at DESC, group_id DESC LIMIT ?"
        )

    @property
    def last(self) -> str:
        """The position behind so many others."""
        return f"SELECT {self.place} {self.positions} LIMIT 1 OFFSET ?"


@frozen
class _Stretch:
    """A part of the list.

    Args:
        positions: Those in it whose groups may fit, the newest first.
        end: Where it ends.
        left: How many positions may still be looked at.
        is_last: Whether there is nothing below it.
    """

    positions: Sequence[Position]
    end: Position
    left: int
    is_last: bool = False


@frozen
class _Size:
    """When a group was created, in milliseconds since the Unix epoch, and how many jobs it has."""

    created_at: int
    jobs: int


class GroupListing:
    """Reads lists of groups.

    Args:
        database: Where jobs are.
        most_looked_at: How many positions a page looks through.
        most_shown: How many jobs it shows, if its first group has no more.
    """

    def __init__(
        self,
        database: Database,
        *,
        most_looked_at: int = MOST_LOOKED_AT,
        most_shown: int = MOST_SHOWN,
    ) -> None:
        self._database = database
        self._most = most_looked_at
        self._most_shown = most_shown

    async def page(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for.

        A group whose jobs come to fit while somebody reads page after page may be in none of them.

        Raises:
            StoreError: The database cannot be used.
        """
        groups: list[ListedGroup] = []
        below, left, shown = query.after or TOP, self._most, 0
        if query.until_ms is not None and query.until_ms < below.created_at:
            below = Position(query.until_ms, "")
        while left > 0:
            wanted = query.limit - len(groups) + 1
            stretch = await self._stretch(query, below, wanted, left)
            sizes = await self._sizes(stretch.positions)
            some = _shown_of(
                stretch.positions, sizes, self._most_shown - shown, is_first=not groups
            )
            for position, group in await self._groups(query, some, sizes):
                if len(groups) == query.limit:
                    return GroupPage(groups=tuple(groups), next_cursor=query.cursor(below))
                groups.append(group)
                shown += len(group.jobs)
                below = position
            if len(some) < len(stretch.positions):
                below = some[-1] if some else below
                break
            if stretch.is_last:
                return GroupPage(groups=tuple(groups), next_cursor=None)
            below, left = stretch.end, stretch.left
        return GroupPage(
            groups=tuple(groups),
            next_cursor=query.cursor(below),
            searched_back_to=iso_utc(below.created_at),
        )

    async def _stretch(
        self, query: GroupQuery, below: Position, wanted: int, left: int
    ) -> "_Stretch":
        """Return positions of as many groups as are wanted, or as there are.

        Most filters let many positions through, and some hardly any: each look goes farther than
        the one before it.

        Args:
            query: What is asked for.
            below: Where to begin.
            wanted: How many groups.
            left: How many positions may be looked at.
        """
        found: list[Position] = []
        looked = wanted * (JOBS_A_GROUP if _by_jobs(query) else 1)
        while True:
            look = _look(query, below)
            looked = min(looked, left)
            most = min(looked, wanted * JOBS_A_GROUP)
            rows = await self._database.read(
                look.matching, [*look.values, looked, *look.filter_values, most]
            )
            found += [Position(row["created_at"], row["group_id"]) for row in rows]
            left -= looked
            is_last = False
            if len(rows) < most:
                end = await self._end(look, looked) if look.filters else None
                if end is None:
                    is_last = True
                else:
                    # Of its group more jobs may lie below it.
                    wanted += end not in found[-1:]
                    found.append(end)
            positions = list(dict.fromkeys(found))
            if len(positions) > wanted:
                # What is not read now is looked at again.
                left += len(positions) - wanted
                return _Stretch(positions[:wanted], positions[wanted - 1], left)
            below = found[-1] if found else below
            if is_last or left == 0 or len(positions) == wanted:
                return _Stretch(positions, below, left, is_last)
            looked *= FARTHER

    async def _end(self, look: "_Look", looked: int) -> Position | None:
        """Return the last of as many positions as are looked at; None where there are fewer."""
        for row in await self._database.read(look.last, [*look.values, looked - 1]):
            return Position(row["created_at"], row["group_id"])
        return None

    async def _sizes(self, positions: Sequence[Position]) -> "dict[str, _Size]":
        """Return what is known of the groups at some positions before they are read."""
        if not positions:
            return {}
        rows = await self._database.read(SIZES, [[position.group_id for position in positions]])
        return {row["id"]: _Size(row["created_at"], int(row["jobs"])) for row in rows}

    async def _groups(
        self, query: GroupQuery, positions: Sequence[Position], sizes: Mapping[str, _Size]
    ) -> list[tuple[Position, ListedGroup]]:
        """Return the groups at some positions, each at that of its newest job that fits."""
        ids = list(dict.fromkeys(position.group_id for position in positions))
        if not ids:
            return []
        jobs: dict[str, list[Row]] = {id_: [] for id_ in ids}
        for row in await self._database.read(JOBS_OF_GROUPS, [ids]):
            jobs[row["group_id"]].append(row)
        found: list[tuple[Position, ListedGroup]] = []
        for position in positions:
            members = jobs[position.group_id]
            if not members or position.group_id not in sizes:
                continue
            created_at = sizes[position.group_id].created_at
            if _newest(query, members, created_at) == position:
                found.append((position, _listed(members, created_at)))
        return found


def _shown_of(
    positions: Sequence[Position], sizes: Mapping[str, _Size], most: int, *, is_first: bool
) -> Sequence[Position]:
    """Return the first positions whose groups have no more jobs than may be shown.

    Args:
        positions: In the order of the list.
        sizes: Of their groups.
        most: How many jobs may be shown.
        is_first: Whether the first of them is there whatever it has: else nothing below it could
            ever be.
    """
    # A group may be at several positions, and is read once.
    unread = {id_: size.jobs for id_, size in sizes.items()}
    for place, position in enumerate(positions):
        most -= unread.pop(position.group_id, 0)
        if most < 0 and not (is_first and place == 0):
            return positions[:place]
    return positions


def _by_jobs(query: GroupQuery) -> bool:
    """Tell whether an index of jobs leads to the groups, and not one of groups."""
    return query.state is not None or query.code is not None


def _look(query: GroupQuery, below: Position) -> _Look:
    """Choose the index that leads to the fewest positions, and filter the rest."""
    where: list[str] = []
    values: list[object] = []
    filters: list[str] = []
    filter_values: list[object] = []
    if query.code is not None:
        where.append("error_code = ?")
        values.append(query.code)
        if query.state is not None:
            filters.append("state = ?")
            filter_values.append(query.state.value)
    elif query.state is not None:
        where.append("state = ?")
        values.append(query.state.value)
    if query.namespace is not None:
        # The index of error codes has all namespaces; the others begin with it.
        (where if query.code is None else filters).append("namespace = ?")
        (values if query.code is None else filter_values).append(query.namespace)
    if query.text is not None:
        filters.append(WITH_TEXT)
        filter_values.append(query.text.lower())
    if query.proof_type is not None:
        label = f"{query.proof_type}@"
        of_type = OF_TYPE
        if not _by_jobs(query):
            # Not EXISTS, of which a server makes a join with all jobs.
            of_type = (
                "(SELECT name FROM job WHERE job.group_id = looked.group_id"
                f" AND {OF_TYPE} LIMIT 1) IS NOT NULL"
            )
        filters.append(of_type)
        filter_values += [query.proof_type, len(label), label]
    group = "group_id" if _by_jobs(query) else "id"
    where.append(f"(created_at, {group}) < (?, ?)")
    values += [below.created_at, below.group_id]
    if query.since_ms is not None:
        where.append("created_at >= ?")
        values.append(query.since_ms)
    needed = {
        "name": query.proof_type if _by_jobs(query) else None,
        "state": query.code and query.state,
        "namespace": query.code and query.namespace,
    }
    # What the index has is read without a look at the rows.
    more = [name for name, wanted in needed.items() if wanted is not None]
    table = "job" if _by_jobs(query) else "job_group"
    place = f"created_at, {group} AS group_id"
    return _Look(
        place=place,
        columns=", ".join([place, *more]),
        positions=(
            f"FROM {table} WHERE {' AND '.join(where)} ORDER BY created_at DESC, {group} DESC"
        ),
        values=values,
        filters=" AND ".join(filters),
        filter_values=filter_values,
    )


def _newest(query: GroupQuery, jobs: Sequence[Row], group_created_at: int) -> Position | None:
    """Return where a group stands in a list; None where it does not."""
    times = [row["created_at"] for row in jobs if _fits(query, row)]
    group_id = group_id_of(jobs[0]["group_id"])
    if not times or (query.text and query.text.lower() not in group_id.lower()):
        return None
    if _by_jobs(query):
        times = [at for at in times if query.until_ms is None or at < query.until_ms]
        return Position(max(times), jobs[0]["group_id"]) if times else None
    return Position(group_created_at, jobs[0]["group_id"])


def _fits(query: GroupQuery, job: Row) -> bool:
    return query.is_about(
        state=job["state"], code=job["error_code"], proof_type=split_job_id(job["name"])[0]
    )


def _listed(jobs: Sequence[Row], created_at: int) -> ListedGroup:
    return ListedGroup(
        job_group_id=group_id_of(jobs[0]["group_id"]),
        namespace=namespace_of(jobs[0]["group_id"]),
        status=group_state([JobState(job["state"]) for job in jobs]),
        created_at=iso_utc(created_at),
        jobs=tuple(map(_listed_job, jobs)),
    )


def _listed_job(job: Row) -> ListedJob:
    error = None
    if job["error_code"] is not None:
        error = {"code": job["error_code"], "message": job["error_message"] or ""}
    return ListedJob(
        job_id=job["name"],
        status=JobState(job["state"]),
        attempts=job["attempts"],
        queue=job["queue"],
        worker=job["worker"],
        method_version=job["method_version"],
        created_at=iso_utc(job["created_at"]),
        queued_at=_iso(job["queued_at"]),
        started_at=_iso(job["started_at"]),
        finished_at=_iso(job["finished_at"]),
        error=error,
    )


def _iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso_utc(milliseconds)
