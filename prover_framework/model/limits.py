"""What one call of a plugin may use."""

from attrs import Attribute, field, frozen
from attrs.validators import gt, le, lt

from prover_framework.serialization.forms import MAX_EXACT_INTEGER


def is_integer(_: object, attribute: "Attribute[int]", value: object) -> None:
    """Require an integer, as a validator."""
    # True is an integer for Python, and nobody means it.
    if type(value) is not int:
        raise TypeError(f"'{attribute.name}' must be an integer, got {value!r}")


def _seconds(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"'seconds' must be a number, got {value!r}")
    return float(value)


@frozen
class Limits:
    """What one computation may use.

    Args:
        seconds: Wall-clock time before the compute process is ended.
        memory_bytes: Resident memory of the compute process with all that it has started.
    """

    seconds: float = field(default=300.0, converter=_seconds, validator=[gt(0), lt(float("inf"))])
    memory_bytes: int = field(
        default=4 * 2**30, validator=[is_integer, gt(0), le(MAX_EXACT_INTEGER)]
    )
