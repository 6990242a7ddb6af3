"""A service that has made receipts, and one who verifies them: for tests of receipts."""

import asyncio
import copy
import json
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from math import exp, pi, sin
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
from attrs import frozen

from prover_framework.app import Runtime, make_worker, open_runtime
from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.model.findings import Outcome
from prover_framework.model.jobs import FINAL
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, TimeRange
from prover_framework.plugins.loading import installed, load
from prover_framework.receipts.documents import dump_receipt
from prover_framework.sandbox.slot import Slot
from prover_framework.seals.ed25519 import SigningKey, key_id
from prover_framework.seals.keys import KeyDirectory, PinnedKey
from prover_framework.settings import Settings
from prover_framework.testing.series import headers_of, series_of
from prover_framework.verification.checks import Check, CheckName, Report
from prover_framework.verification.verifier import Verifier

T = TypeVar("T")

Document = dict[str, Any]

END = 1_704_067_200
DAYS = 60
BLOCKS_PER_HOUR = 3
HOURS = TimeRange(END - DAYS * 24 * HOUR_SECONDS, END)

GROUP = "round-7"


@frozen
class ReceiptBench:
    """What a service has made, and a verifier that has the same headers and plugins.

    Args:
        group: The receipt of a group of the three proofs, signed.
        verifier: One who pins the key that signed it.
        key: The private key that signed it.
        run: Runs asynchronous work where the database is open.
        slot: A warm process for the verifier.
    """

    group: bytes
    verifier: Verifier
    key: SigningKey
    runtime: Runtime
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    slot: Slot

    def document(self, proof_type: str | None = None) -> Document:
        """Return a receipt as JSON that the test may change."""
        document: Document = json.loads(self.group)
        if proof_type is None:
            return document
        return next(
            receipt
            for receipt in document["receipts"]
            if receipt["statement"]["proof_type"] == proof_type
        )

    def prove(self, group_id: str, proofs: Document) -> Document:
        """Have the service prove another group; return its receipt."""
        receipt: Document = json.loads(self.run(_submitted(self.runtime, group_id, proofs)))
        return receipt

    def verify(self, document: Document | bytes, *only: CheckName, **changes: Any) -> Report:
        """Verify a receipt, for the given checks alone or for all that can be asked for.

        Args:
            document: The receipt.
            only: The checks to ask for; all when there are none.
            changes: What is different about the verifier.
        """
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        verifier = attrs.evolve(self.verifier, **changes)
        asked = frozenset(only) or None
        report: Report = self.run(verifier.verify(body, asked, slot=self.slot))
        return report

    def sign(self, document: Document, key: SigningKey | None = None) -> Document:
        """Return a receipt signed with a key, that of the service or a stranger's."""
        from prover_framework.receipts.documents import digest, receipt_from

        key = key or self.key
        signed = copy.deepcopy(document)
        receipt = receipt_from({**signed, "seals": []})
        signed["seals"] = [
            {
                "kind": "ed25519",
                "key_id": key_id(key.public_key),
                "signature": key.sign(digest(receipt)).hex(),
            }
        ]
        return signed


def rows(report: Report, outcome: Outcome = Outcome.FAILED) -> list[Check]:
    """Return the checks of a report that came to that."""
    return [check for check in report.checks if check.outcome is outcome]


def told(report: Report) -> str:
    """Return what a report says of what did not pass."""
    return "\n".join(c.reason for c in report.checks if c.outcome is not Outcome.PASSED)


@cache
def fabricated_series(seed: int = 7) -> HourlySeries:
    """Return hours of a made-up chain that passes for mainnet: who verifies cannot tell.

    The log fee has a daily season, comes back to its mean and jumps, so that it has a price.
    """
    draw = Random(seed)
    state = 0.0
    hours: list[tuple[int, int]] = []
    for hour in range(DAYS * 24):
        state = 0.9 * state + draw.gauss(0, 0.05)
        if draw.random() < 0.1:
            state += abs(draw.gauss(0.2, 0.2))
        fee = 2e10 * exp(state + hour / 2000 + 0.3 * sin(2 * pi * hour / 24))
        hours.append((int(fee * BLOCKS_PER_HOUR), BLOCKS_PER_HOUR))
    first_hour = HOURS.start_timestamp
    return series_of(hours, first_hour=first_hour, chain_id=1, simulated=False)


@contextmanager
def receipt_bench(
    directory: Path,
    *,
    headers: Iterable[Header | EncodedHeader] | None = None,
    plugins: Collection[str] | None = None,
    proofs: Document | None = None,
    database_url: str | None = None,
) -> Iterator[ReceiptBench]:
    """Have a service prove a group.

    Args:
        directory: Where it has its database and keys.
        headers: What its database holds; those of `fabricated_series` when None.
        plugins: Names of the plugins to load; all when None.
        proofs: What to ask for; the three proofs over all hours when None.
        database_url: Its database; the embedded one when None.
    """
    settings = Settings(
        data_dir=directory, worker_slots=1, sweep_seconds=0.2, database_url=database_url
    )
    keys = KeyDirectory(settings.key_path)
    keys.create()
    signer = keys.signer()
    assert signer is not None
    loaded = load(installed(), allow=plugins, strict=True)
    with asyncio.Runner() as runner:
        context = copy_context()

        def run(work: Coroutine[Any, Any, T]) -> T:
            return runner.run(work, context=context)

        opened = open_runtime(settings, loaded)
        runtime = run(opened.__aenter__())
        slot = Slot()
        try:
            facts = ChainFacts(1, simulated=False, source="a test")
            run(
                runtime.headers.import_headers(
                    headers_of(fabricated_series()) if headers is None else headers, facts
                )
            )
            group = run(_submitted(runtime, GROUP, proofs or _all_hours()))
            verifier = Verifier(
                settings=settings,
                plugins=loaded,
                headers=runtime.headers,
                pinned=(PinnedKey(signer.key.public_key.hex()),),
            )
            yield ReceiptBench(group, verifier, signer.key, runtime, run, slot)
        finally:
            run(slot.kill())
            run(opened.__aexit__(None, None, None))


def _all_hours() -> Document:
    hours = {"start_timestamp": HOURS.start_timestamp + 5, "end_timestamp": END + 9}
    month = {**hours, "start_timestamp": END - 720 * HOUR_SECONDS}
    return {"twap": month, "reserve_price": hours, "max_return": hours}


async def _submitted(runtime: Runtime, group_id: str, proofs: Document) -> bytes:
    body = json.dumps({"job_group_id": group_id, **proofs}).encode()
    await runtime.service.submit(runtime.service.parse(body))
    worker = make_worker(runtime)
    working = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(60):
            # The end of a job is noted in the database, which tells nobody.
            while (await runtime.service.status(group_id)).status not in FINAL:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        worker.stop()
        await working
    return dump_receipt(await runtime.receipts.of_group(group_id))
