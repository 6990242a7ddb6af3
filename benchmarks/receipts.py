"""Measure the verification of receipts, without hashing the chain: ``make bench``."""

import json
import tempfile
import time
from pathlib import Path

import psutil
from receipt_bench import receipt_bench
from rich.console import Console
from rich.table import Table
from support import peak_memory

AIM_SECONDS = 2

# The first verification of a kind starts a process and imports what it needs.
REPEATS = 3


def main() -> None:
    """Verify a receipt of each proof type, and print how long that takes."""
    console = Console(highlight=False, soft_wrap=True)
    console.rule(f"Verifying a receipt, the chain not hashed (aim: {AIM_SECONDS} s each)")
    table = Table("", "hours", "first", "again", "memory of all processes, at most")
    with tempfile.TemporaryDirectory(prefix="prover-bench-") as text:
        directory = Path(text)
        for name in ("twap", "max_return", "reserve_price"):
            with receipt_bench(directory / name) as bench, peak_memory(psutil.Process()) as peak:
                document = bench.document(name)
                body = json.dumps(document).encode()
                seconds = []
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    report = bench.verify(body)
                    seconds.append(time.perf_counter() - began)
                    if not report.accepted:
                        raise RuntimeError(report.strength)
                hours = document["statement"]["series"]["hours"]
                first, again = f"{seconds[0]:.2f} s", f"{min(seconds[1:]):.2f} s"
                table.add_row(name, f"{hours:,}", first, again, f"{peak():,.0f} MiB")
    console.print(table)


if __name__ == "__main__":
    main()
