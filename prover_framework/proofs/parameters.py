"""Parameters as statements have them: the range in whole hours, and the others beside it."""

from prover_framework.jobs.requests import stated_form
from prover_framework.model.proofs import RangeParameters
from prover_framework.model.series import TimeRange
from prover_framework.serialization.json_text import Json

# The names that a range has among parameters.
RANGE = ("start_timestamp", "end_timestamp")


def range_of(parameters: object) -> TimeRange | None:
    """Return the range of parameters that have one, both ends rounded down to the hour.

    Raises:
        EmptyRange: It holds no whole hour.
    """
    if not isinstance(parameters, RangeParameters):
        return None
    hours = parameters.range.require_hours()
    return TimeRange(hours.start, hours.stop)


def parameters_beside_range(parameters: object) -> dict[str, Json]:
    """Return the JSON form of parameters without their range, which is stated in whole hours."""
    return stated_form(parameters)


def with_range(form: dict[str, Json], hours: TimeRange | None) -> dict[str, Json]:
    """Put the range back to the parameters beside it."""
    if hours is None:
        return form
    return {**form, **dict(zip(RANGE, (hours.start_timestamp, hours.end_timestamp), strict=True))}
