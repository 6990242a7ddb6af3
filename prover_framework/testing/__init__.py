"""For the tests of plugins: what every plugin has to do, and real parts to try it with.

It needs the extra ``testing`` (pytest), which a service does not. What is imported from here is
loaded when it is asked for: a plugin of this package runs in processes that want little else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prover_framework.testing.box import Box, service_in_a_box
    from prover_framework.testing.changes import change_of
    from prover_framework.testing.clock import ManualClock
    from prover_framework.testing.composers import ComposerConformance
    from prover_framework.testing.compute import ComputeProcess
    from prover_framework.testing.conformance import ProofTypeConformance
    from prover_framework.testing.ends import end_of
    from prover_framework.testing.kinds import InputKindConformance
    from prover_framework.testing.observers import GroupObserverConformance, ObserverConformance
    from prover_framework.testing.receipts import SealSample, group_of, group_receipt_of, receipt_of
    from prover_framework.testing.seals import SealConformance
    from prover_framework.testing.series import headers_of, series_of, simulated_series

_PLACES = {
    "Box": "box",
    "ComposerConformance": "composers",
    "ComputeProcess": "compute",
    "GroupObserverConformance": "observers",
    "InputKindConformance": "kinds",
    "ManualClock": "clock",
    "ObserverConformance": "observers",
    "ProofTypeConformance": "conformance",
    "SealConformance": "seals",
    "SealSample": "receipts",
    "change_of": "changes",
    "end_of": "ends",
    "group_of": "receipts",
    "group_receipt_of": "receipts",
    "headers_of": "series",
    "receipt_of": "receipts",
    "series_of": "series",
    "service_in_a_box": "box",
    "simulated_series": "series",
}

__all__ = [
    "Box",
    "ComposerConformance",
    "ComputeProcess",
    "GroupObserverConformance",
    "InputKindConformance",
    "ManualClock",
    "ObserverConformance",
    "ProofTypeConformance",
    "SealConformance",
    "SealSample",
    "change_of",
    "end_of",
    "group_of",
    "group_receipt_of",
    "headers_of",
    "receipt_of",
    "series_of",
    "service_in_a_box",
    "simulated_series",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
