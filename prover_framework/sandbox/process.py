"""A supervised child process: an interpreter of its own that answers one message with another.

Its supervisor ends it with all that it has started, when that is wanted or when this process ends,
however that ends.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress

from attrs import frozen

from prover_framework.sandbox import supervisor as supervisor
from prover_framework.sandbox.protection import end_strays
from prover_framework.sandbox.protocol import LENGTH, framed

# Each process computes on one core; numerical libraries that start a thread for each core would
# make the processes fight, and sums in an order that depends on the machine.
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
EXIT_SECONDS = 5.0

# A supervisor ends what is below it within milliseconds after its grace. One that does not is ended
# itself, and the process with it.
END_SECONDS = supervisor.GRACE_SECONDS + 5.0


class ProcessDied(Exception):
    """The process ended, or closed its connection, before it had replied.

    The message says how, as the rest of a sentence.
    """


class ReplyTooLarge(Exception):
    """The process began a reply that is larger than the limit; the rest of it is not read.

    Args:
        size: How many bytes it would have.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"{size} bytes")


def _is_any(_: bytes) -> bool:
    """Take whatever comes for the reply."""
    return True


@frozen
class ChildProcess:
    """A supervisor with the process below it, and the connection to the latter.

    Args:
        process: The supervisor.
        reader: What the process below sends.
        writer: What it is sent.
        exit_seconds: How long a process that has closed its connection may take to exit.
        end_seconds: How long the supervisor may take to end all that is below it.
    """

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    exit_seconds: float
    end_seconds: float
    _death: "asyncio.Task[int]"

    @classmethod
    async def start(
        cls,
        module: str,
        *arguments: str,
        exit_seconds: float = EXIT_SECONDS,
        end_seconds: float = END_SECONDS,
    ) -> "ChildProcess":
        """Start an interpreter that calls ``module.serve(descriptor, supervisor, *arguments)``.

        Args:
            module: Import path of the module.
            arguments: What `serve` is given besides.
            exit_seconds: How long a process that has closed its connection may take to exit.
            end_seconds: How long the supervisor may take to end all that is below it.

        Raises:
            OSError: This machine has no room for another process.
        """
        ours, theirs = socket.socketpair()
        process: Process | None = None
        try:
            with theirs:
                process = await _start_interpreter(theirs.fileno(), module, arguments)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            if process is not None:
                await _end(process, end_seconds)
            raise
        # The socket's end may not come: whatever the process has forked holds it open.
        death = asyncio.create_task(process.wait())
        death.add_done_callback(lambda _: _end_later(writer))
        return cls(process, reader, writer, exit_seconds, end_seconds, death)

    async def exchange(
        self,
        message: bytes,
        *,
        max_reply_bytes: int,
        is_reply: Callable[[bytes], bool] = _is_any,
    ) -> bytes:
        """Send a message and return the reply's.

        Args:
            message: What is sent.
            max_reply_bytes: How large a message back may be.
            is_reply: Called with each message that comes; the first one that it says yes to is
                returned. What it raises ends the exchange.

        Whoever cancels the call has to end the process: it may go on with its work.

        Raises:
            ProcessDied: There will be no reply.
            ReplyTooLarge: The reply is larger than ``max_reply_bytes``.
        """
        try:
            return await self._talk(message, max_reply_bytes, is_reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ProcessDied(await self._obituary()) from None

    def end_at_once(self) -> None:
        """Have the process and all it started ended without any grace; `end` has to follow."""
        with suppress(ProcessLookupError):
            self.process.send_signal(supervisor.AT_ONCE)

    async def end(self) -> None:
        """End the process and all it started: by SIGTERM, and what is left after a grace at once.

        The grace is `prover_framework.sandbox.supervisor.GRACE_SECONDS`.
        """
        self.writer.close()
        await _end(self.process, self.end_seconds)
        with suppress(OSError):
            await self.writer.wait_closed()

    async def _talk(
        self, message: bytes, max_reply_bytes: int, is_reply: Callable[[bytes], bool]
    ) -> bytes:
        self.writer.write(framed(message))
        await self.writer.drain()
        while True:
            (size,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
            if size > max_reply_bytes:
                raise ReplyTooLarge(size)
            if is_reply(received := await self.reader.readexactly(size)):
                return received

    async def _obituary(self) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.exit_seconds):
                await self.process.wait()
        status = self.process.returncode
        if status is None:
            return "closed its process's connection"
        if status < 0:
            return f"took its process down: it was ended by {_name_of(-status)}"
        return f"took its process down: it exited with status {status}"


def _end_later(writer: asyncio.StreamWriter) -> None:
    """End the connection to a process that has died, once what it has left there can be read."""
    if not writer.is_closing():
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, writer.transport.abort)


async def _end(process: Process, seconds: float) -> None:
    """End a supervisor with all that is below it."""
    with suppress(ProcessLookupError):
        process.send_signal(supervisor.GENTLY)
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    # A plugin may have killed its supervisor before that could end what it had started.
    await asyncio.to_thread(end_strays)


def clean_environment() -> dict[str, str]:
    """Return the environment of a process that runs a plugin's code, without any secret."""
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return {**passed, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


async def _start_interpreter(descriptor: int, module: str, arguments: tuple[str, ...]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        # The supervisor's directory is no place to import from.
        "-P",
        supervisor.__file__,
        module,
        str(descriptor),
        str(os.getpid()),
        *arguments,
        pass_fds=[descriptor],
        stdin=asyncio.subprocess.DEVNULL,
        # Whatever a plugin prints goes where the log goes, never into somebody's pipe.
        stdout=sys.stderr.fileno() if _has_descriptor() else asyncio.subprocess.DEVNULL,
        stderr=None if _has_descriptor() else asyncio.subprocess.DEVNULL,
        env=clean_environment(),
        start_new_session=True,
    )


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # The real-time signals have no names.
        return f"signal {number}"
