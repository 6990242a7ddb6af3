"""Messages between a worker and a sandbox process: a length, a token and a JSON text.

A reply has the token of its call. Nothing else can be the answer: what a plugin wrote to the
connection, or the reply to a call before. Between token and text a byte tells replies from notes,
which come before the reply: how far a computation is, and what it logs.

JSON, not pickle: what a sandbox process sends has been near a plugin's code, and unpickling it
would run whatever it says.
"""

import logging
import struct
from typing import Any

import attrs
from attrs import field, frozen
from attrs.validators import matches_re, optional

from prover_framework.errors import ERROR_CODE, Problem, RequestError
from prover_framework.log_context import NOTHING, LogContext
from prover_framework.logs import LogForm
from prover_framework.model.attachments import AttachmentPlace
from prover_framework.model.work import Progress
from prover_framework.serialization.converter import structure, unstructure_object
from prover_framework.serialization.json_text import dump_json, parse_json

LENGTH = struct.Struct(">I")


def framed(message: bytes) -> bytes:
    """Return a message with its length before it, as it goes over a connection."""
    return LENGTH.pack(len(message)) + message


# Nobody who is called knows the token of a later call.
TOKEN_BYTES = 8

REPLY = b"r"
NOTE = b"n"

# A line of a log and a progress are far below this.
MAX_NOTE_BYTES = 16 * 2**10

# How many notes a process may send in a call, beside so many a second. What its own bounds let pass
# is a third of this: more of them are somebody's who writes to the connection by himself.
NOTES_AT_ONCE = 400
NOTES_A_SECOND = 50.0

# The argument that makes a sandbox process log each call of a hook.
TRACE = "trace"

# A result of this size is a mistake of the plugin: no receipt could hold it. Whoever called reads
# it between other work, which waits for that.
MAX_MESSAGE_BYTES = 4 * 2**20


@frozen(kw_only=True)
class HookCall:
    """A call of one hook of one plugin, as a sandbox process is sent it.

    Args:
        plugin: Name of the plugin.
        module: Import path of its module.
        package_digest: What the digest of the plugin's files has to be, in hex.
        memory_bytes: Limit of resident memory, of the process with all that it starts.
        hook: Name of the hook, one of `prover_framework.sandbox.hooks.HOOKS`.
        arguments: The hook's arguments by their names, in their JSON form.
        log_level: Records of the plugin below this level are not sent.
        log_form: How what is logged in the process itself looks.
        about: What it is about.
        directory: The directory for checkpoints, which need not exist yet.
        cache: The plugin's own directory, which need not exist yet.
        works: Whether the plugin's computation asks for `prover_framework.model.work.Work`.
        place: Where it puts attachments; None where it may attach nothing.
    """

    plugin: str
    module: str
    package_digest: str
    memory_bytes: int
    hook: str
    arguments: dict[str, Any]
    log_level: int = logging.WARNING
    log_form: LogForm = LogForm.TEXT
    about: LogContext = NOTHING
    directory: str | None = None
    cache: str | None = None
    works: bool = False
    place: AttachmentPlace | None = None

    def sentence(self, what: str) -> str:
        """Say of the hook what it did."""
        return f"plugin {self.plugin}: its hook {self.hook} {what}"


@frozen(kw_only=True)
class LogLine:
    """A record of a plugin's log.

    Args:
        level: Its level, as the module `logging` counts.
        logger: Name of the logger.
        text: What it says, in one line.
    """

    level: int
    logger: str
    text: str


@frozen(kw_only=True)
class Note:
    """What a process tells while it makes a call: one of these."""

    progress: Progress | None = None
    line: LogLine | None = None


@frozen(kw_only=True)
class Reply:
    """What came of a call: an answer, or an error by its code.

    Args:
        result: JSON form of the answer.
        error_code: Code of a `prover_framework.errors.JobError`.
        error_message: Message of that error; that of a `ComputeError` says what the hook did, as
            the rest of a sentence.
        permanent: Whether the error is a `prover_framework.errors.ProofError`.
        tainted: Whether the process is not to be used again: something of the call goes on in it.
        later_seconds: For how long the plugin puts the call off, with the code of
            `prover_framework.errors.TryLater`.
        traceback: Where in the plugin's own files the error was raised, a line for each call.
    """

    result: dict[str, Any] | None = None
    error_code: str | None = field(default=None, validator=optional(matches_re(ERROR_CODE)))
    error_message: str = ""
    permanent: bool = False
    tainted: bool = False
    later_seconds: float = 0.0
    traceback: str = ""


def dump_call(call: HookCall) -> bytes:
    """Return a call as JSON text.

    The arguments are JSON already. To walk through them once more takes as long as a small
    computation, where there are thousands of hours among them.
    """
    header = unstructure_object(attrs.evolve(call, arguments={}))
    return dump_json({**header, "arguments": call.arguments}).encode()


def parse_call(text: bytes) -> HookCall:
    """Read what `dump_call` has written.

    Raises:
        RequestError: It is no call.
    """
    document = parse_json(text)
    arguments = document.get("arguments") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(arguments, dict):
        raise RequestError([Problem("", "is no call of a hook")])
    return attrs.evolve(structure({**document, "arguments": {}}, HookCall), arguments=arguments)
