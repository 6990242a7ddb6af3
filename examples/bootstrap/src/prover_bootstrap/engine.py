"""The program: ``python -m prover_bootstrap.engine DIRECTORY`` draws samples and sums them up.

It reads ``task.json``, keeps ``checkpoint.json`` and prints a line for what it has done. It knows
nothing of the framework, as a prover in another language would not.
"""

import json
import signal
import sys
from dataclasses import asdict, dataclass
from hashlib import shake_256
from pathlib import Path

# Fees of one day hang together; samples are made of whole days.
BLOCK_HOURS = 24

# How many samples are lost at the most when everything ends at once.
CHECKPOINT_SAMPLES = 1000

WORD_BYTES = 8


@dataclass(frozen=True)
class Task:
    """What to draw from: a seed in hex, the fees in wei, and how many samples."""

    seed: str
    fees_wei: list[int]
    samples: int


@dataclass
class Sums:
    """What the samples so far add up to: their sums, and the squares of these."""

    done: int = 0
    total: int = 0
    squares: int = 0


def sample_hours(hours: int) -> int:
    """Return how many hours a sample has: the whole days of the range."""
    return hours // BLOCK_HOURS * BLOCK_HOURS


def sample(task: Task, number: int) -> int:
    """Return the sum of the fees of one sample, which depends on the seed and its number alone."""
    hours = len(task.fees_wei)
    blocks = hours // BLOCK_HOURS
    drawn = shake_256(bytes.fromhex(task.seed) + number.to_bytes(WORD_BYTES, "big"))
    words = drawn.digest(WORD_BYTES * blocks)
    total = 0
    for place in range(0, len(words), WORD_BYTES):
        word = int.from_bytes(words[place : place + WORD_BYTES], "big")
        first = word % (hours - BLOCK_HOURS + 1)
        total += sum(task.fees_wei[first : first + BLOCK_HOURS])
    return total


def read(directory: Path) -> Sums:
    """Return what has been drawn so far."""
    try:
        return Sums(**json.loads((directory / "checkpoint.json").read_text()))
    except FileNotFoundError:
        return Sums()


def write(directory: Path, sums: Sums) -> None:
    """Write a checkpoint that is whole or not there."""
    part = directory / "checkpoint.part"
    part.write_text(json.dumps(asdict(sums)))
    part.rename(directory / "checkpoint.json")


def run(directory: Path) -> None:
    """Draw what is not yet drawn."""
    task = Task(**json.loads((directory / "task.json").read_text()))
    sums = read(directory)
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    if sums.done:
        print("resumes", sums.done, flush=True)
    while sums.done < task.samples and not ending:
        drawn = sample(task, sums.done)
        sums.total += drawn
        sums.squares += drawn**2
        sums.done += 1
        if sums.done % CHECKPOINT_SAMPLES == 0:
            write(directory, sums)
            print("done", sums.done, flush=True)
    write(directory, sums)
    if sums.done < task.samples:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    # Whoever has started it may end before it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    run(Path(sys.argv[1]))
