"""Measure the verification of receipts, without hashing the chain: ``make bench``."""

import json
import time
from collections.abc import Iterator

import psutil
from load import round_of
from processes import memory, peak_memory
from receipt_bench import END, receipt_bench
from report import Table
from stand import Stand

from prover_framework.chain.sources.simulated import simulate

AIM_SECONDS = 2

DAYS = 90
FIRST = END - DAYS * 86_400

# The first verification of a kind imports what its plugin needs.
REPEATS = 3


def verifying(stand: Stand) -> Iterator[Table]:
    """Verify a receipt of each proof type."""
    proofs = {name: form for name, form in round_of("").items() if name != "job_group_id"}
    rows = []
    headers = simulate(FIRST, DAYS * 24)
    with receipt_bench(stand.folder("receipts"), headers=headers, proofs=proofs) as bench:
        for name in proofs:
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
            rows.append((name, f"{hours:,}", first, again, f"{most:,.0f} MiB"))
    yield Table(
        f"Verifying a receipt, the chain not hashed (aim: {AIM_SECONDS} s each)",
        ("proof", "hours", "first", "again", "memory of all processes, at most"),
        rows,
    )
