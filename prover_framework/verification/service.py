"""Verify receipts for others, in processes that can be ended; the event loop only passes bytes on.

A receipt is a stranger's: whatever work it makes, it makes in a verification process, never here.
"""

import asyncio
import math

from prover_framework.errors import VerificationEnded, VerifierBusy, VerifierUnavailable
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.process import ChildProcess, ProcessDied, ReplyTooLarge
from prover_framework.seals.keys import pinned_key
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.settings import Settings
from prover_framework.text import one_line
from prover_framework.verification.checks import Report
from prover_framework.verification.process import (
    READY,
    REPORT,
    UNAVAILABLE,
    Setup,
    VerificationRequest,
)

PROCESS = "prover_framework.verification.process"

# How many receipts may wait for each process: with the default limit of ten seconds for each the
# last of them waits for half a minute, which is as long as clients do.
WAITING_PER_PROCESS = 3

# To start an interpreter, import the plugins and open the database, beside jobs on a busy machine;
# to read a file of headers takes longer than all of that.
START_SECONDS = 60.0

# The largest table of checks that a receipt within its bounds can come to has half of this.
MAX_REPORT_BYTES = 2**20


class VerificationService:
    """Verifies receipts with what the operator of this service has, and nothing that is sent along.

    Processes are started when they are needed first, and kept for the next receipt.

    Args:
        settings: Say what receipts are verified with, and limits.
        plugins: Those that are installed.
        waiting: How many receipts may wait for each process.
        start_seconds: How long a process may take to start.

    Raises:
        SettingsError: A trusted key of the settings is none.
    """

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        *,
        waiting: int = WAITING_PER_PROCESS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        setup = _setup(settings, plugins)
        self._seconds = settings.verify_seconds
        self._workers = [
            _Worker(setup, self._seconds, start_seconds) for _ in range(settings.verify_processes)
        ]
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._most = len(self._workers) * (1 + waiting)
        self._longest = (1 + waiting) * (start_seconds + self._seconds)
        self._taken = 0

    @property
    def longest_seconds(self) -> float:
        """The longest time that an answer may take, the wait for a turn included."""
        return self._longest

    def require_room(self) -> None:
        """Require that another receipt can be taken in.

        Raises:
            VerifierBusy: As many are being verified, and wait for it, as may.
        """
        if self._taken >= self._most:
            # By then the one that is verified now has ended, in one way or the other.
            raise VerifierBusy(math.ceil(self._seconds))

    async def verify(self, body: bytes, trusted_hash: str | None = None) -> bytes:
        """Check somebody's receipt with what this service has, and nothing that he names.

        Args:
            body: The receipt.
            trusted_hash: Hash of a block that whoever asks trusts.

        Returns:
            A `Report` as JSON text, of at most `MAX_REPORT_BYTES`.

        Raises:
            VerifierBusy: As many are being verified, and wait for it, as may.
            VerifierUnavailable: What receipts are verified with cannot be used now.
            VerificationEnded: It took more than the verification of one receipt may.
        """
        self.require_room()
        self._taken += 1
        try:
            worker = await self._idle.get()
            try:
                return await worker.verify(body, trusted_hash)
            finally:
                self._idle.put_nowait(worker)
        finally:
            self._taken -= 1

    async def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            await worker.end()


def read_report(text: bytes) -> Report:
    """Read what `VerificationService.verify` returned."""
    return structure(parse_json(text), Report)


class _Worker:
    """One verification process, or the place of one."""

    def __init__(self, setup: Setup, seconds: float, start_seconds: float) -> None:
        self._setup = setup
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._process: ChildProcess | None = None

    async def verify(self, body: bytes, trusted_hash: str | None) -> bytes:
        process = await self._started()
        asked = dump_json(unstructure(VerificationRequest(trusted_hash=trusted_hash))).encode()
        try:
            async with asyncio.timeout(self._seconds):
                reply = await process.exchange(
                    asked + b"\n" + body, max_reply_bytes=MAX_REPORT_BYTES
                )
        except TimeoutError:
            await self.end()
            raise VerificationEnded(
                f"the verification of this receipt was ended after {self._seconds:g} s, as long as "
                'one may take here (PROVER_VERIFY_SECONDS); "prover verify" on a machine of your '
                "own has no such limit"
            ) from None
        except (ProcessDied, ReplyTooLarge) as error:
            await self.end()
            how = str(error) if isinstance(error, ProcessDied) else f"came to a report of {error}"
            raise VerificationEnded(f"the verification of this receipt {how}") from None
        except BaseException:
            await self.end()
            raise
        kind, _, text = reply.partition(b"\n")
        if kind == REPORT:
            return text
        if kind == UNAVAILABLE:
            raise _unavailable(_shown(text))
        await self.end()
        raise VerificationEnded(f"the verification of this receipt {_shown(text)}")

    async def end(self) -> None:
        """End the process and all it started, at once."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def _started(self) -> ChildProcess:
        """Return the process; start one if there is none, or if it has died.

        Raises:
            VerifierUnavailable: None can be started, and why.
        """
        if self._process is not None and self._process.process.returncode is not None:
            await self.end()
        if self._process is None:
            try:
                self._process = await ChildProcess.start(PROCESS)
                await self._set_up(self._process)
            except BaseException:
                await self.end()
                raise
        return self._process

    async def _set_up(self, process: ChildProcess) -> None:
        setup = dump_json(unstructure(self._setup)).encode()
        try:
            async with asyncio.timeout(self._start_seconds):
                reply = await process.exchange(setup, max_reply_bytes=MAX_REPORT_BYTES)
        except TimeoutError:
            raise _unavailable(
                f"their process did not start within {self._start_seconds:g} s"
            ) from None
        except ProcessDied as error:
            raise _unavailable(f"what verifies them {error}") from None
        kind, _, text = reply.partition(b"\n")
        if kind != READY:
            raise _unavailable(_shown(text))


def _unavailable(why: str) -> VerifierUnavailable:
    return VerifierUnavailable(f"receipts cannot be verified now: {why}")


def _shown(text: bytes) -> str:
    return one_line(text.decode("utf-8", "replace"))


def _setup(settings: Settings, plugins: Plugins) -> Setup:
    used = [plugin for plugin in plugins.found if plugin.failure is None and not plugin.disabled]
    return Setup(
        data_dir=str(settings.data_dir.absolute()),
        database_url=settings.database_url,
        verify_headers=settings.verify_headers,
        rpc_url=settings.rpc_url,
        rpc_batch=settings.rpc_batch,
        rpc_requests_per_second=settings.rpc_requests_per_second,
        chain_rules=None if settings.chain_rules is None else str(settings.chain_rules.absolute()),
        plugin_variables=settings.plugin_variables,
        compute_seconds=settings.compute_seconds,
        compute_memory_mb=settings.compute_memory_mb,
        pinned=tuple(map(pinned_key, settings.trusted_keys)),
        trusted_hash=settings.trusted_hash,
        seconds=settings.verify_seconds,
        plugins=tuple(plugin.candidate for plugin in used),
        trace=plugins.trace,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
