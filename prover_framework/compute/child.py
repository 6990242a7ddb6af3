"""The compute process: computes one task after the other, and nothing else.

It reads tasks from a socket and writes replies to it. Standard output and error are the log's: a
plugin that prints disturbs nothing. What a task has started ends with the task.
"""

import logging
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

import attrs
from attrs import frozen

from prover_framework.compute.frames import (
    LENGTH,
    TRACE,
    AnyTask,
    Artefacts,
    Asked,
    AskTask,
    ComposeTask,
    Problems,
    Reply,
    Request,
    Sealed,
    SealTask,
    Task,
)
from prover_framework.compute.keeper import adopt_orphans, end_children, end_with_parent
from prover_framework.errors import (
    ComputeOutOfMemory,
    ComputeRaised,
    PluginError,
    ProofError,
    RequestError,
    ResultInvalid,
    told,
)
from prover_framework.jsontext import dump_json, parse_json
from prover_framework.model import DataNeeds, Dispatch, JobRequest, Verdict
from prover_framework.plugins import Candidate, Plugins, ProofHooks, Sealer, load
from prover_framework.receipts.documents import receipt_from
from prover_framework.receipts.packages import package_digest
from prover_framework.trace import LOG_FORMAT
from prover_framework.wire import structure, unstructure

# An exception can carry anything; a log line and a column should not.
MESSAGE_LIMIT = 2000


@frozen
class _Loaded:
    plugins: Plugins
    package_digest: str


def serve(descriptor: int, keeper: int, *options: str) -> None:
    """Serve tasks until the socket closes.

    Args:
        descriptor: The socket's.
        keeper: Id of this process's parent.
        options: `TRACE`, or nothing.
    """
    trace = TRACE in options
    if trace:
        logging.basicConfig(stream=sys.stderr, format=LOG_FORMAT)
    connection = socket.socket(fileno=descriptor)
    # What a plugin starts has no business on this line.
    connection.set_inheritable(False)
    end_with_parent(signal.SIGKILL, keeper)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loaded: dict[str, _Loaded] = {}
    while (text := _read_frame(connection)) is not None:
        reply = _perform(text, loaded, trace=trace)
        _flush_prints()
        end_children()
        # A thread can not be ended alone.
        reply = attrs.evolve(reply, worn=threading.active_count() > 1)
        frame = dump_json(unstructure(reply)).encode()
        connection.sendall(LENGTH.pack(len(frame)) + frame)


def _flush_prints() -> None:
    """Pass on what a plugin printed: whoever has the reply may end this process at once."""
    for stream in (sys.stdout, sys.stderr):
        # A plugin may have closed it, or put anything in its place.
        with suppress(Exception):
            stream.flush()


def _read_frame(connection: socket.socket) -> bytes | None:
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


def _perform(text: bytes, loaded: dict[str, _Loaded], *, trace: bool) -> Reply:
    try:
        request = structure(parse_json(text), Request)
        task = request.proof or request.ask or request.compose or request.seal
        if task is None:
            return _error(ComputeRaised.code, "was not called: the frame asks for nothing")
        _limit_memory(task.memory_bytes)
        plugin = _plugin(task, loaded, trace=trace)
        match task:
            case Task():
                (hooks,) = plugin.hooks.values()
                return Reply(result=_compute(task, hooks))
            case AskTask():
                (hooks,) = plugin.hooks.values()
                return Reply(result=_form(_answer(task, hooks)))
            case ComposeTask():
                (composer,) = plugin.composers
                return Reply(result=_form(Artefacts(composer.compose(task.group))))
            case SealTask():
                (sealer,) = plugin.sealers.values()
                return Reply(result=_seal(task, sealer))
    except ProofError as error:
        return _error(error.code, str(error), permanent=True)
    except MemoryError:
        return _error(ComputeOutOfMemory.code, "needed more memory than its limit")
    except (ResultInvalid, PluginError) as error:
        return _error(error.code, str(error))
    except Exception as error:
        return _error(ComputeRaised.code, f"raised {told(error)}")


def _error(code: str, message: str, *, permanent: bool = False) -> Reply:
    shown = message.encode("utf-8", "backslashreplace").decode()[:MESSAGE_LIMIT]
    return Reply(error_code=code, error_message=shown, permanent=permanent)


def _limit_memory(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _compute(task: Task, hooks: ProofHooks) -> dict[str, Any]:
    proof_type = hooks.proof_type
    parameters = structure(task.parameters, proof_type.parameters)
    seed = bytes.fromhex(task.seed)
    if task.claimed is not None:
        try:
            claimed = structure(task.claimed, proof_type.result)
        except RequestError as error:
            return _form(Verdict(accepted=False, reason=f"the result can not be read: {error}"))
        return _form(hooks.verify(parameters, task.inputs, seed, claimed))
    result = hooks.compute(parameters, task.inputs, seed)
    if not isinstance(result, proof_type.result):
        raise ResultInvalid(f"returned {type(result).__name__}, not {proof_type.result.__name__}")
    return _form(result)


def _answer(task: AskTask, hooks: ProofHooks) -> Problems | DataNeeds | Dispatch:
    parameters = structure(task.parameters, hooks.proof_type.parameters)
    match task.question:
        case Asked.VALIDATE:
            return Problems(tuple(hooks.validate(parameters)))
        case Asked.INPUTS:
            return hooks.inputs(parameters)
        case Asked.DISPATCH:
            return hooks.dispatch(JobRequest(hooks.proof_type.name, parameters))


def _seal(task: SealTask, sealer: Sealer) -> dict[str, Any]:
    receipt, digest = receipt_from(task.receipt), bytes.fromhex(task.digest)
    if task.claimed is not None:
        return _form(sealer.check(receipt, digest, task.claimed))
    return _form(Sealed(sealer.make(receipt, digest, task.inputs)))


def _form(result: object) -> dict[str, Any]:
    """Return the JSON form of a result, which has to survive the way to JSON and back."""
    form = unstructure(result)
    try:
        if structure(parse_json(dump_json(form).encode()), type(result)) != result:
            raise ResultInvalid("returned what is something else after it went through JSON")
    except (ValueError, TypeError, RequestError) as error:
        raise ResultInvalid(f"returned what has no JSON form: {error}") from None
    if not isinstance(form, dict):
        raise ResultInvalid("returned what is no object in JSON")
    return form


def _plugin(task: AnyTask, loaded: dict[str, _Loaded], *, trace: bool) -> Plugins:
    """Load the plugin of a task, once."""
    module = task.module
    if module not in loaded:
        plugins = load([Candidate(task.plugin, module, module, "")], strict=True, trace=trace)
        loaded[module] = _Loaded(plugins, package_digest(module).hex())
    # The process that asks may be older than the files that were loaded here.
    if task.package_digest not in (None, loaded[module].package_digest):
        raise PluginError(
            f"the files of {module} have changed since this service was started: restart it"
        )
    return loaded[module].plugins
