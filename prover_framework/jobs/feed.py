"""What happens, as it happens, for any number of listeners: one look at the database for all.

Events that are stored (`prover_framework.jobs.outbox`) have numbers: whoever comes back with the
last one that he had is told all that he has missed. Beside them listeners to some groups are told
how the jobs of these stand, at first and whenever that changes; that has no number, for what it was
in between is of no interest afterwards.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from attrs import field, frozen

from prover_framework.database.database import Database
from prover_framework.errors import FeedBusy, StoreError
from prover_framework.jobs.outbox import Event, EventKind, Outbox
from prover_framework.jobs.sql import NEWEST_GROUP, STATES_OF_GROUPS
from prover_framework.logs import Trouble
from prover_framework.model.jobs import JobState, group_state
from prover_framework.model.names import namespace_of

log = logging.getLogger(__name__)

# How often the database is looked at while somebody listens: people do not see a second.
POLL_SECONDS = 1.0

# Each listener is an open connection, of which the API has a thousand.
MAX_LISTENERS = 200

# Groups that one listener can follow: those of a page.
MAX_FOLLOWED = 50

# Groups that are looked at without a break, with up to 64 jobs each: some milliseconds. All that
# listeners may follow together would be a hundred times as many.
LOOKED_AT_ONCE = 20

# How much longer it rests than a look takes.
REST_FACTOR = 4

# What a listener has not read yet. One that is further behind comes back for the rest.
MAX_BEHIND = 1000

# Events that are read at once.
READ_AT_ONCE = 200


@frozen(kw_only=True)
class JobStanding:
    """How a job stands.

    Args:
        job_id: Its id in the group.
        status: Its state.
        attempts: Computations begun so far.
        fraction: How far the computation said that it was; None where none did.
    """

    job_id: str
    status: JobState
    attempts: int
    fraction: float | None


@frozen(kw_only=True)
class GroupStanding:
    """How the jobs of a group stand; none of them where there is no such group."""

    group_id: str
    jobs: tuple[JobStanding, ...]

    @property
    def status(self) -> JobState | None:
        """The state of the group; None where there is none."""
        return group_state([job.status for job in self.jobs]) if self.jobs else None


@frozen
class Accepted:
    """A group is the newest that there is."""

    group_id: str


News = Event | GroupStanding | Accepted


@frozen(kw_only=True)
class Interest:
    """What a listener wants to be told of.

    Args:
        groups: Stored events of these groups only; of all where there are none.
        kinds: Stored events of these kinds only; of all where there are none.
        follows: Groups of which he is told how their jobs stand.
        arrivals: Whether he is told of new groups.
        namespace: Stored events and new groups of it only; of all where it is None.
    """

    groups: frozenset[str] = frozenset()
    kinds: frozenset[EventKind] = frozenset()
    follows: frozenset[str] = frozenset()
    arrivals: bool = False
    namespace: str | None = None

    def may_see(self, group_id: str) -> bool:
        """Whether a group is of the namespace."""
        return self.namespace in (None, namespace_of(group_id))

    def wants(self, event: Event) -> bool:
        """Whether a stored event is of interest."""
        return (
            self.may_see(event.group_id)
            and (not self.groups or event.group_id in self.groups)
            and (not self.kinds or event.kind in self.kinds)
        )


@frozen(eq=False)
class _Listener:
    interest: Interest
    queue: "asyncio.Queue[News | None]" = field(factory=lambda: asyncio.Queue(MAX_BEHIND + 1))

    def tell(self, news: News | None) -> None:
        """Put news into the queue; where it is full, end it behind what is in it."""
        if self.queue.full():
            return
        self.queue.put_nowait(None if self.queue.qsize() == MAX_BEHIND else news)


class EventFeed:
    """Tells listeners what happens. It looks at the database only while there are some.

    Args:
        database: Where jobs and events are.
        poll_seconds: How often it looks.
        max_listeners: How many there may be.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_seconds: float = POLL_SECONDS,
        max_listeners: int = MAX_LISTENERS,
    ) -> None:
        self._database = database
        self._outbox = Outbox(database)
        self._poll_seconds = poll_seconds
        self._max_listeners = max_listeners
        self._listeners: set[_Listener] = set()
        self._number = 0
        self._standings: dict[str, GroupStanding] = {}
        self._newest: str | None = None
        self._polling: asyncio.Task[None] | None = None
        self._begun = asyncio.Lock()
        self._closed = False
        self._trouble = Trouble("looking for events", log, first_seconds=poll_seconds)

    async def close(self) -> None:
        """End all listening."""
        self._closed = True
        for listener in self._listeners:
            listener.tell(None)
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})

    @asynccontextmanager
    async def listen(
        self, interest: Interest, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[News]]:
        """Listen for as long as the body takes.

        The news end when the feed closes, or when the listener is too far behind; whoever comes
        back with the number of the last event misses none.

        Args:
            interest: What of.
            after: The number of the last event that is known; None to begin now.

        Raises:
            FeedBusy: As many listen as may.
            StoreError: The database cannot be read.
        """
        if self._closed or len(self._listeners) >= self._max_listeners:
            raise FeedBusy(self._max_listeners)
        listener = _Listener(interest)
        self._listeners.add(listener)
        try:
            begin = await self._begin()
            yield self._news(listener, begin if after is None else min(after, begin), begin)
        finally:
            self._listeners.discard(listener)

    async def _begin(self) -> int:
        """Look at the database from now on; return the number of the last event told so far."""
        async with self._begun:
            if self._polling is None or self._polling.done():
                self._number = await self._outbox.last_number()
                self._standings.clear()
                self._newest = None
                self._polling = asyncio.create_task(self._poll())
            return self._number

    async def _news(self, listener: _Listener, after: int, begin: int) -> AsyncIterator[News]:
        """Yield what was missed, how things stand, and then what comes."""
        while after < begin:
            missed = await self._outbox.events_after(after, READ_AT_ONCE)
            for event in missed:
                if event.number <= begin and listener.interest.wants(event):
                    yield event
            after = missed[-1].number if missed else begin
        known = dict(await self._look_at(listener.interest.follows))
        for standing in known.values():
            yield standing
        while (news := await listener.queue.get()) is not None:
            if isinstance(news, GroupStanding):
                if known.get(news.group_id) == news:
                    continue
                known[news.group_id] = news
            yield news

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listeners:
            wait, began = self._poll_seconds, loop.time()
            try:
                await self.look()
            except StoreError as error:
                wait = max(wait, self._trouble.failed(error))
            else:
                self._trouble.passed()
                # However much is followed, most of the time is for others.
                wait = max(wait, REST_FACTOR * (loop.time() - began))
            await asyncio.sleep(wait)

    async def look(self) -> None:
        """Look at the database once, and tell what is new; it is done by itself as time goes.

        Raises:
            StoreError: The database cannot be read.
        """
        events = await self._outbox.events_after(self._number, READ_AT_ONCE)
        for event in events:
            self._number = event.number
            for listener in self._listeners:
                if listener.interest.wants(event):
                    listener.tell(event)
        followed = {group for each in self._listeners for group in each.interest.follows}
        self._standings = {
            group: standing for group, standing in self._standings.items() if group in followed
        }
        for group, standing in (await self._look_at(followed)).items():
            if self._standings.get(group) != standing:
                self._standings[group] = standing
                for listener in self._listeners:
                    if group in listener.interest.follows:
                        listener.tell(standing)
        if any(each.interest.arrivals for each in self._listeners):
            rows = await self._database.read(NEWEST_GROUP)
            newest = str(rows[0]["id"]) if rows else None
            if newest is not None and self._newest not in (None, newest):
                for listener in self._listeners:
                    if listener.interest.arrivals and listener.interest.may_see(newest):
                        listener.tell(Accepted(newest))
            self._newest = newest or ""

    async def _look_at(self, groups: Collection[str]) -> Mapping[str, GroupStanding]:
        found: dict[str, GroupStanding] = {}
        wanted = sorted(groups)
        for start in range(0, len(wanted), LOOKED_AT_ONCE):
            found |= await self._look_at_some(wanted[start : start + LOOKED_AT_ONCE])
        return found

    async def _look_at_some(self, groups: Sequence[str]) -> Mapping[str, GroupStanding]:
        found: dict[str, list[JobStanding]] = {group: [] for group in groups}
        for row in await self._database.read(STATES_OF_GROUPS, [list(found)]):
            done = row["progress_millionths"]
            running = row["state"] == JobState.RUNNING
            found[row["group_id"]].append(
                JobStanding(
                    job_id=row["name"],
                    status=JobState(row["state"]),
                    attempts=row["attempts"],
                    fraction=done / 1_000_000 if running and done is not None else None,
                )
            )
        return {
            group: GroupStanding(group_id=group, jobs=tuple(jobs)) for group, jobs in found.items()
        }


async def wait_for_end(
    feed: EventFeed, group_id: str, seconds: float, look: Callable[[], Awaitable[bool]]
) -> None:
    """Wait until a group has ended, or the time is over.

    Args:
        feed: Tells of it.
        group_id: The group.
        seconds: How long to wait at the most.
        look: Tells whether it has ended already.

    Raises:
        FeedBusy: As many listen as may.
        StoreError: The database cannot be read.
    """
    interest = Interest(groups=frozenset({group_id}), follows=frozenset({group_id}))
    try:
        async with asyncio.timeout(seconds), feed.listen(interest) as news:
            if await look():
                return
            async for each in news:
                if isinstance(each, GroupStanding) and await look():
                    return
    except TimeoutError:
        pass
