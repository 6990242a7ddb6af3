"""The verification process: checks one receipt after the other, and nothing else.

All that is done with a stranger's receipt is done here: it is read, brought into canonical form,
hashed and checked. The process can be ended at any moment, with the processes that it has plugins
called in.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
from attrs import frozen

from prover_framework.errors import ProverError
from prover_framework.logs import LogForm, dress
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.sandbox.protocol import LENGTH, framed
from prover_framework.sandbox.slot import Slot
from prover_framework.sandbox.supervisor import end_with_parent
from prover_framework.seals.keys import PinnedKey
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.settings import Settings
from prover_framework.text import one_line
from prover_framework.verification.sources import Source, open_source, verify_with
from prover_framework.verification.verifier import Verifier

# What a reply is: its first line.
READY = b"ready"
REPORT = b"report"
UNAVAILABLE = b"unavailable"
ENDED = b"ended"

# Address space of the process: ten times what the largest receipt takes beside the libraries.
# Processes that plugins are called in have limits of their own.
MEMORY_BYTES = 2 * 2**30

# Jobs come first: at this priority a process gets a third of a core that another one wants too.
NICENESS = 5

# The checks end by themselves, and with a report, before the process is ended without one.
OWN_PART = 0.9

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Setup:
    """What a verification process is told before anything else: all that it has of the settings.

    Args:
        data_dir: Directory of the embedded database.
        database_url: Database; None for the embedded one.
        verify_headers: See `Settings.verify_headers`.
        rpc_url: The node.
        rpc_batch: How many blocks a request to it asks for.
        rpc_requests_per_second: How many requests a second it gets.
        chain_rules: File with rules of further chains.
        plugin_variables: Variables of the plugins' own settings.
        compute_seconds: Limit of one call of a plugin, beside its own.
        compute_memory_mb: Limit of memory of one, likewise.
        pinned: Public keys that a signature counts under.
        trusted_hash: A block that is trusted unless whoever asks names another.
        seconds: How long the verification of one receipt may take.
        plugins: The plugins to load.
        trace: Log each call of a hook.
        log_level: What is logged.
        log_format: How its lines look.
    """

    data_dir: str
    database_url: str | None = attrs.field(repr=False)
    verify_headers: str | None
    rpc_url: str | None = attrs.field(repr=False)
    rpc_batch: int
    rpc_requests_per_second: float
    chain_rules: str | None
    plugin_variables: dict[str, str] = attrs.field(repr=False)
    compute_seconds: float | None
    compute_memory_mb: int | None
    pinned: tuple[PinnedKey, ...]
    trusted_hash: str | None
    seconds: float
    plugins: tuple[Candidate, ...]
    trace: bool
    log_level: str
    log_format: str

    def settings(self) -> Settings:
        """Return settings with these parts; all others have their defaults."""
        return Settings(
            data_dir=Path(self.data_dir),
            database_url=self.database_url,
            verify_headers=self.verify_headers,
            rpc_url=self.rpc_url,
            rpc_batch=self.rpc_batch,
            rpc_requests_per_second=self.rpc_requests_per_second,
            chain_rules=None if self.chain_rules is None else Path(self.chain_rules),
            plugin_variables=self.plugin_variables,
            compute_seconds=self.compute_seconds,
            compute_memory_mb=self.compute_memory_mb,
        )


@frozen(kw_only=True)
class VerificationRequest:
    """What is asked about a receipt, whose bytes follow after a line break.

    Args:
        trusted_hash: Hash of a block that whoever asks trusts.
    """

    trusted_hash: str | None = None


def serve(descriptor: int, supervisor: int) -> None:
    """Verify receipts until the socket closes.

    Args:
        descriptor: The socket's.
        supervisor: Id of this process's parent.
    """
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    end_with_parent(signal.SIGKILL, supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    _limit_memory()
    asyncio.run(_serve(connection))


def _limit_memory() -> None:
    """Limit this process; what it starts sets its own limit, up to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


async def _serve(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)

    async def reply(kind: bytes, text: bytes = b"") -> None:
        frame = kind + b"\n" + text
        writer.write(framed(frame))
        await writer.drain()

    setup = structure(parse_json(await _frame(reader)), Setup)
    handler = logging.StreamHandler(sys.stderr)
    dress(handler, LogForm(setup.log_format))
    logging.basicConfig(handlers=[handler], level=setup.log_level)
    async with AsyncExitStack() as parts:
        try:
            verifier = _verifier(setup)
            source = await parts.enter_async_context(
                open_source(verifier.settings, "this service's database")
            )
        except ProverError as error:
            await reply(UNAVAILABLE, one_line(str(error)).encode())
            return
        slot = Slot(trace=setup.trace)
        parts.push_async_callback(slot.kill)
        await reply(READY)
        while True:
            try:
                frame = await _frame(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            kind, text = await _answer(frame, verifier, source, slot)
            await reply(kind, text)
            if kind == ENDED:
                # It may hold anything, memory above all.
                return


async def _answer(
    frame: bytes, verifier: Verifier, source: Source, slot: Slot
) -> tuple[bytes, bytes]:
    line, _, body = frame.partition(b"\n")
    try:
        asked = structure(parse_json(line), VerificationRequest)
        if asked.trusted_hash is not None:
            verifier = attrs.evolve(verifier, trusted_hash=asked.trusted_hash)
        report = await verify_with(source, verifier, body, slot=slot)
        return REPORT, dump_json(unstructure(report)).encode()
    except ProverError as error:
        return UNAVAILABLE, one_line(str(error)).encode()
    except MemoryError:
        return ENDED, f"needed more memory than its limit of {MEMORY_BYTES >> 20} MiB".encode()
    except Exception:
        log.exception("a receipt could not be verified")
        return ENDED, b"failed by an error of its own, which the log tells"


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(size)


def _verifier(setup: Setup) -> Verifier:
    return Verifier(
        settings=setup.settings(),
        plugins=load(setup.plugins, trace=setup.trace),
        headers=None,
        pinned=setup.pinned,
        trusted_hash=setup.trusted_hash,
        seconds=setup.seconds * OWN_PART,
    )
