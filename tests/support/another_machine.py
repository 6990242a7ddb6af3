"""Another machine, as far as a process can be one: other processor features, other libraries.

The tests start this file as a program, with the interpreter and the environment of that machine. It
reads one JSON document and writes another, both of the classes below.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import numpy as np
import scipy
from attrs import field, frozen
from receipt_bench import ReceiptBench, receipt_bench

from prover_framework import HourlySeries
from prover_framework.app import open_runtime
from prover_framework.chain.ingest import ChainFacts
from prover_framework.plugins.loading import installed, load
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.settings import Settings
from prover_framework.testing import headers_of
from prover_framework.verification.checks import Report
from prover_framework.verification.verifier import Verifier

T = TypeVar("T")

# A cold start with all plugins takes two seconds; a busy machine many times that.
SECONDS = 100

# What chooses the instructions of numpy and of its linear algebra.
CHOOSING = ("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE")

# Counters of the stream whose draws are compared, and words of each: some thousand normals.
DRAWN = (16, 700)


@frozen(kw_only=True)
class Made:
    """What a machine made of hourly fees.

    Args:
        numpy: Version of numpy.
        scipy: Version of scipy.
        features: Features of the processor that numpy makes use of, beyond the least.
        draws: Digest of draws from the seed of the reserve price.
        receipt: The receipt of a group of the three proofs, in its JSON form.
    """

    numpy: str
    scipy: str
    features: list[str]
    draws: str
    receipt: dict[str, Any]

    def proof(self, name: str) -> dict[str, Any]:
        """Return the receipt of one proof."""
        receipts: list[dict[str, Any]] = self.receipt["receipts"]
        return next(r for r in receipts if r["statement"]["proof_type"] == name)


@frozen
class Computation:
    """Hours, and receipts of them under names; None where they are to be made."""

    series: HourlySeries
    claimed: dict[str, dict[str, Any]] | None = None


@frozen
class Judged:
    """What a machine says to receipts, by their names."""

    reports: dict[str, Report]


@frozen
class Machine:
    """A machine: an interpreter with its libraries, and settings that choose instructions."""

    python: Path = Path(sys.executable)
    settings: Mapping[str, str] = field(factory=dict)

    def make(self, series: HourlySeries) -> Made:
        """Return what it makes of some hours."""
        return self._run(Computation(series), Made)

    def judge(self, series: HourlySeries, claimed: dict[str, dict[str, Any]]) -> dict[str, Report]:
        """Return what it says to receipts, where these are the hours of its headers."""
        return self._run(Computation(series, claimed), Judged).reports

    def _run(self, computation: Computation, answer: type[T]) -> T:
        inherited = {k: v for k, v in os.environ.items() if k not in CHOOSING}
        done = subprocess.run(
            [self.python, __file__],
            input=dump_json(unstructure(computation)).encode(),
            env=inherited | dict(self.settings),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
        return structure(parse_json(done.stdout), answer)


def processor_features() -> list[str]:
    """Return the processor's features that numpy was built to use and finds here."""
    config = cast(dict[str, dict[str, list[str]]], np.show_config(mode="dicts"))
    return config["SIMD Extensions"].get("found", [])


def _make(series: HourlySeries) -> Made:
    with (
        TemporaryDirectory(prefix="prover-machine-") as directory,
        receipt_bench(Path(directory), headers=headers_of(series)) as bench,
    ):
        return Made(
            numpy=np.__version__,
            scipy=scipy.__version__,
            features=processor_features(),
            draws=_draws(bench),
            receipt=bench.document(),
        )


def _draws(bench: ReceiptBench) -> str:
    from prover_reserve_price import randomness

    seed = bytes.fromhex(bench.document("reserve_price")["statement"]["seed"])
    words = randomness.words(randomness.key_from_seed(seed), 0, *DRAWN)
    drawn = (words, randomness.normals(words), randomness.events(words, 0.1))
    return sha256(b"".join(array.tobytes() for array in drawn)).hexdigest()


async def _judge(series: HourlySeries, claimed: dict[str, dict[str, Any]]) -> Judged:
    plugins = load(installed(), strict=True)
    with TemporaryDirectory(prefix="prover-machine-") as directory:
        settings = Settings(data_dir=Path(directory))
        async with open_runtime(settings, plugins) as runtime:
            await runtime.headers.import_headers(
                headers_of(series),
                ChainFacts(series.chain_id, simulated=series.simulated, source="a test"),
            )
            verifier = Verifier(settings=settings, plugins=plugins, headers=runtime.headers)
            slot = Slot()
            try:
                return Judged(
                    {
                        name: await verifier.verify(json.dumps(receipt).encode(), slot=slot)
                        for name, receipt in claimed.items()
                    }
                )
            finally:
                await slot.kill()


def _answer(computation: Computation) -> Json:
    if computation.claimed is None:
        return unstructure(_make(computation.series))
    return unstructure(asyncio.run(_judge(computation.series, computation.claimed)))


if __name__ == "__main__":
    asked = structure(parse_json(sys.stdin.buffer.read()), Computation)
    sys.stdout.write(dump_json(_answer(asked)))
