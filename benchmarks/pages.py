"""How fast the pages are, and what those who look cost those who compute.

A database with a hundred thousand ended groups, an API, a worker, and fifty open pages that hear of
every change and load anew as a browser's do. The same jobs are computed with and without them, in
turns; each page is asked for meanwhile.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Self

from attrs import frozen
from bench_plugins import NOOP_PLUGIN, install_plugin
from checkouts import this
from grown_database import grow
from processes import api, process
from report import Table, shown
from stand import Engine, Place, Stand
from waiting import answer_that

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.serialization.json_text import dump_json

GROUPS = 100_000
JOBS_A_GROUP = 3

# A page loads anew a second after it has heard of a change, and not before the last has come.
OPEN_PAGES = 50
RELOAD_SECONDS = 1.0

# Most look at the list, which hears of all groups; some at one group that has not ended.
OPEN_LISTS = 40

# A turn has to last for some reloads of each page.
JOBS_A_TURN = 1500
TURNS = 3

# Until a worker has obeyed a pause.
OBEYED_SECONDS = 3.0

# Until the worker is up and has computed what is looked at.
SEEN_SECONDS = 60.0

DAYS = 30
END = 1_704_067_200
RANGE = {"start_timestamp": END - DAYS * 86_400, "end_timestamp": END}
LATER = {"start_timestamp": END, "end_timestamp": END + 86_400}

PAGES = (
    "/",
    "/?state=failed",
    "/?text=old-5000",
    "/groups/old-1000",
    "/groups/seen",
    "/groups/seen/charts/twap/base_fee",
    "/groups/seen/charts/twap/base_fee.svg",
    "/submit",
    "/headers",
    "/queues",
    "/plugins",
    "/access",
    "/reference",
)

# The service has calls of half a second to ten; filling the database takes longer.
FILL_SECONDS = 900.0

EVENTS = re.compile(rb'data-events="([^"]+)"')


@frozen
class Turn:
    """What one turn came to: jobs a second, and how long each page took, in seconds."""

    rate: float
    waits: dict[str, list[float]]


def looked_at(stand: Stand) -> Iterator[Table]:
    """Measure pages and jobs, alone and beside open pages."""
    plugin = install_plugin(stand.folder("site"), "noop", NOOP_PLUGIN)
    place = stand.place(this(), Engine.SQLITE).given(
        {**plugin, "PROVER_PLUGINS": "noop,twap", "PROVER_REQUIRED": "none"}
    )
    asyncio.run(_fill(place))
    place.run(["headers", "simulate", "--days", str(DAYS), "--end", str(END)])
    with (
        api(place.checkout, place.environment) as (_, port),
        process(place.checkout, ["worker"], place.environment),
    ):
        alone, beside = asyncio.run(_measure(place, port))
    rate, beside_pages = (median(turn.rate for turn in turns) for turns in (alone, beside))
    note = (
        f"Medians, while a worker computes: {shown(rate)} no-op jobs a second alone, "
        f"{shown(beside_pages)} beside them, {100 * (1 - beside_pages / rate):.1f} % fewer."
    )
    yield Table(
        f"Pages over {GROUPS:,} ended groups, alone and beside {OPEN_PAGES} open pages",
        ("page", "ms alone", "ms beside them"),
        [(page, _median_ms(alone, page), _median_ms(beside, page)) for page in PAGES],
        [note],
    )


def _median_ms(turns: Sequence[Turn], page: str) -> str:
    return shown(1000 * median(wait for turn in turns for wait in turn.waits[page]))


async def _fill(place: Place) -> None:
    async with Database(place.database, bounds=Bounds(FILL_SECONDS)) as database:
        await grow(database, jobs=GROUPS * JOBS_A_GROUP)


async def _measure(place: Place, port: int) -> tuple[list[Turn], list[Turn]]:
    async with Database(place.database) as database:
        jobs = JobStore(database, RetryPolicy(), by_messages=False)
        twap = "twap", "default"
        for name, parameters in (("seen", RANGE), ("waiting", LATER)):
            text = dump_json(dict(parameters))
            await jobs.submit(NewGroup(name, (NewJob(name, twap[0], text, twap[1]),)))
        await answer_that(
            lambda seen: seen[0].receipt is not None,
            lambda: jobs.group("seen"),
            seconds=SEEN_SECONDS,
        )
        alone: list[Turn] = []
        beside: list[Turn] = []
        for number in range(TURNS):
            alone.append(await _turn(database, jobs, port, f"a{number}"))
            async with _open_pages(port):
                beside.append(await _turn(database, jobs, port, f"b{number}"))
        return alone, beside


async def _turn(database: Database, jobs: JobStore, port: int, prefix: str) -> Turn:
    """Have jobs computed, and ask for each page meanwhile."""
    await jobs.workers.pause("default")
    await asyncio.sleep(OBEYED_SECONDS)
    parameters = dump_json(dict(RANGE))
    names = [f"{prefix}-{number:06}" for number in range(JOBS_A_TURN)]
    await asyncio.gather(
        *(
            jobs.submit(NewGroup(name, (NewJob(name, "noop", parameters, "default"),)))
            for name in names
        )
    )
    await jobs.workers.resume("default")
    waits: dict[str, list[float]] = {page: [] for page in PAGES}
    rate = None
    async with _Browser(port) as browser:
        while rate is None:
            for page in PAGES:
                began = time.perf_counter()
                await browser.get(page)
                waits[page].append(time.perf_counter() - began)
            rate = await _rate(database, prefix)
    return Turn(rate, waits)


async def _rate(database: Database, prefix: str) -> float | None:
    """Return how many jobs of a turn ended in a second; None while they do."""
    (row,) = await database.read(
        "SELECT COUNT(finished_at) AS done, MIN(started_at) AS began, MAX(finished_at) AS ended "
        "FROM job WHERE group_id > ? AND group_id < ?",
        [f"{prefix}-", f"{prefix}-~"],
    )
    if row["done"] < JOBS_A_TURN:
        return None
    seconds: float = (row["ended"] - row["began"]) / 1000
    return JOBS_A_TURN / seconds


@asynccontextmanager
async def _open_pages(port: int) -> AsyncIterator[None]:
    shown = ["/"] * OPEN_LISTS + ["/groups/waiting"] * (OPEN_PAGES - OPEN_LISTS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_look(port, page)) for page in shown]
        yield
        for task in tasks:
            task.cancel()


async def _look(port: int, page: str) -> None:
    """Do what the module of a page does: listen, and load the page anew."""
    changed = asyncio.Event()
    async with _Browser(port) as browser:
        match = EVENTS.search(await browser.get(page))
        if match is None:
            raise RuntimeError(f"{page} is not live")
        address = match[1].decode().replace("&amp;", "&")
        async with asyncio.TaskGroup() as group:
            group.create_task(_listen(port, address, changed))
            while True:
                await changed.wait()
                await asyncio.sleep(RELOAD_SECONDS)
                changed.clear()
                await browser.get(page)


async def _listen(port: int, address: str, changed: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(address))
        while line := await reader.readline():
            if line.startswith(b"event:"):
                changed.set()
    finally:
        writer.close()
    raise RuntimeError(f"the stream {address} has ended")


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class _Browser:
    """A connection that is kept: as little work as may be, for both share the machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def get(self, path: str) -> bytes:
        """Return the body of an answer."""
        self._writer.write(_request(path))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {head[:40]!r}")
        return body
