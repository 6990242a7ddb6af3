"""Verifies long stored chains on several cores, page by page, in flat memory.

Each process reads the pages that it verifies by itself: to hand headers from one process to another
costs as much as to verify them. So this one hands out ranges of block numbers, takes its share of
them, and joins what the pages span, in their order.
"""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from prover_framework.chain.rules import ChainRules
from prover_framework.chain.verification import ChainSpan
from prover_framework.chain.whole import LENGTH, Task, WholeRow, verify_rows
from prover_framework.errors import HeaderError

# Headers that are read and verified at once: some ten milliseconds' work, and a megabyte.
PAGE = 2000

# Pages that a process knows of: while this one is busy with its own, it answers late.
PAGES_AT_ONCE = 2

VERIFYING = "prover_framework.chain.verifying"

Verify: TypeAlias = Callable[[range], Awaitable[ChainSpan]]


class WholeHeaders(Protocol):
    """Stored headers; see `prover_framework.chain.store.HeaderStore`."""

    @property
    def where(self) -> Path | str:
        """Where another process finds them."""
        ...

    async def whole_rows(self, first: int, last: int) -> Sequence[WholeRow]:
        """Read some blocks, both ends included, as far as they are there."""
        ...


async def verify_blocks(
    headers: WholeHeaders,
    first: int,
    last: int,
    rules: ChainRules,
    *,
    trusted: str | None = None,
    needed: int = 0,
    processes: int = 1,
    page: int = PAGE,
    on_progress: Callable[[int], None] | None = None,
) -> ChainSpan | None:
    """Verify stored headers, as `verify_chain` does, on several cores.

    It stops when the trusted block and the last one that is needed have been verified.

    Args:
        headers: Where they are.
        first: The first block.
        last: The last one.
        rules: Those of the chain.
        trusted: A block hash to look for.
        needed: Number of a block that is to be verified in any case.
        processes: How many processes share the work, this one among them.
        page: How many headers are read and verified at once.
        on_progress: Told how many headers were verified so far.

    Returns:
        What they span; None where there are no blocks from the first to the last.

    Raises:
        HeaderInvalid: Block, field and rule of the first header that is wrong.
        HeaderError: Not all of them are stored whole.
        StoreError: The database cannot be read.
    """
    span: ChainSpan | None = None
    pages = (range(begin, min(begin + page, last + 1)) for begin in range(first, last + 1, page))
    task = Task(headers.where, rules, trusted)
    async with (
        _lanes(headers, task, processes) as lanes,
        aclosing(_in_order(pages, lanes)) as parts,
    ):
        async for part in parts:
            span = part if span is None else span.joined(part, rules)
            if on_progress is not None:
                on_progress(len(span))
            if span.trusted_block is not None and span.last.number >= needed:
                break
    return span


async def _in_order(
    pages: Iterator[range], lanes: Sequence[Verify]
) -> AsyncGenerator[ChainSpan, None]:
    """Hand pages out to whoever is free, and yield what they span in the order of the pages."""
    handed_out: asyncio.Queue[asyncio.Future[ChainSpan] | None] = asyncio.Queue()

    async def work(verify: Verify) -> None:
        for page in pages:
            found: asyncio.Future[ChainSpan] = asyncio.get_running_loop().create_future()
            handed_out.put_nowait(found)
            try:
                found.set_result(await verify(page))
            except Exception as error:
                # Pages before it may have an error, too, and theirs is the first.
                found.set_exception(error)
                return

    async def work_all() -> None:
        await asyncio.gather(*map(work, lanes))
        handed_out.put_nowait(None)

    working = asyncio.create_task(work_all())
    try:
        while (found := await handed_out.get()) is not None:
            yield await found
    finally:
        working.cancel()
        await asyncio.wait({working})
        while not handed_out.empty():
            found = handed_out.get_nowait()
            # Nobody asks for what comes after the end.
            if found is not None and not found.cancel():
                found.exception()


@asynccontextmanager
async def _lanes(headers: WholeHeaders, task: Task, processes: int) -> AsyncGenerator[list[Verify]]:
    """Lend what verifies pages: this process, and others that are started for it."""

    async def verify(page: range) -> ChainSpan:
        first, last = page[0], page[-1]
        rows = await headers.whole_rows(first, last)
        return await asyncio.to_thread(verify_rows, rows, first, last, task.rules, task.trusted)

    lanes: list[Verify] = [verify]
    async with AsyncExitStack() as stack:
        for _ in range(processes - 1):
            other = await stack.enter_async_context(_started(task))
            lanes.extend([other.verify] * PAGES_AT_ONCE)
        yield lanes


class _OtherProcess:
    """A process that verifies pages, one after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._asked: deque[asyncio.Future[ChainSpan]] = deque()
        self._ended = False

    async def verify(self, page: range) -> ChainSpan:
        """Have it verify a page."""
        if self._ended:
            raise _ended_from_outside()
        answer: asyncio.Future[ChainSpan] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.send((page[0], page[-1]))
        return await answer

    def send(self, message: object) -> None:
        """Send it a message."""
        if self._process.stdin is not None:
            data = pickle.dumps(message)
            self._process.stdin.write(LENGTH.pack(len(data)) + data)

    async def listen(self) -> None:
        """Take in its answers until it ends."""
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while (answers := self._process.stdout) is not None:
                    (length,) = LENGTH.unpack(await answers.readexactly(LENGTH.size))
                    # It is our own process that answers.
                    answer = pickle.loads(await answers.readexactly(length))  # noqa: S301
                    asked = self._asked.popleft()
                    if asked.done():
                        continue
                    if isinstance(answer, ChainSpan):
                        asked.set_result(answer)
                    else:
                        asked.set_exception(answer)
        finally:
            self._ended = True
            for asked in self._asked:
                if not asked.done():
                    asked.set_exception(_ended_from_outside())


@asynccontextmanager
async def _started(task: Task) -> AsyncGenerator[_OtherProcess]:
    """Have a process that verifies while the body runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        # The directory that this was started in is no place to import from.
        "-P",
        "-m",
        VERIFYING,
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # Ctrl-C is for this process; the other one ends when this one does.
        start_new_session=True,
    )
    other = _OtherProcess(process)
    other.send(task)
    listening = asyncio.create_task(other.listen())
    try:
        yield other
    finally:
        # It only reads.
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening


def _ended_from_outside() -> HeaderError:
    return HeaderError(
        "a process that verified headers was ended from outside, perhaps for lack of memory; "
        "verify with fewer processes"
    )
