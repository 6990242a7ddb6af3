"""The source of a plugin whose seal takes a subprocess, much data and as long as it is asked to."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

# Arithmetic over the hours: a program of its own reads them again and again, from a file in the
# plugin's cache that is made of nothing else. It says each time that it has begun, and does not end
# while somebody holds it.
SLOW_SEAL_PLUGIN = """
import hashlib, json, subprocess, sys
from pathlib import Path

from attrs import frozen

from prover_framework import *

PROVER_API = 1

MEGABYTES = {megabytes}
SECONDS = {seconds}
NOTES = Path({notes!r})

PROGRAM = '''
import hashlib, os, sys, time
source, seconds, notes = sys.argv[1], float(sys.argv[2]), sys.argv[3]
begun = time.monotonic()
with open(os.path.join(notes, "begun"), "a") as note:
    note.write(str(os.getpid()) + chr(10))
while True:
    digest = hashlib.sha256()
    with open(source, "rb") as data:
        while part := data.read(2**20):
            digest.update(part)
    held = os.path.exists(os.path.join(notes, "hold"))
    if not held and time.monotonic() - begun >= seconds:
        break
    if held:
        time.sleep(0.01)
print(digest.hexdigest())
'''


@frozen
class Result:
    sealed: int


@hookimpl
def proof_type():
    return ProofType(
        name="sealed", title="Sealed", version="1", parameters=RangeParameters, result=Result
    )


@hookimpl
def compute(inputs):
    return Result(sum(inputs["hourly_base_fee"].sums_wei))


@hookimpl
def seal_type():
    return SealType(
        kind="slow",
        title="Slow",
        limits=Limits(60.0),
        making=Limits(600.0),
        shows=SealShows.COMMITTED_DATA,
    )


def commitment(series):
    line = (json.dumps(list(series.sums_wei)) + chr(10)).encode()
    return line * (MEGABYTES * 2**20 // len(line) + 1)


@hookimpl
def make_seal(inputs, digest, work):
    if inputs is None:
        return None
    series = inputs["hourly_base_fee"]
    whole = work.cache / digest.hex()
    if not whole.exists():
        part = whole.with_suffix(".part")
        part.write_bytes(commitment(series))
        part.rename(whole)
    arguments = [sys.executable, "-c", PROGRAM, str(whole), str(SECONDS), str(NOTES)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return {{"sum": str(sum(series.sums_wei)), "commitment": done.stdout.strip()}}


@hookimpl
def check_seal(receipt, seal, inputs):
    if seal["sum"] != str(receipt.statement.result["sealed"]):
        return Verdict(accepted=False, reason="it is of another sum")
    if inputs is None:
        return Verdict(accepted=True, reason="the sum is right")
    own = hashlib.sha256(commitment(inputs["hourly_base_fee"])).hexdigest()
    return Verdict(accepted=own == seal["commitment"], reason="the hours were compared")
"""


def slow_seal_plugin(notes: Path, *, megabytes: int, seconds: float) -> str:
    """Return the plugin's source.

    Args:
        notes: Where its program writes ``begun`` each time, and looks for ``hold``.
        megabytes: How much data the program reads.
        seconds: How long it goes on reading, at least.
    """
    return SLOW_SEAL_PLUGIN.format(megabytes=megabytes, seconds=seconds, notes=str(notes))


def commitment_to(sums_wei: Sequence[int], megabytes: int) -> str:
    """Return what a seal of the plugin's commits to hours with."""
    line = f"{json.dumps(list(sums_wei))}\n".encode()
    return hashlib.sha256(line * (megabytes * 2**20 // len(line) + 1)).hexdigest()
