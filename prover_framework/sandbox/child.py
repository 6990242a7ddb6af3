"""The sandbox process: makes one hook call after the other, and nothing else.

It reads calls from a socket and writes replies to it. Standard output and error are the log's: a
plugin that prints disturbs nothing. What a call has started ends with the call.
"""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

import attrs
from attrs import frozen

from prover_framework.errors import (
    ERROR_CODE,
    RESERVED_CODES,
    AttachmentMissing,
    ComputeOutOfMemory,
    ComputeRaised,
    DataNotYet,
    InvalidReturn,
    NotInstalled,
    PluginError,
    ProofError,
    ResultInvalid,
    TryLater,
)
from prover_framework.log_context import log_about
from prover_framework.logs import TRACE_LOGGER, LogForm, dress
from prover_framework.model.attachments import AttachmentPlace
from prover_framework.model.work import Work
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.plugins.package_digest import package_digest
from prover_framework.plugins.places import own_places
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.hooks import COMPUTE, DATA_NEEDS, HOOKS, LOAD
from prover_framework.sandbox.limits import MemoryLimit, limit_process, limit_text
from prover_framework.sandbox.protocol import (
    LENGTH,
    REPLY,
    TOKEN_BYTES,
    TRACE,
    HookCall,
    Reply,
    parse_call,
)
from prover_framework.sandbox.supervisor import (
    adopt_orphans,
    end_children,
    end_with_parent,
    let_children_end,
)
from prover_framework.sandbox.telling import Telling
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.text import describe_error, printable, shown

# An exception can carry anything; a log line and a column should not.
MESSAGE_LIMIT = 2000


CODE_RULE = (
    "a code of lower-case words of letters, digits and '_' with dots between, 63 characters at most"
)


# Where whoever calls has no use for attachments none may be made, and no directory is there.
NO_PLACE = AttachmentPlace(
    directory=os.devnull, attachments=0, attachment_bytes=0, attachments_bytes=0
)

# The hooks that may put a job off.
MAY_WAIT = frozenset({DATA_NEEDS.name, LOAD.name, COMPUTE.name})


@frozen
class _Loaded:
    plugins: Plugins
    package_digest: str


def serve(descriptor: int, supervisor: int, *options: str) -> None:
    """Make calls until the socket closes.

    Args:
        descriptor: The socket's.
        supervisor: Id of this process's parent.
        options: `TRACE`, or nothing.
    """
    trace = _TraceHandler() if TRACE in options else None
    connection = socket.socket(fileno=descriptor)
    # What a plugin starts has no business on this line.
    connection.set_inheritable(False)
    end_with_parent(signal.SIGKILL, supervisor)
    adopt_orphans()
    limit_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loaded: dict[str, _Loaded] = {}
    memory = MemoryLimit()
    telling = Telling(connection)
    logging.getLogger().addHandler(telling)
    while (message := _read_message(connection)) is not None:
        token = message[:TOKEN_BYTES]
        telling.begin(token)
        reply = _perform(message[TOKEN_BYTES:], loaded, memory, telling, trace)
        _flush_prints()
        end_children()
        # A thread cannot be ended alone.
        reply = attrs.evolve(reply, tainted=threading.active_count() > 1)
        telling.end(token + REPLY + dump_json(unstructure(reply)).encode())


class _TraceHandler(logging.StreamHandler[TextIO]):
    """Writes the trace of hooks at once and unbounded, as it is written in the service."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._form: LogForm | None = None
        trace = logging.getLogger(TRACE_LOGGER)
        trace.addHandler(self)
        trace.propagate = False

    def wear(self, form: LogForm) -> None:
        """Give the lines the form that they have in the service."""
        if self._form is not form:
            self._form = form
            self.filters.clear()
            dress(self, form)


def _flush_prints() -> None:
    """Pass on what a plugin printed: whoever has the reply may end this process at once."""
    for stream in (sys.stdout, sys.stderr):
        # A plugin may have closed it, or put anything in its place.
        with suppress(Exception):
            stream.flush()


def _read_message(connection: socket.socket) -> bytes | None:
    header = _read_exactly(connection, LENGTH.size)
    if header is None:
        return None
    return _read_exactly(connection, LENGTH.unpack(header)[0])


def _read_exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _perform(
    text: bytes,
    loaded: dict[str, _Loaded],
    memory: MemoryLimit,
    telling: Telling,
    trace: _TraceHandler | None,
) -> Reply:
    module, limit = "", 0
    try:
        call = parse_call(text)
        module, limit = call.module, call.memory_bytes
        memory.set(limit)
        logging.getLogger().setLevel(call.log_level)
        log_about(call.about)
        if trace is not None:
            trace.wear(call.log_form)
        plugin = _plugin(call, loaded, trace=trace is not None)
        work = _work(call, telling)
        with _ended_by_exception() if call.works else nullcontext():
            result = HOOKS[call.hook].perform(call.arguments, plugin, work)
            work.close()
            return Reply(result=result)
    except ProofError as error:
        return _raised(error, module, _refusal(error))
    except DataNotYet as error:
        return _wait(error, call.hook)
    except InvalidReturn as error:
        return _raised(error, module, _error(ResultInvalid.code, error.how))
    except MemoryError:
        return _error(ComputeOutOfMemory.code, f"needed more memory than {limit_text(limit)}")
    except (ResultInvalid, AttachmentMissing, PluginError) as error:
        return _raised(error, module, _error(error.code, str(error)))
    except Exception as error:
        told = _error(ComputeRaised.code, f"raised {describe_error(error)}")
        return _raised(error, module, told)


def _work(call: HookCall, telling: Telling) -> Work:
    return Work(_path(call.directory), telling.progress, _path(call.cache), call.place or NO_PLACE)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    """Let SIGTERM end a call by `SystemExit`, so that what the plugin does at its end is done.

    While no call is made it ends the process at once.
    """

    def end(number: int, _: FrameType | None) -> None:
        # Once is enough: what is done at the end is not to be ended in turn.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Python's own `subprocess.run` kills what it has started when an exception comes.
        let_children_end()
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raised(error: Exception, module: str, reply: Reply) -> Reply:
    """Say in a reply where in the plugin's own files an error was raised."""
    return attrs.evolve(reply, traceback=printable(own_places(error, module)))


def _refusal(error: ProofError) -> Reply:
    """Return what a plugin refuses with, under a code that may be its own."""
    code: object = error.code
    if not isinstance(code, str) or not re.fullmatch(ERROR_CODE, code):
        how = f"raised {type(error).__name__} with the code {shown(code)}, which is not {CODE_RULE}"
        return _error(ResultInvalid.code, how)
    if code in RESERVED_CODES:
        how = f"raised {type(error).__name__} with the code {code}, which is the framework's own"
        return _error(ResultInvalid.code, how)
    return _error(code, _text(error), permanent=True)


def _wait(error: DataNotYet, hook: str) -> Reply:
    """Return that a plugin puts its job off, where there is a job that can wait."""
    if hook not in MAY_WAIT:
        return _error(ComputeRaised.code, f"raised {describe_error(error)}")
    if isinstance(error, TryLater):
        return attrs.evolve(_error(TryLater.code, _text(error)), later_seconds=error.seconds)
    return _error(DataNotYet.code, _text(error))


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return f"{type(error).__name__}: (its text cannot be shown)"


def _error(code: str, message: str, *, permanent: bool = False) -> Reply:
    shown = printable(message)[:MESSAGE_LIMIT]
    return Reply(error_code=code, error_message=shown, permanent=permanent)


def _plugin(call: HookCall, loaded: dict[str, _Loaded], *, trace: bool) -> Plugins:
    """Load the plugin of a call, once."""
    module = call.module
    if module not in loaded:
        plugins = load([Candidate(call.plugin, module, module, "")], strict=True, trace=trace)
        loaded[module] = _Loaded(plugins, package_digest(module).hex())
    # The process that calls may be older than the files that were loaded here.
    if call.package_digest != loaded[module].package_digest:
        raise NotInstalled(
            f"the files of {module} have changed since this service was started: restart it"
        )
    return loaded[module].plugins
