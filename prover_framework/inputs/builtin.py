"""Which modules register the framework's own kinds of data, and what is needed by default."""

from prover_framework.inputs import block_headers, hourly_base_fee, results
from prover_framework.inputs.hourly_base_fee import hourly_base_fees
from prover_framework.model.inputs import Need
from prover_framework.model.proofs import RangeParameters

# Each has a hook `input_kind`, as a plugin's module.
MODULES = (hourly_base_fee, block_headers, results)


def default_needs(parameters: object) -> dict[str, Need]:
    """Return what a computation needs whose plugin does not say: its range's fees, or nothing."""
    if isinstance(parameters, RangeParameters):
        return {hourly_base_fee.NAME: hourly_base_fees(parameters.range)}
    return {}
