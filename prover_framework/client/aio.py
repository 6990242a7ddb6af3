"""The asynchronous client."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from prover_framework.client import calls, retries
from prover_framework.client.calls import Call
from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.charts import GroupCharts
from prover_framework.model.jobs import FINAL
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.views import GroupView
from prover_framework.model.workers import WorkersView
from prover_framework.operations import OfferedType
from prover_framework.verification.checks import Report

T = TypeVar("T")


class AsyncClient:
    """A service at a URL. Use it as an async context manager.

    Every method raises a `ProverError` when the service refuses, and `ServiceUnreachable` when it
    does not answer.

    Args:
        url: Where it is, such as ``https://prover.example``.
        key: A key of its API, if it wants one.
        namespace: Namespace of the groups, where it is not the key's own; that takes the scope
            ``operate``.
        transport: Takes the place of the network, for tests.
        first_wait_seconds: After how long a request is sent again; twice as long each further time.
        stream_wait_seconds: After how long a stream that has ended is asked for again.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        namespace: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        first_wait_seconds: float = retries.FIRST_WAIT_SECONDS,
        stream_wait_seconds: float = retries.STREAM_WAIT_SECONDS,
    ) -> None:
        self._url = url
        self._first_wait = first_wait_seconds
        self._stream_wait = stream_wait_seconds
        options: dict[str, Any] = dict(retries.options(url, key, namespace))
        self._client = httpx.AsyncClient(**options, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def submit(self, body: bytes, *, priority: int = USUAL_PRIORITY) -> Accepted:
        """Submit a group, as the body of ``POST /api/job``; the same body again does no harm.

        Args:
            body: The JSON.
            priority: Of the groups that wait, those of the highest come first.

        Raises:
            RequestError: It has problems; nothing was stored.
            ServiceRefused: The service refuses otherwise.
        """
        return await self._do(calls.submit(body, priority=priority))

    async def status(self, group_id: str, *, verbose: bool = False) -> GroupView:
        """Return a group with its jobs; with ``verbose`` all that is stored of them.

        Raises:
            GroupNotFound: There is none.
        """
        return await self._do(calls.status(group_id, verbose=verbose))

    async def wait(self, group_id: str, timeout: float | None = None) -> GroupView:  # noqa: ASYNC109
        """Wait until a group has ended, and return it.

        The service tells when; nothing is asked for in between.

        Args:
            group_id: The group.
            timeout: After how many seconds to give up; None: never. What is returned then has not
                ended.

        Raises:
            GroupNotFound: There is no such group.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = calls.LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            group = await self._do(calls.status(group_id, wait_seconds=left))
            if group.status in FINAL or left <= 0:
                return group

    async def changes(self, group_id: str) -> AsyncGenerator[None]:
        """Say, until it is closed, that something of a group may have changed; `status` says what.

        The service tells of it in a stream. While there is none it counts as a change every few
        seconds, so that whoever listens looks himself.
        """
        while True:
            with suppress(httpx.HTTPError):
                async with self._client.stream(
                    "GET", calls.events(group_id), headers={"Accept": calls.EVENT_STREAM}
                ) as answer:
                    if answer.is_success:
                        async for line in answer.aiter_lines():
                            if line.startswith("data:"):
                                yield
            yield
            await asyncio.sleep(self._stream_wait)

    async def charts(self, group_id: str) -> GroupCharts:
        """Return what illustrates the results of a group, as their plugins describe it.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._do(calls.charts(group_id))

    async def find(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for; `GroupQuery.from_cursor` goes on."""
        return await self._do(calls.find(query))

    async def act(
        self,
        action: Action,
        group_id: str,
        job_id: str | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> ActionReport:
        """Cancel, redrive or delete a group, or one of its jobs.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._do(calls.act(action, group_id, job_id, dry_run=dry_run, force=force))

    async def act_on_found(
        self, action: Action, query: GroupQuery, *, dry_run: bool = False, force: bool = False
    ) -> ActionReport:
        """Cancel, redrive or delete a page of what a query finds."""
        return await self._do(calls.act_on_found(action, query, dry_run=dry_run, force=force))

    async def receipt(self, group_id: str, job_id: str | None = None) -> bytes:
        """Return the receipt of a group or of one of its jobs, as JSON."""
        return await self._do(calls.receipt(group_id, job_id))

    async def verify(self, receipt: bytes, trusted_hash: str | None = None) -> Report:
        """Have the service verify a receipt with what it has."""
        return await self._do(calls.verify(receipt, trusted_hash))

    async def attachment(self, group_id: str, job_id: str, name: str) -> AsyncIterator[bytes]:
        """Read what is attached to a result, a piece at a time; nothing of it is repeated."""
        call = calls.attachment(group_id, job_id, name)
        request = retries.request(self._client, call)
        try:
            answer = await self._client.send(request, stream=True)
            try:
                if answer.is_success:
                    async for chunk in answer.aiter_bytes():
                        yield chunk
                    return
                await answer.aread()
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise retries.unreachable(self._url, error) from None
        retries.result(call, answer)

    async def proof_types(self) -> tuple[OfferedType, ...]:
        """Return which proof types there are, with the JSON Schema of their parameters."""
        return await self._do(calls.proof_types())

    async def workers(self) -> WorkersView:
        """Return all workers, and the queues that are paused."""
        return await self._do(calls.workers())

    async def pause(self, queue: str, reason: str = "") -> None:
        """Have no worker take jobs of a queue."""
        await self._do(calls.pause(queue, reason))

    async def resume(self, queue: str) -> bool:
        """Have workers take jobs of a queue again; return whether it was paused."""
        return await self._do(calls.resume(queue))

    async def drain(self, worker: str) -> None:
        """Have a worker finish what it has, and end.

        Raises:
            WorkerNotFound: There is none of this name.
        """
        await self._do(calls.drain(worker))

    async def _do(self, call: Call[T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                answer = await self._client.send(retries.request(self._client, call))
            except httpx.HTTPError as error:
                wait = retries.wait_after_failure(call, error, tries, self._first_wait)
                if wait is None:
                    raise retries.unreachable(self._url, error) from None
            else:
                wait = retries.wait_after_answer(answer, tries, self._first_wait)
                if wait is None:
                    return retries.result(call, answer)
            await asyncio.sleep(wait)
