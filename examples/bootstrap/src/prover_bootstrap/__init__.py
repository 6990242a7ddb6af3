"""Bootstrap: the standard error of the mean base fee, computed for long by a program of its own."""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from fractions import Fraction

from attrs import field, frozen
from attrs.validators import ge, le

from prover_bootstrap import engine
from prover_framework import (
    Inputs,
    Limits,
    ProofType,
    RangeParameters,
    RangeTooShort,
    Work,
    hookimpl,
)

# The version of the hooks that this is written for.
PROVER_API = 1

MIN_HOURS = 2 * engine.BLOCK_HOURS


class EngineFailed(Exception):
    """The program ended without a result. Another attempt may come to one."""


@frozen(kw_only=True)
class BootstrapParameters(RangeParameters):
    """What to ask for.

    Args:
        samples: How many samples to draw.
    """

    samples: int = field(default=20_000, validator=[ge(100), le(10_000_000)])


@frozen(kw_only=True)
class BootstrapResult:
    """The standard error.

    Args:
        bootstrap: Standard error of the mean base fee, in wei.
        mean: Mean of the samples' means, in wei.
        samples: How many samples were drawn.
        hours: How many hours each of them has.
    """

    bootstrap: float
    mean: float
    samples: int
    hours: int


@hookimpl
def proof_type() -> ProofType[BootstrapParameters, BootstrapResult]:
    """Register a proof type that may take an hour."""
    return ProofType(
        name="bootstrap",
        title="Bootstrap Error",
        version="1",
        parameters=BootstrapParameters,
        result=BootstrapResult,
        limits=Limits(seconds=3600.0, memory_bytes=2**30),
        generator="SHAKE-256",
    )


@hookimpl
def compute(
    parameters: BootstrapParameters, inputs: Inputs, seed: bytes, work: Work
) -> BootstrapResult:
    """Have the program draw the samples; what it has drawn before counts."""
    fees = [round(fee) for fee in inputs["hourly_base_fee"].means_wei()]
    if len(fees) < MIN_HOURS:
        raise RangeTooShort(f"the bootstrap needs {MIN_HOURS} hours, and there are {len(fees)}")
    task = engine.Task(seed=seed.hex(), fees_wei=fees, samples=parameters.samples)
    sums = run_engine(task, work)
    # In integers up to here, so that the order of additions does not count.
    drawn = parameters.samples * engine.sample_hours(len(fees))
    mean = Fraction(sums.total, drawn)
    square = Fraction(sums.squares, parameters.samples * engine.sample_hours(len(fees)) ** 2)
    return BootstrapResult(
        bootstrap=math.sqrt(square - mean**2),
        mean=float(mean),
        samples=parameters.samples,
        hours=engine.sample_hours(len(fees)),
    )


def run_engine(task: engine.Task, work: Work) -> engine.Sums:
    """Run the program to its end, and tell how far it is.

    Raises:
        EngineFailed: It came to no result.
    """
    place = work.directory
    (place / "task.json").write_text(json.dumps(asdict(task)))
    command = [sys.executable, "-m", engine.__name__, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout or ():
            what, done = line.split()
            if what == "resumes":
                work.log.info("resumes at sample %s of %d", done, task.samples)
            else:
                work.progress(int(done) / task.samples, f"{done} of {task.samples} samples")
    if run.returncode:
        raise EngineFailed(f"it ended with status {run.returncode}")
    return engine.read(place)
