"""What a computation needs of a machine beyond a core, and what a worker has of it.

A resource is a name and an amount: ``gpu`` 1, ``memory_mb`` 8192. Authors of plugins and operators
of workers agree on the names; none of them means anything to the framework.
"""

import re
from collections.abc import Mapping
from typing import Final

from prover_framework.model.names import RESOURCE_NAME

Resources = Mapping[str, int]

MAX_AMOUNT: Final = 2**53 - 1


def require_resources(resources: object) -> None:
    """Require names and amounts of the right form.

    Raises:
        ValueError: One is not.
    """
    if not isinstance(resources, Mapping):
        raise TypeError(f"resources must be names with amounts, got {resources!r}")
    for name, amount in resources.items():
        if not isinstance(name, str) or not re.fullmatch(RESOURCE_NAME, name):
            raise ValueError(f"the name of a resource must match {RESOURCE_NAME}, got {name!r}")
        if type(amount) is not int or not 0 < amount <= MAX_AMOUNT:
            raise ValueError(
                f"the amount of the resource {name} must be an integer above 0, got {amount!r}"
            )


def shortage(wanted: Resources, there: Resources) -> str | None:
    """Say which resource there is too little of, in all; None where everything is enough."""
    for name, amount in wanted.items():
        if amount > there.get(name, 0):
            return f"it needs {name} {amount}, and this worker has {there.get(name, 0)}"
    return None
