"""What the loops of a worker have in common."""

import asyncio

from prover_framework.errors import ProverError


async def rest(stopping: asyncio.Event, seconds: float) -> None:
    """Wait, unless the worker stops."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


def is_unforeseen(error: Exception) -> bool:
    """Tell whether an error is a mistake of the framework, so that the log needs a stack trace."""
    return not isinstance(error, (ProverError, OSError))
