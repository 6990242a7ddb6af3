"""What every queue promises, as a class of tests that each queue inherits.

Messages may come twice and, in general, in any order. A queue that is a table also promises the
order of sending; its own class says so.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from attrs import frozen

from prover_framework.queues.base import Outgoing, Queue, Received

# Longer than any test should take; a test that gets this far has failed.
HANG_SECONDS = 30.0

VISIBILITY_SECONDS = 20.0


@frozen
class Bench:
    """A queue under test.

    Args:
        queue: The queue.
        other: The same queue as another process sees it, over a connection of its own.
        time_passes: Lets seconds pass by the clock that messages become visible by.
        dead: Reads the dead letters, as pairs of body and reason.
    """

    queue: Queue
    other: Queue
    time_passes: Callable[[float], Awaitable[None]]
    dead: Callable[[], Awaitable[list[tuple[str, str]]]]


def outgoing(body: str, *, queue: str = "default", delay_seconds: float = 0.0) -> Outgoing:
    return Outgoing(job_id(body), queue, body, delay_seconds)


def job_id(body: str) -> str:
    """Make an id of the form that job ids have: a FIFO queue takes no other characters."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


async def receive(
    queue: Queue,
    *,
    name: str = "default",
    limit: int = 10,
    wait_seconds: float = 0.0,
    visibility_seconds: float = VISIBILITY_SECONDS,
) -> list[Received]:
    return await queue.receive(
        name, limit=limit, wait_seconds=wait_seconds, visibility_seconds=visibility_seconds
    )


def bodies(messages: Sequence[Received]) -> list[str]:
    return sorted(message.body for message in messages)


class QueueContract:
    """Inherit, and say how to open the queue."""

    def open(self, directory: Path) -> AbstractAsyncContextManager[Bench]:
        raise NotImplementedError

    @asynccontextmanager
    async def bench(self, directory: Path) -> AsyncIterator[Bench]:
        """Open the queue, for no longer than any test should take."""
        async with asyncio.timeout(HANG_SECONDS), self.open(directory) as bench:
            yield bench

    async def test_what_is_sent_is_received(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            text = '{"a": "\\u00e9 \U0001f600 \\n"}'
            assert await bench.queue.send([outgoing(text), outgoing("b")]) == []
            messages = await receive(bench.other)
            assert bodies(messages) == sorted([text, "b"])
            assert {message.queue for message in messages} == {"default"}
            assert {message.receive_count for message in messages} == {1}

    async def test_sending_nothing_is_no_error(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            assert await bench.queue.send([]) == []
            assert await receive(bench.queue) == []

    async def test_queues_have_names(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a"), outgoing("b", queue="large")])
            assert bodies(await receive(bench.queue, name="large")) == ["b"]
            assert bodies(await receive(bench.queue)) == ["a"]

    async def test_no_more_than_the_limit_come_at_once(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing(str(n)) for n in range(5)])
            parts = [await receive(bench.queue, limit=2) for _ in range(4)]
            assert max(map(len, parts)) == 2
            assert bodies([m for part in parts for m in part]) == list("01234")

    async def test_a_received_message_is_invisible_for_a_while(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a")])
            (first,) = await receive(bench.queue, visibility_seconds=2)
            assert await receive(bench.other) == []
            await bench.time_passes(2.1)
            (second,) = await receive(bench.other, visibility_seconds=2)
            assert (second.body, second.receive_count) == ("a", 2)
            assert second.receipt_handle != first.receipt_handle

    async def test_a_deleted_message_never_comes_back(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a"), outgoing("b")])
            messages = await receive(bench.queue, visibility_seconds=2)
            await bench.queue.delete(next(m for m in messages if m.body == "a"))
            await bench.time_passes(2.1)
            assert bodies(await receive(bench.queue)) == ["b"]

    async def test_an_outdated_receipt_moves_nothing(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a")])
            (outdated,) = await receive(bench.queue, visibility_seconds=2)
            await bench.time_passes(2.1)
            (current,) = await receive(bench.other, visibility_seconds=5)
            await bench.queue.delete(outdated)
            await bench.queue.change_visibility([outdated], 0)
            await bench.queue.bury(outdated, "outdated")
            assert await receive(bench.queue) == []
            assert await bench.dead() == []
            await bench.other.change_visibility([current], 0)
            assert bodies(await receive(bench.queue)) == ["a"]

    async def test_hiding_extends_or_ends_the_invisibility(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("kept"), outgoing("freed")])
            messages = await receive(bench.queue, visibility_seconds=2)
            kept, freed = sorted(messages, key=lambda m: m.body, reverse=True)
            await bench.queue.change_visibility([kept], 6)
            await bench.queue.change_visibility([freed], 0)
            assert bodies(await receive(bench.other)) == ["freed"]
            await bench.time_passes(2.1)
            assert await receive(bench.other) == []
            await bench.time_passes(4)
            assert bodies(await receive(bench.other)) == ["kept"]

    async def test_hiding_nothing_is_no_error(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.change_visibility([], 5)

    async def test_a_delayed_message_comes_later(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("later", delay_seconds=2), outgoing("now")])
            assert bodies(await receive(bench.queue)) == ["now"]
            await bench.time_passes(2.1)
            assert bodies(await receive(bench.queue)) == ["later"]

    async def test_a_buried_message_is_a_dead_letter_with_its_reason(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("gibberish"), outgoing("sense")])
            messages = await receive(bench.queue, visibility_seconds=2)
            bad = next(m for m in messages if m.body == "gibberish")
            await bench.queue.bury(bad, "not an object")
            await bench.queue.bury(bad, "once more")
            assert await bench.dead() == [("gibberish", "not an object")]
            await bench.time_passes(2.1)
            assert bodies(await receive(bench.queue)) == ["sense"]

    async def test_an_empty_queue_answers_when_the_wait_is_over(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            started = asyncio.get_running_loop().time()
            assert await receive(bench.queue, wait_seconds=1) == []
            assert asyncio.get_running_loop().time() - started >= 0.9

    async def test_a_send_of_this_process_ends_the_wait(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            waiting = asyncio.create_task(receive(bench.queue, wait_seconds=HANG_SECONDS))
            await asyncio.sleep(0.1)
            await bench.queue.send([outgoing("a")])
            assert bodies(await waiting) == ["a"]

    async def test_a_send_of_another_process_ends_the_wait(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            waiting = asyncio.create_task(receive(bench.queue, wait_seconds=HANG_SECONDS))
            await asyncio.sleep(0.1)
            await bench.other.send([outgoing("a")])
            assert bodies(await waiting) == ["a"]

    async def test_a_message_that_becomes_visible_ends_the_wait(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a", delay_seconds=1)])
            waiting = asyncio.create_task(receive(bench.queue, wait_seconds=HANG_SECONDS))
            await bench.time_passes(1.1)
            assert bodies(await waiting) == ["a"]

    async def test_an_interrupt_ends_waits_now_and_from_now_on(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            waiting = [
                asyncio.create_task(receive(bench.queue, wait_seconds=HANG_SECONDS))
                for _ in range(3)
            ]
            await asyncio.sleep(0.1)
            bench.queue.interrupt()
            assert await asyncio.gather(*waiting) == [[], [], []]
            assert await receive(bench.queue, wait_seconds=HANG_SECONDS) == []
            await bench.other.send([outgoing("a")])
            assert bodies(await receive(bench.other)) == ["a"]

    async def test_concurrent_receivers_share_and_lose_nothing(self, tmp_path: Path) -> None:
        async with self.bench(tmp_path) as bench:
            count = 60
            got: list[str] = []
            enough = asyncio.Event()

            async def work(queue: Queue) -> None:
                while not enough.is_set():
                    for message in await receive(queue, limit=3, wait_seconds=1):
                        got.append(message.body)
                        await queue.delete(message)
                    if len(got) >= count:
                        enough.set()

            workers = [
                asyncio.create_task(work(queue))
                for queue in (bench.queue, bench.queue, bench.other, bench.other)
            ]
            for start in range(0, count, 6):
                sender = bench.queue if start % 4 else bench.other
                await sender.send([outgoing(f"{n:03}") for n in range(start, start + 6)])
            await asyncio.gather(*workers)
            assert sorted(got) == [f"{n:03}" for n in range(count)]
