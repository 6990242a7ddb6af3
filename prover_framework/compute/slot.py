"""A slot: one compute process under supervision.

The process is a fresh interpreter with a keeper of its own, so that it can be ended with all that
it started. It is kept for the next task, since importing numerical libraries takes longer than
most computations, and replaced when it dies, overruns or is cancelled.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from contextlib import suppress

from attrs import frozen

from prover_framework.compute import keeper
from prover_framework.compute.frames import (
    LENGTH,
    MAX_FRAME_BYTES,
    TRACE,
    AnyTask,
    AskTask,
    ComposeTask,
    Reply,
    Request,
    SealTask,
    Task,
)
from prover_framework.errors import (
    ComputeCrashed,
    ComputeError,
    ComputeOutOfMemory,
    ComputeRaised,
    ComputeTimeout,
    PluginError,
    ProofError,
    RequestError,
    ResultInvalid,
)
from prover_framework.jsontext import dump_json, parse_json
from prover_framework.wire import structure, unstructure

# Each slot computes on one core; numerical libraries that start a thread for each core would make
# the slots fight, and sums in an order that depends on the machine.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}

# What a plugin needs to know of the environment is what Python needs, and what tells numerical
# libraries about the processor where they find out wrongly; credentials of the service are not for
# it.
PASSED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
)

# A process that has died can have sent its reply before; reading that takes no time.
LAST_WORDS_SECONDS = 1.0

# One that has closed its connection without dying is given this long to do so.
OBITUARY_SECONDS = 5.0

# A keeper ends what it keeps within milliseconds. One that does not is ended itself, and the
# compute process with it.
KEEPER_SECONDS = 5.0

_RAISED: dict[str, type[ComputeError]] = {
    cls.code: cls for cls in (ComputeRaised, ComputeOutOfMemory, ResultInvalid)
}


class ReportedProofError(ProofError):
    """A `ProofError` that a plugin raised in its compute process, with the code it had there."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]


@frozen
class _Running:
    """A keeper with its compute process, and the connection to the latter."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Slot:
    """Runs one task at a time in its own process.

    Args:
        trace: Log each call of a hook there.
    """

    def __init__(self, *, trace: bool = False) -> None:
        self._trace = trace
        self._running: _Running | None = None
        self._tasks_done = 0

    async def start(self) -> None:
        """Start the process ahead of its first task, or in place of one that has died.

        Raises:
            OSError: This machine has no room for another process.
        """
        if self._running is not None and self._running.process.returncode is not None:
            await self.kill()
        if self._running is None:
            self._running = await _spawn(trace=self._trace)

    async def run(self, task: AnyTask, *, seconds: float) -> dict[str, object]:
        """Have a task done; return the JSON form of its result.

        Cancelling the call kills the process.

        Raises:
            ProofError: The plugin refused, for good.
            ComputeError: The computation failed, overran its limits or took its process down.
        """
        await self.start()
        try:
            async with asyncio.timeout(seconds):
                reply = await self._exchange(task)
        except TimeoutError:
            await self.kill()
            raise ComputeTimeout(
                _sentence(task, f"did not return within its limit of {seconds:g} s")
            ) from None
        except BaseException:
            await self.kill()
            raise
        used = self._tasks_done > 0
        self._tasks_done += 1
        if reply.worn:
            await self.kill()
        if reply.error_code is None:
            if reply.result is None:
                raise ResultInvalid(_sentence(task, "came to neither a result nor an error"))
            return reply.result
        if reply.permanent:
            raise ReportedProofError(reply.error_code, reply.error_message)
        # After an error the process may hold anything, memory above all.
        await self.kill()
        if used and reply.error_code == ComputeOutOfMemory.code:
            # It may have been the tasks before that took the memory.
            return await self.run(task, seconds=seconds)
        if reply.error_code == PluginError.code:
            raise ComputeRaised(reply.error_message)
        raise _RAISED.get(reply.error_code, ComputeRaised)(_sentence(task, reply.error_message))

    async def kill(self) -> None:
        """End the process and all it started, at once."""
        running, self._running, self._tasks_done = self._running, None, 0
        if running is None:
            return
        running.writer.close()
        await _end(running.process)
        with suppress(OSError):
            await running.writer.wait_closed()

    async def _exchange(self, task: AnyTask) -> Reply:
        running = self._running
        if running is None:
            raise ComputeCrashed(_sentence(task, "was not called: its process did not start"))
        frame = dump_json(unstructure(_request(task))).encode()
        talk = asyncio.create_task(_talk(running, LENGTH.pack(len(frame)) + frame))
        death = asyncio.create_task(running.process.wait())
        try:
            await asyncio.wait({talk, death}, return_when=asyncio.FIRST_COMPLETED)
            # What a process that has died left in its socket is read at once. The socket's end
            # may not come: whatever the process has forked holds it open.
            await asyncio.wait({talk}, timeout=LAST_WORDS_SECONDS)
            if not talk.done():
                raise ComputeCrashed(_sentence(task, await _obituary(running.process)))
            size, text = talk.result()
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ComputeCrashed(_sentence(task, await _obituary(running.process))) from None
        finally:
            talk.cancel()
            death.cancel()
            await asyncio.gather(talk, death, return_exceptions=True)
        if size > MAX_FRAME_BYTES:
            raise ResultInvalid(
                _sentence(task, f"returned {size} bytes, more than {MAX_FRAME_BYTES}")
            )
        try:
            return structure(parse_json(text), Reply)
        except RequestError as error:
            raise ResultInvalid(_sentence(task, f"spoiled its process's reply: {error}")) from None


def _request(task: AnyTask) -> Request:
    match task:
        case Task():
            return Request(proof=task)
        case AskTask():
            return Request(ask=task)
        case ComposeTask():
            return Request(compose=task)
        case SealTask():
            return Request(seal=task)


def _sentence(task: AnyTask, what: str) -> str:
    return f"plugin {task.plugin}: its hook {task.hook} {what}"


async def _talk(running: _Running, frame: bytes) -> tuple[int, bytes]:
    """Send a frame and return the size and, unless that is too large, the text of the reply's."""
    running.writer.write(frame)
    await running.writer.drain()
    (size,) = LENGTH.unpack(await running.reader.readexactly(LENGTH.size))
    if size > MAX_FRAME_BYTES:
        return size, b""
    return size, await running.reader.readexactly(size)


async def _spawn(*, trace: bool) -> _Running:
    ours, theirs = socket.socketpair()
    process: Process | None = None
    try:
        with theirs:
            process = await _start_interpreter(theirs.fileno(), trace=trace)
        reader, writer = await asyncio.open_connection(sock=ours)
    except BaseException:
        ours.close()
        if process is not None:
            await _end(process)
        raise
    return _Running(process, reader, writer)


async def _end(process: Process) -> None:
    """End a keeper with all that it keeps."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(KEEPER_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _start_interpreter(descriptor: int, *, trace: bool) -> Process:
    environment = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        # The keeper's directory is no place to import from.
        "-P",
        keeper.__file__,
        "prover_framework.compute.child",
        str(descriptor),
        str(os.getpid()),
        *([TRACE] if trace else []),
        pass_fds=[descriptor],
        stdin=asyncio.subprocess.DEVNULL,
        # Whatever a plugin prints goes where the log goes, never into somebody's pipe.
        stdout=sys.stderr.fileno() if _has_descriptor() else asyncio.subprocess.DEVNULL,
        stderr=None if _has_descriptor() else asyncio.subprocess.DEVNULL,
        env={
            **environment,
            **ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        start_new_session=True,
    )


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


async def _obituary(process: Process) -> str:
    with suppress(TimeoutError):
        async with asyncio.timeout(OBITUARY_SECONDS):
            await process.wait()
    status = process.returncode
    if status is None:
        return "closed its process's connection"
    if status < 0:
        return f"took its process down: it was ended by {_name_of(-status)}"
    return f"took its process down: it exited with status {status}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # The real-time signals have no names.
        return f"signal {number}"
