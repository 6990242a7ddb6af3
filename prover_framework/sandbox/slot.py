"""A slot: one sandbox process under supervision.

The process is a fresh interpreter with a supervisor of its own, so that it can be ended with all
that it started. It is kept for the next call, since importing numerical libraries takes longer than
most computations, and replaced when it dies, overruns or is cancelled.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import attrs

from prover_framework.errors import (
    AttachmentMissing,
    ComputeCrashed,
    ComputeError,
    ComputeOutOfMemory,
    ComputeRaised,
    ComputeTimeout,
    DataNotYet,
    JobError,
    NotInstalled,
    PluginError,
    ProofError,
    RequestError,
    ResultInvalid,
    TryLater,
)
from prover_framework.log_context import log_context
from prover_framework.logs import log_form
from prover_framework.sandbox.limits import limit_text
from prover_framework.sandbox.memory import MemoryWatch
from prover_framework.sandbox.notes import PLUGIN_LOGGER, Hearing, Listener, Nobody
from prover_framework.sandbox.process import (
    END_SECONDS,
    EXIT_SECONDS,
    ChildProcess,
    ProcessDied,
    ReplyTooLarge,
)
from prover_framework.sandbox.protocol import (
    MAX_MESSAGE_BYTES,
    NOTE,
    REPLY,
    TOKEN_BYTES,
    TRACE,
    HookCall,
    Reply,
    dump_call,
)
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.text import printable

log = logging.getLogger(PLUGIN_LOGGER)

E = TypeVar("E", bound=JobError)

NOBODY = Nobody()

TOKENS_AT_ONCE = 64

CHILD = "prover_framework.sandbox.child"

_RAISED: dict[str, type[ComputeError]] = {
    cls.code: cls for cls in (ComputeRaised, ComputeOutOfMemory, AttachmentMissing, ResultInvalid)
}


class ReportedProofError(ProofError):
    """A `ProofError` that a plugin raised in its sandbox process, with the code it had there."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]


class _AnotherReply(Exception):
    """What came is not the reply to this call."""


class _TooMuchMemory(Exception):
    """The process with all that it has started held more memory than its limit.

    Args:
        held: How many bytes.
    """

    def __init__(self, held: int) -> None:
        self.held = held
        super().__init__(f"{held} bytes")


class Slot:
    """Makes one call at a time in its own process.

    Args:
        trace: Log each call of a hook there.
        exit_seconds: How long a process that has closed its connection may take to exit.
        end_seconds: How long a process's supervisor may take to end it.
    """

    def __init__(
        self,
        *,
        trace: bool = False,
        exit_seconds: float = EXIT_SECONDS,
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._trace = trace
        self._exit_seconds = exit_seconds
        self._end_seconds = end_seconds
        self._running: ChildProcess | None = None
        self._calls_done = 0
        self._tokens: Iterator[bytes] = iter(())
        # The memory limit of the process, which it cannot raise; none before its first call.
        self._memory_bytes: int | None = None

    async def start(self) -> None:
        """Start the process before its first call, or in place of one that has died.

        Raises:
            OSError: This machine has no room for another process.
        """
        if self._running is not None and self._running.process.returncode is not None:
            await self.kill()
        if self._running is None:
            options = [TRACE] if self._trace else []
            self._running = await ChildProcess.start(
                CHILD,
                *options,
                exit_seconds=self._exit_seconds,
                end_seconds=self._end_seconds,
            )

    async def run(
        self, call: HookCall, *, seconds: float, listener: Listener = NOBODY
    ) -> dict[str, Any]:
        """Call a hook; return the JSON form of its answer.

        Cancelling this ends the process, see `kill`.

        Args:
            call: The call.
            seconds: How long it may take.
            listener: Who hears what is told meanwhile.

        Raises:
            ProofError: The plugin refused, for good.
            DataNotYet: What the plugin wants is not there yet.
            TryLater: It cannot be had for the time that the plugin names.
            NotInstalled: The plugin's files are not those that this process knows.
            ComputeError: The computation failed, overran its limits or took its process down.
        """
        call = attrs.evolve(
            call,
            log_level=log.getEffectiveLevel(),
            log_form=log_form(),
            about=attrs.evolve(log_context(), plugin=call.plugin),
        )
        if call.works and call.directory is None:
            with TemporaryDirectory(prefix="prover-work-", ignore_cleanup_errors=True) as place:
                call = attrs.evolve(call, directory=str(Path(place) / "kept"))
                return await self._run(call, seconds, listener)
        return await self._run(call, seconds, listener)

    async def _run(self, call: HookCall, seconds: float, listener: Listener) -> dict[str, Any]:
        if self._memory_bytes is not None and call.memory_bytes > self._memory_bytes:
            await self.kill()
        await self.start()
        if self._memory_bytes is None:
            self._memory_bytes = call.memory_bytes
        used = self._calls_done > 0
        try:
            async with asyncio.timeout(seconds):
                reply = await self._exchange(call, listener)
        except TimeoutError:
            await self.kill()
            raise ComputeTimeout(
                call.sentence(f"did not return within its limit of {seconds:g} s")
            ) from None
        except _TooMuchMemory as error:
            await self.kill()
            if used:
                # It may have been the calls before that took the memory.
                return await self._run(call, seconds, listener)
            limit = limit_text(call.memory_bytes)
            raise ComputeOutOfMemory(
                call.sentence(f"held {error.held / 2**20:,.0f} MiB of memory, more than {limit}")
            ) from None
        except _AnotherReply:
            await self.kill()
            if used:
                # It may be what a call before has left in the connection.
                return await self._run(call, seconds, listener)
            raise ResultInvalid(
                call.sentence("spoiled its process's reply: it is not the one to this call")
            ) from None
        except BaseException:
            await self.kill()
            raise
        self._calls_done += 1
        if reply.tainted:
            await self.kill()
        if reply.error_code is None:
            if reply.result is None:
                raise ResultInvalid(call.sentence("came to neither a result nor an error"))
            return reply.result
        if reply.permanent:
            message = printable(reply.error_message)
            raise _at(reply, ReportedProofError(reply.error_code, message))
        if reply.error_code == DataNotYet.code:
            raise DataNotYet(printable(reply.error_message))
        if reply.error_code == TryLater.code:
            raise _later(call, reply)
        # After an error the process may hold anything, memory above all.
        await self.kill()
        if used and reply.error_code == ComputeOutOfMemory.code:
            # It may have been the calls before that took the memory.
            return await self._run(call, seconds, listener)
        if reply.error_code == NotInstalled.code:
            raise NotInstalled(printable(reply.error_message))
        if reply.error_code == PluginError.code:
            raise _at(reply, ComputeRaised(printable(reply.error_message)))
        raised = _RAISED.get(reply.error_code, ComputeRaised)
        raise _at(reply, raised(call.sentence(printable(reply.error_message))))

    async def kill(self) -> None:
        """End the process and all it started, by SIGTERM and a grace; see `ChildProcess.end`."""
        running, self._running, self._calls_done = self._running, None, 0
        self._memory_bytes = None
        if running is not None:
            await running.end()

    def _next_token(self) -> bytes:
        """Return what the reply to the next call has to begin with."""
        if (token := next(self._tokens, None)) is None:
            self._tokens = _tokens()
            token = next(self._tokens)
        return token

    async def _exchange(self, call: HookCall, listener: Listener) -> Reply:
        running = self._running
        if running is None:
            raise ComputeCrashed(call.sentence("was not called: its process did not start"))
        token = self._next_token()
        message = token + dump_call(call)
        hearing, begin = Hearing(call, listener), TOKEN_BYTES + len(REPLY)

        def is_reply(received: bytes) -> bool:
            if received.startswith(token + REPLY):
                return True
            if received.startswith(token + NOTE) and hearing.take(received[begin:]):
                return False
            raise _AnotherReply

        watch = MemoryWatch(running.process.pid, call.memory_bytes, running.end_at_once)
        watch.start()
        try:
            reply = await running.exchange(
                message, max_reply_bytes=MAX_MESSAGE_BYTES, is_reply=is_reply
            )
        except ProcessDied as error:
            if watch.excess is not None:
                raise _TooMuchMemory(watch.excess) from None
            raise ComputeCrashed(call.sentence(str(error))) from None
        except ReplyTooLarge as error:
            raise ResultInvalid(
                call.sentence(f"returned {error.size} bytes, more than {MAX_MESSAGE_BYTES}")
            ) from None
        finally:
            watch.stop()
        try:
            return structure(parse_json(reply[begin:]), Reply)
        except RequestError as error:
            raise ResultInvalid(call.sentence(f"spoiled its process's reply: {error}")) from None


def _tokens() -> Iterator[bytes]:
    """Draw the tokens of many calls at once: a call of the system for each is dear."""
    drawn = secrets.token_bytes(TOKENS_AT_ONCE * TOKEN_BYTES)
    return (drawn[at : at + TOKEN_BYTES] for at in range(0, len(drawn), TOKEN_BYTES))


def _at(reply: Reply, error: E) -> E:
    error.traceback = printable(reply.traceback)
    return error


def _later(call: HookCall, reply: Reply) -> Exception:
    try:
        return TryLater(reply.later_seconds, printable(reply.error_message))
    except ValueError as error:
        return ResultInvalid(call.sentence(f"spoiled its process's reply: {error}"))


class HeardSlot:
    """A slot, and who hears what its process tells.

    Args:
        slot: The slot.
        listener: Who hears.
    """

    def __init__(self, slot: Slot, listener: Listener) -> None:
        self._slot = slot
        self._listener = listener

    async def run(self, call: HookCall, *, seconds: float) -> dict[str, Any]:
        """Call a hook; see `Slot.run`."""
        return await self._slot.run(call, seconds=seconds, listener=self._listener)
