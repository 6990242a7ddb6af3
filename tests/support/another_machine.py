"""Another machine, as far as a process can be one: other processor features, other libraries.

The tests start this file as a program, with the interpreter and the environment of that machine. It
reads one JSON document and writes another, both of the classes below.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import scipy
from attrs import field, frozen

from prover_framework import HOUR_SECONDS, HourlySeries, Inputs, Verdict, plugins
from prover_framework.jsontext import Json, dump_json, parse_json
from prover_framework.testing.compute import task_for
from prover_framework.wire import structure, unstructure

T = TypeVar("T")

# A cold start with all plugins takes two seconds; a busy machine many times that.
SECONDS = 100

# What chooses the instructions of numpy and of its linear algebra.
CHOOSING = ("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE")

# What all machines make; other proof types may be installed beside them.
PROOFS = ("max_return", "reserve_price", "twap")

# Counters of the stream whose draws are compared, and words of each: some thousand normals.
DRAWN = (16, 700)


@frozen(kw_only=True)
class Proof:
    """A computed proof; the result is in its JSON form."""

    seed: str
    result: dict[str, Any]


@frozen(kw_only=True)
class Made:
    """What a machine made of hourly fees.

    Args:
        numpy: Version of numpy.
        scipy: Version of scipy.
        features: Features of the processor that numpy makes use of, beyond the least.
        draws: Digest of draws from the seed of the proof that draws.
        proofs: By proof type.
    """

    numpy: str
    scipy: str
    features: list[str]
    draws: str
    proofs: dict[str, Proof]


@frozen
class Question:
    """Hours, and what was made of them, under names; None if it is asked to make something."""

    series: HourlySeries
    claimed: dict[str, Made] | None = None


# By the name of what is judged, and by proof type.
Verdicts = dict[str, dict[str, Verdict]]


@frozen
class Judged:
    """What a machine says to what others made."""

    verdicts: Verdicts


@frozen
class Machine:
    """A machine: an interpreter with its libraries, and settings that choose instructions."""

    python: Path = Path(sys.executable)
    settings: Mapping[str, str] = field(factory=dict)

    def make(self, series: HourlySeries) -> Made:
        """Return what it makes of some hours, which are its proofs' whole range."""
        return self._run(Question(series), Made)

    def judge(self, series: HourlySeries, claimed: dict[str, Made]) -> Verdicts:
        """Return what it says to what others made of some hours."""
        return self._run(Question(series, claimed), Judged).verdicts

    def _run(self, question: Question, answer: type[T]) -> T:
        inherited = {k: v for k, v in os.environ.items() if k not in CHOOSING}
        done = subprocess.run(
            [self.python, __file__],
            input=dump_json(unstructure(question)).encode(),
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
    proofs = {}
    for name, proof, parameters in _proofs_over(series):
        task = task_for(proof, parameters, series)
        result = proof.compute(parameters, task.inputs, bytes.fromhex(task.seed))
        proofs[name] = Proof(seed=task.seed, result=cast(dict[str, Any], unstructure(result)))
    return Made(
        numpy=np.__version__,
        scipy=scipy.__version__,
        features=processor_features(),
        draws=_draws(bytes.fromhex(proofs["reserve_price"].seed)),
        proofs=proofs,
    )


def _judge(series: HourlySeries, claimed: dict[str, Made]) -> Judged:
    verdicts: Verdicts = {name: {} for name in claimed}
    for name, proof, parameters in _proofs_over(series):
        seed = bytes.fromhex(task_for(proof, parameters, series).seed)
        for maker, made in claimed.items():
            result = structure(made.proofs[name].result, proof.proof_type.result)
            verdicts[maker][name] = proof.verify(parameters, Inputs(series), seed, result)
    return Judged(verdicts)


def _proofs_over(series: HourlySeries) -> Iterator[tuple[str, plugins.ProofHooks, Any]]:
    """Yield the proofs with parameters whose range is that of the hours."""
    loaded = plugins.load(plugins.installed(), strict=True)
    for name in PROOFS:
        proof = loaded.for_type(name)
        yield (
            name,
            proof,
            proof.proof_type.parameters(
                start_timestamp=series.first_hour, end_timestamp=series.last_hour + HOUR_SECONDS
            ),
        )


def _draws(seed: bytes) -> str:
    from prover_reserve_price import randomness

    words = randomness.words(randomness.key_from_seed(seed), 0, *DRAWN)
    drawn = (words, randomness.normals(words), randomness.events(words, 0.1))
    return sha256(b"".join(array.tobytes() for array in drawn)).hexdigest()


def _answer(question: Question) -> Json:
    if question.claimed is None:
        return unstructure(_make(question.series))
    return unstructure(_judge(question.series, question.claimed))


if __name__ == "__main__":
    asked = structure(parse_json(sys.stdin.buffer.read()), Question)
    sys.stdout.write(dump_json(_answer(asked)))
