"""A group's receipt is made once, by whoever ends it or by who first asks, and stays true."""

import asyncio

import pytest
from receipt_bench import GROUP, ReceiptBench

from prover_framework.errors import GroupNotFound, ReceiptMissing, ReceiptNotYet
from prover_framework.model.jobs import JobState
from prover_framework.model.receipts import GroupReceipt
from prover_framework.proofs.service import ReceiptService
from prover_framework.proofs.store import ReceiptStore
from prover_framework.receipts.documents import dump_receipt


def another_desk(bench: ReceiptBench) -> ReceiptService:
    """Return what another process would ask."""
    runtime = bench.runtime
    store = ReceiptStore(runtime.database)
    return ReceiptService(runtime.settings, runtime.plugins, runtime.jobs, store)


def stored(bench: ReceiptBench) -> str | None:
    text: str | None = bench.run(ReceiptStore(bench.runtime.database).composed(GROUP))
    return text


def forget(bench: ReceiptBench) -> None:
    """Do as if the worker had died before it made the receipt."""
    bench.run(bench.runtime.database.write("UPDATE job_group SET receipt = NULL"))
    assert stored(bench) is None


def test_the_worker_that_ended_the_group_has_made_it(bench: ReceiptBench) -> None:
    kept = stored(bench)
    assert kept is not None
    assert bench.document()["statement"]["group_id"] == GROUP
    assert '"receipts":[]' in kept, "the members are not stored twice"


def test_it_is_the_same_for_all_who_ask(bench: ReceiptBench) -> None:
    async def ask() -> list[GroupReceipt]:
        desks = [bench.runtime.receipts, another_desk(bench), another_desk(bench)]
        try:
            return await asyncio.gather(
                *(receipt_service.of_group(GROUP) for receipt_service in desks)
            )
        finally:
            for receipt_service in desks[1:]:
                await receipt_service.close()

    assert {dump_receipt(receipt) for receipt in bench.run(ask())} == {bench.group}
    forget(bench)
    made = bench.run(ask())
    assert len({dump_receipt(receipt) for receipt in made}) == 1
    assert made[0].statement == bench.run(bench.runtime.receipts.of_group(GROUP)).statement


def test_one_that_was_not_made_is_made_when_it_is_read(bench: ReceiptBench) -> None:
    forget(bench)
    receipt = bench.run(bench.runtime.receipts.of_group(GROUP))
    assert stored(bench) is not None
    assert bench.verify(dump_receipt(receipt)).accepted


def test_jobs_that_get_a_new_life_get_a_new_receipt(bench: ReceiptBench) -> None:
    """What is bound is what there is, whatever was bound before."""
    before = bench.run(bench.runtime.receipts.of_group(GROUP))
    database = bench.runtime.database
    states = {m.job_id: m.state for m in before.statement.members}
    assert set(states.values()) == {JobState.SUCCEEDED}
    change = "UPDATE job SET state = ?, receipt = ? WHERE group_id = ? AND name = ?"
    (row,) = bench.run(database.read("SELECT receipt FROM job WHERE name = ?", ["twap"]))
    try:
        bench.run(database.write(change, ["failed", None, GROUP, "twap"]))
        failed = bench.run(bench.runtime.receipts.of_group(GROUP))
        assert [m.digest for m in failed.statement.members if m.job_id == "twap"] == [None]
        assert failed.receipts == tuple(
            r for r in before.receipts if r.statement.proof_type != "twap"
        )
        bench.run(database.write(change, ["running", None, GROUP, "twap"]))
        with pytest.raises(ReceiptNotYet, match="has not ended: twap is running"):
            bench.run(bench.runtime.receipts.of_group(GROUP))
    finally:
        bench.run(database.write(change, ["succeeded", row[0], GROUP, "twap"]))
    after = bench.run(bench.runtime.receipts.of_group(GROUP))
    assert after.statement == before.statement
    assert bench.verify(dump_receipt(after)).accepted


def test_a_receipt_that_nobody_has_made_is_missing(bench: ReceiptBench) -> None:
    receipt_service = bench.runtime.receipts
    with pytest.raises(GroupNotFound):
        bench.run(receipt_service.of_group("nowhere"))
    with pytest.raises(ReceiptMissing, match="has no 'dice'"):
        bench.run(receipt_service.of_proof(GROUP, "dice"))


def test_the_same_headers_give_the_same_statement(bench: ReceiptBench) -> None:
    """Another request, other seconds, another time: the statement is the same, byte for byte."""
    first = bench.document("reserve_price")["statement"]
    hours = {"start_timestamp": first["range"]["start_timestamp"] + 3599}
    hours["end_timestamp"] = first["range"]["end_timestamp"] + 3599
    body = dict.fromkeys(("twap", "reserve_price", "max_return"), hours)
    again = bench.prove("again", body)
    by_name = {r["statement"]["proof_type"]: r["statement"] for r in again["receipts"]}
    assert by_name["reserve_price"] == first
    assert by_name["max_return"] == bench.document("max_return")["statement"]
    assert by_name["twap"] != bench.document("twap")["statement"], "its range was another one"
