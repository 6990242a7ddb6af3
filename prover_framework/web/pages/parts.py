"""What pages need beside what the API has."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum

from attrs import frozen

from prover_framework.callers.service import Callers
from prover_framework.callers.store import ApiKeyStore
from prover_framework.chain.store import HeaderStore
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.usage import Usage
from prover_framework.monitoring.service import Monitoring
from prover_framework.proofs.charts import ChartService
from prover_framework.proofs.service import ReceiptService
from prover_framework.queues.base import DeadLetters
from prover_framework.verification.service import VerificationService

OpenDeadLetters = Callable[[], AbstractAsyncContextManager[DeadLetters]]


class PageMode(StrEnum):
    """Which pages there are; the values of the setting."""

    OFF = "off"
    READ = "read"
    ON = "on"


@frozen(kw_only=True)
class PageParts:
    """What the API does not hand to its handlers, and pages show.

    Args:
        mode: Which pages there are.
        headers: The block headers.
        open_dead_letters: Opens the dead letters of the queues; None where there are no messages.
        queue_names: Names of the queues that are shown.
        keys: The keys of the API.
        callers: Knows how much of their rates is used.
        usage: Looks how much is used of what operators bound.
    """

    mode: PageMode
    headers: HeaderStore
    open_dead_letters: OpenDeadLetters | None
    queue_names: tuple[str, ...]
    keys: ApiKeyStore
    callers: Callers
    usage: Callable[[], Awaitable[Usage]]


@frozen(kw_only=True)
class Shown:
    """All that pages show and call: the use cases of the API, and their own parts."""

    service: ProvingService
    receipts: ReceiptService
    verification: VerificationService
    monitoring: Monitoring
    charts: ChartService
    parts: PageParts
