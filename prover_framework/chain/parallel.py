"""Verifies long chains on several cores, page by page, in flat memory."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rules import ChainRules
from prover_framework.chain.verification import ChainSpan, verify_chain
from prover_framework.errors import HeaderError

# Pages per process that are on their way, so that none waits for the reader. They bound the memory.
PAGES_PER_PROCESS = 2

# A header taken apart: tuples cross between processes four times as fast as objects.
_Row: TypeAlias = tuple[int, int, int, int | None, int | None, str | None, str | None, bytes]


async def verify_pages(
    pages: AsyncIterator[Sequence[EncodedHeader]],
    rules: ChainRules,
    *,
    trusted: str | None = None,
    needed: int = 0,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> ChainSpan | None:
    """Verify headers that come in pages, as `verify_chain` does, on several cores.

    Reading stops when the trusted block and the last one that is needed have been verified.

    Args:
        pages: In the order of the numbers, each of some thousand headers.
        rules: Those of the chain.
        trusted: A block hash to look for.
        needed: Number of a block that is to be verified in any case.
        processes: How many processes share the work; one does it in this process.
        on_progress: Told how many headers were verified so far.

    Raises:
        HeaderInvalid: Block, field and rule of the first header that is wrong.
    """
    span: ChainSpan | None = None
    async with contextlib.aclosing(_verified(pages, rules, trusted, processes)) as parts:
        async for part in parts:
            span = part if span is None else span.joined(part, rules)
            if on_progress is not None:
                on_progress(len(span))
            if span.trusted_block is not None and span.last.number >= needed:
                break
    return span


async def _verified(
    pages: AsyncIterator[Sequence[EncodedHeader]],
    rules: ChainRules,
    trusted: str | None,
    processes: int,
) -> AsyncGenerator[ChainSpan, None]:
    """Yield what each page spans, in their order."""
    if processes == 1:
        async for page in pages:
            part = await asyncio.to_thread(verify_chain, page, rules, trusted)
            if part is not None:
                yield part
        return
    loop = asyncio.get_running_loop()
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin_process
    )
    running: deque[asyncio.Future[ChainSpan | None]] = deque()
    try:
        async for page in pages:
            if len(running) == processes * PAGES_PER_PROCESS:
                part = await running.popleft()
                if part is not None:
                    yield part
            rows = [_row(stored) for stored in page]
            running.append(loop.run_in_executor(pool, _verify_rows, rows, rules, trusted))
        while running:
            part = await running.popleft()
            if part is not None:
                yield part
    except BrokenProcessPool:
        raise HeaderError(
            "a process that verified headers was ended from outside, perhaps for lack of memory; "
            "verify with fewer processes"
        ) from None
    finally:
        # What is under way is short. To cancel it while the pool breaks can break its thread.
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.to_thread(pool.shutdown)


def _row(stored: EncodedHeader) -> _Row:
    header = stored.header
    return (
        header.number,
        header.timestamp,
        header.base_fee_wei,
        header.gas_used,
        header.gas_limit,
        header.block_hash,
        header.parent_hash,
        stored.rlp,
    )


def _verify_rows(rows: Sequence[_Row], rules: ChainRules, trusted: str | None) -> ChainSpan | None:
    headers = (EncodedHeader(Header(*row[:-1]), row[-1]) for row in rows)
    return verify_chain(headers, rules, trusted)


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, and end when it does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
