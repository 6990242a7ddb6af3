"""Measure the verification of receipts, without hashing the chain: ``make bench``."""

import json
import tempfile
import time
from pathlib import Path

import psutil
from receipt_bench import END, receipt_bench
from rich.console import Console
from rich.table import Table
from support import memory, peak_memory

from prover_framework.chain.sources.simulated import simulate

AIM_SECONDS = 2

# What a round asks for: the TWAP of 30 days, the others of 90.
DAYS = 90
FIRST = END - DAYS * 86_400
ROUND = {"start_timestamp": END - 30 * 86_400, "end_timestamp": END}
THREE_ROUNDS = {"start_timestamp": FIRST, "end_timestamp": END}
PROOFS = {"twap": ROUND, "reserve_price": THREE_ROUNDS, "max_return": THREE_ROUNDS}

# The first verification of a kind imports what its plugin needs.
REPEATS = 3


def main() -> None:
    """Verify a receipt of each proof type, and print how long that takes."""
    console = Console(highlight=False, soft_wrap=True)
    console.rule(f"Verifying a receipt, the chain not hashed (aim: {AIM_SECONDS} s each)")
    table = Table("", "hours", "first", "again", "memory of all processes, at most")
    headers = simulate(FIRST, DAYS * 24)
    with (
        tempfile.TemporaryDirectory(prefix="prover-bench-") as directory,
        receipt_bench(Path(directory), headers=headers, proofs=PROOFS) as bench,
    ):
        for name in PROOFS:
            document = bench.document(name)
            body = json.dumps(document).encode()
            seconds = []
            own = psutil.Process()
            with peak_memory(own) as peak:
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    report = bench.verify(body)
                    seconds.append(time.perf_counter() - began)
                    if not report.accepted:
                        raise RuntimeError(report.strength)
                # What is done between two looks is not missed: its process is kept.
                most = max(peak(), memory(own))
            hours = document["statement"]["inputs"]["hourly_base_fee"]["facts"]["hours"]
            first, again = f"{seconds[0]:.2f} s", f"{min(seconds[1:]):.2f} s"
            table.add_row(name, f"{hours:,}", first, again, f"{most:,.0f} MiB")
    console.print(table)


if __name__ == "__main__":
    main()
