"""Frames between a worker and its compute process: a length and a JSON text.

JSON, not pickle: what a compute process sends has been near a plugin's code, and unpickling it
would run whatever it says.
"""

import struct
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import frozen

from prover_framework.errors import Problem
from prover_framework.model import Inputs
from prover_framework.receipts.model import Artefact, GroupReceipts

LENGTH = struct.Struct(">I")

# The argument that makes a compute process log each call of a hook.
TRACE = "trace"

# A result of this size is a mistake of the plugin; reading on would fill the worker's memory.
MAX_FRAME_BYTES = 64 * 2**20


@frozen(kw_only=True)
class Task:
    """A result that a compute process is asked to compute, or to judge.

    Args:
        plugin: Name of the plugin.
        module: Import path of its module.
        parameters: The job's parameters as JSON.
        inputs: The data.
        seed: The derived seed, in hex.
        memory_bytes: Limit of the address space.
        claimed: JSON form of a result that is to be judged; None to compute one.
        package_digest: What the digest of the plugin's files has to be, in hex.
    """

    plugin: str
    module: str
    parameters: dict[str, Any]
    inputs: Inputs
    seed: str
    memory_bytes: int
    claimed: dict[str, Any] | None = None
    package_digest: str | None = None

    @property
    def hook(self) -> str:
        """Name of the hook that it is about."""
        return "compute" if self.claimed is None else "verify"


class Asked(StrEnum):
    """What a plugin is asked about parameters, by the hook that answers."""

    VALIDATE = "validate"
    INPUTS = "inputs"
    DISPATCH = "dispatch"


@frozen(kw_only=True)
class AskTask:
    """Parameters that a plugin is asked about, before there is any data.

    Args:
        plugin: Name of the plugin.
        module: Import path of its module.
        question: What it is asked.
        parameters: The parameters as JSON.
        memory_bytes: Limit of the address space.
        package_digest: What the digest of the plugin's files has to be, in hex.
    """

    plugin: str
    module: str
    question: Asked
    parameters: dict[str, Any]
    memory_bytes: int
    package_digest: str | None = None

    @property
    def hook(self) -> str:
        """Name of the hook that it is about."""
        return self.question.value


@frozen(kw_only=True)
class ComposeTask:
    """A group whose receipts a plugin is asked to compose.

    Args:
        plugin: Name of the plugin.
        module: Import path of its module.
        group: The receipts of the group.
        memory_bytes: Limit of the address space.
        package_digest: What the digest of the plugin's files has to be, in hex.
    """

    plugin: str
    module: str
    group: GroupReceipts
    memory_bytes: int
    package_digest: str | None = None

    @property
    def hook(self) -> str:
        """Name of the hook that it is about."""
        return "compose"


@frozen(kw_only=True)
class SealTask:
    """A seal that a plugin is asked to make, or to judge.

    Args:
        plugin: Name of the plugin.
        module: Import path of its module.
        receipt: JSON form of the receipt.
        digest: Digest of the receipt, in hex.
        memory_bytes: Limit of the address space.
        inputs: The data of a receipt that was just made.
        claimed: The seal that is to be judged; None to make one.
        package_digest: What the digest of the plugin's files has to be, in hex.
    """

    plugin: str
    module: str
    receipt: dict[str, Any]
    digest: str
    memory_bytes: int
    inputs: Inputs | None = None
    claimed: dict[str, Any] | None = None
    package_digest: str | None = None

    @property
    def hook(self) -> str:
        """Name of the hook that it is about."""
        return "make_seal" if self.claimed is None else "check_seal"


AnyTask: TypeAlias = Task | AskTask | ComposeTask | SealTask


@frozen(kw_only=True)
class Request:
    """The frame to a compute process: one of its members is there."""

    proof: Task | None = None
    ask: AskTask | None = None
    compose: ComposeTask | None = None
    seal: SealTask | None = None


@frozen
class Problems:
    """What an `AskTask` comes to that validates."""

    problems: tuple[Problem, ...]


@frozen
class Artefacts:
    """What a `ComposeTask` comes to."""

    artefacts: tuple[Artefact, ...]


@frozen
class Sealed:
    """What a `SealTask` comes to that makes a seal; None where the kind does not apply."""

    seal: dict[str, Any] | None


@frozen(kw_only=True)
class Reply:
    """What came of a task: a result, or an error by its code.

    Args:
        result: JSON form of the plugin's result or of a verdict, of the answer to an `AskTask`, of
            `Artefacts` or `Sealed`.
        error_code: Code of a `prover_framework.errors.JobError`.
        error_message: Message of that error; that of a `ComputeError` says what the hook did, as
            the rest of a sentence.
        permanent: Whether the error is a `prover_framework.errors.ProofError`.
        worn: Whether the process is not to be used again: something of the task goes on in it.
    """

    result: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str = ""
    permanent: bool = False
    worn: bool = False
