"""For how many jobs a worker has room."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from prover_framework.worker.executor import MeanDuration
from prover_framework.worker.room import (
    MAX_PREFETCH,
    PREFETCH_BATCH,
    Room,
    places,
    prefetch,
)


def test_how_many_are_prefetched_follows_from_how_long_computations_take() -> None:
    mean = MeanDuration()

    def prefetched() -> int:
        return prefetch(2, mean.seconds, 1.0)

    assert prefetched() == 0
    mean.note(0.1)
    assert prefetched() == 10
    mean.note(60.0)
    assert prefetched() == 0, "one that is long makes a worker careful at once"
    for _ in range(100):
        mean.note(0.0)
    assert prefetched() == MAX_PREFETCH
    mean.forget()
    assert prefetched() == 0


SLOTS = st.integers(1, 256)
SECONDS = st.floats(0.0, 1e6)


@given(SLOTS, SECONDS, st.floats(0.01, 60.0))
def test_what_is_prefetched_begins_within_half_of_its_time(
    slots: int, mean_seconds: float, prefetch_seconds: float
) -> None:
    prefetched = prefetch(slots, mean_seconds, prefetch_seconds)
    assert 0 <= prefetched <= MAX_PREFETCH
    assert prefetched * mean_seconds / slots <= prefetch_seconds / 2 * (1 + 1e-9)
    assert prefetch(slots, 2 * mean_seconds, prefetch_seconds) <= prefetched


@given(SLOTS, st.integers(0, 300), st.integers(0, MAX_PREFETCH))
def test_a_free_slot_is_always_received_for_and_prefetching_goes_in_batches(
    slots: int, in_flight: int, prefetched: int
) -> None:
    found = places(slots, in_flight, prefetched)
    assert found >= 0
    if in_flight < slots:
        assert found == slots + prefetched - in_flight
    else:
        assert found == 0 or found >= PREFETCH_BATCH
        assert in_flight + found <= max(in_flight, slots + prefetched)


@given(SLOTS, st.lists(st.floats(0.0, 100.0), max_size=20), st.data())
def test_room_never_takes_more_than_it_has(
    slots: int, durations: list[float], data: st.DataObject
) -> None:
    mean = MeanDuration()
    room = Room(slots, mean, prefetch_seconds=1.0)
    in_flight = 0
    for seconds in durations:
        for _ in range(found := room.places):
            room.enter()
        in_flight += found
        assert slots <= in_flight <= slots + MAX_PREFETCH, "no slot is without a job"
        mean.note(seconds)
        for _ in range(left := data.draw(st.integers(0, in_flight))):
            room.leave()
        in_flight -= left


async def test_who_waits_for_room_gets_it_when_a_job_leaves_and_nothing_after_the_end() -> None:
    room, stopping = Room(1, MeanDuration(), prefetch_seconds=1.0), asyncio.Event()
    assert await room.wait(stopping) == 1
    room.enter()
    waiting = asyncio.create_task(room.wait(stopping))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.leave()
    assert await waiting == 1
    room.enter()
    waiting = asyncio.create_task(room.wait(stopping))
    await asyncio.sleep(0)
    stopping.set()
    room.look_again()
    assert await waiting == 0
