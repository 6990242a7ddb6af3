"""What the dead letters of every queue promise, as a class of tests that each queue inherits."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen
from queue_contract import HANG_SECONDS, bodies, outgoing, receive

from prover_framework.queues.base import DeadLetters, Letter, Queue


@frozen
class DeadBench:
    """A queue with its dead letters under test.

    Args:
        queue: The queue, with the names ``default`` and ``large``.
        dead: Its dead letters.
        other: The same as another process sees them, over a connection of its own.
    """

    queue: Queue
    dead: DeadLetters
    other: DeadLetters

    async def die(self, *texts: str, queue: str = "default") -> None:
        """Make messages that cannot be understood, and have them buried for it."""
        await self.queue.send([outgoing(text, queue=queue) for text in texts])
        left = set(texts)
        while left:
            taken = await receive(self.queue, name=queue, wait_seconds=1)
            await asyncio.gather(
                *(self.queue.bury(message, f"no sense in {message.body}") for message in taken)
            )
            left -= {message.body for message in taken}

    async def seen(self, *, queue: str = "default", limit: int = 100) -> list[Letter]:
        """Return the dead letters as another process sees them."""
        async with self.other.hold(queue, limit=limit) as held:
            return list(held.letters)


def texts(letters: Sequence[Letter]) -> list[str]:
    return sorted(letter.body for letter in letters)


class DeadLettersContract:
    """Inherit, and say how to open them."""

    def open_dead(self, directory: Path) -> AbstractAsyncContextManager[DeadBench]:
        raise NotImplementedError

    @asynccontextmanager
    async def dead_bench(self, directory: Path) -> AsyncIterator[DeadBench]:
        """Open them, for no longer than any test should take."""
        async with asyncio.timeout(HANG_SECONDS), self.open_dead(directory) as bench:
            yield bench

    async def test_letters_tell_what_they_are(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a")
            await bench.die("b")
            first, second = await bench.seen()
            assert (first.body, first.queue, first.reason) == ("a", "default", "no sense in a")
            assert (second.body, second.reason) == ("b", "no sense in b")
            assert first.id != second.id
            assert 1_600_000_000_000 < first.died_at_ms <= second.died_at_ms

    async def test_a_reason_may_quote_anything(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.queue.send([outgoing("a")])
            (message,) = await receive(bench.queue, wait_seconds=5)
            await bench.queue.bury(message, "no \x00 nor \ud800 in \u00e4 \U0001f600")
            (letter,) = await bench.seen()
            assert letter.reason is not None
            assert letter.reason.startswith("no \ufffd nor ")
            assert letter.reason.endswith(" in \u00e4 \U0001f600")

    async def test_looking_changes_nothing(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die(*map(str, range(25)))
            first = await bench.seen()
            assert texts(first) == sorted(map(str, range(25)))
            async with bench.dead.hold("default", limit=100) as held:
                assert list(held.letters) == first
            assert await bench.seen() == first

    async def test_no_more_than_the_limit_are_held(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b", "c")
            assert len(await bench.seen(limit=2)) == 2
            assert len(await bench.seen(limit=3)) == 3

    async def test_a_redriven_letter_is_a_message_again(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b")
            async with bench.dead.hold("default", limit=100) as held:
                assert await held.redrive([le for le in held.letters if le.body == "a"]) == []
            assert texts(await bench.seen()) == ["b"]
            (message,) = await receive(bench.queue, wait_seconds=5)
            assert message.body == "a"
            await bench.queue.bury(message, "as before")
            assert texts(await bench.seen()) == ["a", "b"]

    async def test_many_letters_are_redriven_at_once(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die(*map(str, range(25)))
            async with bench.dead.hold("default", limit=100) as held:
                assert await held.redrive(held.letters) == []
            assert await bench.seen() == []
            got: list[str] = []
            while len(got) < 25:
                got += bodies(await receive(bench.queue, wait_seconds=5))
            assert sorted(got) == sorted(map(str, range(25)))

    async def test_a_dropped_letter_is_gone(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b")
            async with bench.dead.hold("default", limit=100) as held:
                assert await held.drop([le for le in held.letters if le.body == "a"]) == []
            assert texts(await bench.seen()) == ["b"]
            assert await receive(bench.queue) == []

    async def test_letters_go_back_to_the_queue_they_came_from(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", queue="large")
            async with bench.dead.hold("large", limit=100) as held:
                assert await held.redrive(held.letters) == []
            assert await receive(bench.queue) == []
            assert bodies(await receive(bench.queue, name="large", wait_seconds=5)) == ["a"]

    async def test_who_fails_while_deciding_gives_the_letters_back(self, tmp_path: Path) -> None:
        async with self.dead_bench(tmp_path) as bench:
            await bench.die("a", "b")

            async def decide() -> None:
                async with bench.dead.hold("default", limit=100) as held:
                    assert len(held.letters) == 2
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await decide()
            assert texts(await bench.seen()) == ["a", "b"]
