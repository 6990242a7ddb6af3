"""An API over real sockets, with a service that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
from attrs import field, frozen

from prover_framework.callers.service import Callers
from prover_framework.callers.store import ApiKeyStore, KeysNow
from prover_framework.database.database import Database
from prover_framework.jobs.service import Acceptance, ProvingService
from prover_framework.jobs.views import StatusText
from prover_framework.metrics import Metrics
from prover_framework.model.callers import OPERATOR, Caller
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.proofs import GroupRequest
from prover_framework.monitoring.readiness import ReadinessChecks
from prover_framework.monitoring.sampling import Sampler
from prover_framework.monitoring.service import Monitoring
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.service import ReceiptService
from prover_framework.settings import Settings
from prover_framework.tracing import NO_TRACING
from prover_framework.verification.service import VerificationService
from prover_framework.web.connections import ConnectionLimits
from prover_framework.web.server import DRAIN_SECONDS, LOCAL, USUAL_LIMITS, Exposure, serve

# For servers that nobody asks for a receipt.
NO_RECEIPTS = cast(ReceiptService, object())

# Counts requests, and has nothing to look at.
NO_MONITORING = Monitoring(
    Metrics(), cast(Sampler, object()), cast(ReadinessChecks, object()), cast(Database, object())
)


class _NoKeys(ApiKeyStore):
    """Keys of an API that has none."""

    async def now(self) -> KeysNow:
        return KeysNow(0, {}, any_made=False)


def no_keys() -> Callers:
    """Return what recognises callers where no key was ever made."""
    return Callers(_NoKeys(cast(Database, object())))


def no_verification() -> VerificationService:
    """Return what verifies receipts where nobody asks for it; it starts nothing."""
    return VerificationService(Settings(), Plugins(found=(), hooks={}))


class StubVerification(VerificationService):
    """Verifies as a test says, and says itself how long that may take."""

    def __init__(self, act: Callable[[], Awaitable[None]], longest_seconds: float) -> None:
        super().__init__(Settings(), Plugins(found=(), hooks={}))
        self._act = act
        self._longest = longest_seconds

    async def verify(self, body: bytes, trusted_hash: str | None = None) -> bytes:
        del body, trusted_hash
        await self._act()
        return b"{}"


async def nothing() -> None:
    """Do nothing."""


class StubService(ProvingService):
    """A service that does what a test says."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        self._act = act
        self.tracing = NO_TRACING

    def parse(self, body: bytes) -> GroupRequest:
        del body
        return GroupRequest("job_123", ())

    async def submit(
        self, request: GroupRequest, caller: Caller = OPERATOR, *, priority: int = USUAL_PRIORITY
    ) -> Acceptance:
        del caller, priority
        await self._act()
        return Acceptance(request.group_id)

    async def status_text(self, group_id: str) -> StatusText:
        del group_id
        await self._act()
        raise AssertionError


@frozen
class Running:
    """A server that runs, and a client of it."""

    client: httpx.AsyncClient
    url: str
    stopping: asyncio.Event
    task: "asyncio.Task[None]" = field(repr=False)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection of its own."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes on a new connection and return all that comes back until its end."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def running(
    act: Callable[[], Awaitable[None]] = nothing,
    *,
    host: str = "127.0.0.1",
    exposure: Exposure = LOCAL,
    limits: ConnectionLimits = USUAL_LIMITS,
    verification: VerificationService | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> AsyncIterator[Running]:
    """Serve for as long as the body takes."""
    ready = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            serve(
                StubService(act),
                host,
                0,
                stopping,
                ready.set_result,
                receipts=NO_RECEIPTS,
                callers=no_keys(),
                verification=verification or no_verification(),
                monitoring=NO_MONITORING,
                exposure=exposure,
                limits=limits,
                drain_seconds=drain_seconds,
            )
        )
        url = await ready
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield Running(client, url, stopping, task)
        stopping.set()


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 if the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer else 0
