"""The reserve price against a plain transcription of its method, by the plugin's own benchmark.

Each checkout's plugin has one; both are run, so that what the method gained stands beside it.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from checkouts import Checkout
from report import Table
from stand import Stand

SCRIPT = Path("plugins/reserve_price/bench_reserve_price.py")

# As in a sandbox process.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

ROUNDS = 3


def priced(stand: Stand) -> Iterator[Table]:
    """Measure time and error of both methods beside the same transcription."""
    yield Table(
        "Reserve price beside a plain transcription of its method",
        ("", "found"),
        [
            (checkout.name, line.strip())
            for checkout in stand.checkouts
            for line in _lines(checkout)
        ],
        ["Errors are relative standard errors; the baseline's script takes wall time."],
    )


def _lines(checkout: Checkout) -> list[str]:
    done = subprocess.run(
        [checkout.python, checkout.root / SCRIPT, "--rounds", str(ROUNDS)],
        env={**os.environ, **ONE_THREAD},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()
