"""Frames between a worker and its compute process: a length and a JSON text.

JSON, not pickle: what a compute process sends has been near a plugin's code, and unpickling it
would run whatever it says.
"""

import struct
from typing import Any

from attrs import frozen

from prover_framework.model import Inputs

LENGTH = struct.Struct(">I")

# A result of this size is a mistake of the plugin; reading on would fill the worker's memory.
MAX_FRAME_BYTES = 64 * 2**20


@frozen(kw_only=True)
class Task:
    """What a compute process is asked to do.

    Args:
        module: Import path of the plugin's module.
        parameters: The job's parameters as JSON.
        inputs: The data.
        seed: The derived seed, in hex.
        memory_bytes: Limit of the address space.
        claimed: JSON form of a result that is to be judged; None to compute one.
    """

    module: str
    parameters: dict[str, Any]
    inputs: Inputs
    seed: str
    memory_bytes: int
    claimed: dict[str, Any] | None = None


@frozen(kw_only=True)
class Reply:
    """What came of a task: a result, or an error by its code.

    Args:
        result: JSON form of the plugin's result, or of the verdict on a claimed one.
        error_code: Code of a `prover_framework.errors.JobError`.
        error_message: Message of that error.
        permanent: Whether the error is a `prover_framework.errors.ProofError`.
        worn: Whether the process is not to be used again: something of the task goes on in it.
    """

    result: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str = ""
    permanent: bool = False
    worn: bool = False
