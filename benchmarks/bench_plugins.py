"""Plugins that tests of speed need, and how a service is made to have them alone."""

from pathlib import Path

NOOP_PLUGIN = """
from attrs import frozen
from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

@frozen
class NoopResult:
    noop: int

@hookimpl
def proof_type():
    return ProofType(name="noop", title="No-op", version="1", parameters=RangeParameters,
                     result=NoopResult)

@hookimpl
def compute():
    return NoopResult(1)
"""

# Computes for as long as it is asked to.
BUSY_PLUGIN = """
import time

from attrs import frozen

from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

@frozen(kw_only=True)
class Parameters(RangeParameters):
    seconds: float

@frozen
class Result:
    busy: int

@hookimpl
def proof_type():
    return ProofType(name="busy", title="Busy", version="1", parameters=Parameters, result=Result)

@hookimpl
def compute(parameters):
    end = time.monotonic() + parameters.seconds
    while time.monotonic() < end:
        sum(range(1000))
    return Result(1)
"""


def install_plugin(site: Path, name: str, module: str) -> dict[str, str]:
    """Put a plugin's distribution into a folder; return the variables that make it the only one."""
    metadata = site / f"{name}_plugin-1.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{name}_plugin.py").write_text(module)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[prover_framework]\n{name} = {name}_plugin\n")
    return {"PYTHONPATH": str(site), "PROVER_PLUGINS": name}
