"""What a process of the service does, timed inside of one: run by each checkout's interpreter.

Modules have moved since the baseline and calls are the same; each is looked for where it is now,
then where it was. Prints one object of JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from importlib import import_module
from itertools import islice
from statistics import median
from typing import Any

CALLS = 7
READS = 3


def main() -> None:
    """Run the measure that is named, with its arguments."""
    name, *arguments = sys.argv[1:]
    print(json.dumps(asyncio.run(MEASURES[name](*arguments))))


def found(name: str, *modules: str) -> Any:
    """Return what the first module holds that there is and has it."""
    for module in modules:
        try:
            return getattr(import_module(f"prover_framework.{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"none of {', '.join(modules)} has {name}")


DATABASE = ("database.database", "store.database")
JOBS = ("jobs.store", "store.jobs")
HEADERS = ("chain.store", "store.headers")
SIMULATED = ("chain.sources.simulated", "chain.simulated")


async def calls(url: str) -> dict[str, float]:
    """Return the median milliseconds of what runs again and again over a database."""
    async with found("Database", *DATABASE)(url) as database:
        policy = found("RetryPolicy", "model.jobs", "jobs")()
        jobs = found("JobStore", *JOBS)(database, policy)
        return {
            "sweep": await _median_ms(lambda: jobs.sweep(100)),
            "waking": await _median_ms(jobs.wake_waiting),
            "failed": await _median_ms(lambda: _failed(jobs)),
        }


async def _failed(jobs: Any) -> object:
    state = found("JobState", "model.jobs", "jobs").FAILED
    try:
        query = found("GroupQuery", "model.listing")(state=state)
    except ImportError:
        return await jobs.groups(state=state)
    return await jobs.listing.page(query)


async def _median_ms(call: Callable[[], Awaitable[object]]) -> float:
    await call()
    return median([await _ms(call) for _ in range(CALLS)])


async def _ms(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


async def series(url: str, begin: str, end: str) -> dict[str, float]:
    """Return the longest of the first reads of a series on a new connection, and the median."""
    wanted = found("TimeRange", "model.series", "model")(int(begin), int(end))
    async with found("Database", *DATABASE)(url) as database:
        store = found("HeaderStore", *HEADERS)(database)
        # Opens the connection.
        await store.newest()
        reads = [await _ms(lambda: store.series_and_blocks(wanted)) for _ in range(READS + CALLS)]
    return {"first": max(reads[:READS]), "later": median(reads[READS:])}


async def verification(url: str, text: str) -> dict[str, float]:
    """Return microseconds for a header: put together, checked, and of stored ones by one and two.

    The database is filled first; its headers are whole.
    """
    count = int(text)
    headers = list(_light(count // 4))
    began = time.process_time()
    chain = list(_whole(headers))
    encoded = time.process_time()
    _verify(chain)
    rules = (time.process_time() - encoded) / len(chain)
    encoding = (encoded - began) / len(chain)
    async with found("Database", *DATABASE)(url) as database:
        store = found("HeaderStore", *HEADERS)(database)
        facts = found("ChainFacts", "chain.ingest", *HEADERS)(1559, simulated=True, source="bench")
        await store.import_headers(_chain(count), facts)
        verify = found("verify_stored", "chain.audit", "header_verification")
        one = await _ms(lambda: verify(store, processes=1))
        two = await _ms(lambda: verify(store, processes=2))
    return {
        "encoding": encoding * 1e6,
        "rules": rules * 1e6,
        "one": one * 1000 / count,
        "two": two * 1000 / count,
    }


def _chain(count: int) -> Iterator[Any]:
    return _whole(_light(count))


def _light(count: int) -> Iterator[Any]:
    hours = -(-count // found("BLOCKS_PER_HOUR", *SIMULATED))
    return islice(found("simulate", *SIMULATED)(1_680_000_000 // 3600 * 3600, hours), count)


def _whole(headers: Iterable[Any]) -> Iterator[Any]:
    made: Iterator[Any] = found("made_whole", *SIMULATED)(headers)
    return made


def _verify(headers: list[Any]) -> None:
    verify_chain = found("verify_chain", "chain.verification")
    try:
        rules = [found("SIMULATED", "chain.rule_book")]
    except ImportError:
        rules = []
    verify_chain(headers, *rules)


MEASURES: dict[str, Callable[..., Coroutine[Any, Any, dict[str, float]]]] = {
    "calls": calls,
    "series": series,
    "verification": verification,
}

if __name__ == "__main__":
    main()
