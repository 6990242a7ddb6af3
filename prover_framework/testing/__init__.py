"""For the tests of plugins: what every proof type has to do, and real parts to try it with.

It needs the extra ``testing`` (pytest), which a service does not.
"""

from prover_framework.testing.box import Box, service_in_a_box
from prover_framework.testing.clock import ManualClock
from prover_framework.testing.compute import ComputeProcess
from prover_framework.testing.conformance import ProofTypeConformance
from prover_framework.testing.kinds import InputKindConformance
from prover_framework.testing.series import headers_of, series_of, simulated_series

__all__ = [
    "Box",
    "ComputeProcess",
    "InputKindConformance",
    "ManualClock",
    "ProofTypeConformance",
    "headers_of",
    "series_of",
    "service_in_a_box",
    "simulated_series",
]
