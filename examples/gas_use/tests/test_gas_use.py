"""The gas use of blocks is exact, and every figure of it is bound to the bytes of a header."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import prover_gas_use as plugin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prover_gas_use import GasUseParameters, gas_use

from prover_framework import BlockColumns
from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import decode_fields, encode_header
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.model.views import JobView
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import ProofTypeConformance, service_in_a_box

FIRST_HOUR = 472_222 * 3600
BLOB = 2**17


def with_blobs() -> Iterable[EncodedHeader]:
    """Yield a chain whose blocks have blobs: 0 to 5, in turn."""
    parent: str | None = None
    for place, simulated in enumerate(made_whole(simulate(FIRST_HOUR - 3600, 3))):
        fields: dict[str, Any] = {
            **decode_fields(simulated.rlp),
            "blob_gas_used": place % 6 * BLOB,
        }
        if parent is not None:
            fields["parent_hash"] = parent
        header = encode_header(fields)
        parent = header.header.block_hash
        yield header


# The hour before is there, too: nobody can verify a block without the one before it.
CHAIN = tuple(with_blobs())
INSIDE = [header for header in CHAIN if FIRST_HOUR <= header.header.timestamp < FIRST_HOUR + 3600]


def parameters(gas: str = "gas_used") -> GasUseParameters:
    return GasUseParameters(start_timestamp=FIRST_HOUR, end_timestamp=FIRST_HOUR + 3600, gas=gas)  # type: ignore[arg-type]


def forged(name: str) -> tuple[EncodedHeader, ...]:
    """Return the chain up to the block after the range, with a figure of its last block altered.

    The base fees of the range are right, and so are all links and the rule of fees.
    """
    place = CHAIN.index(INSIDE[-1])
    fields = dict(decode_fields(CHAIN[place].rlp))
    value = fields[name]
    assert isinstance(value, int)
    last = encode_header({**fields, name: value + 1})
    after = {**decode_fields(CHAIN[place + 1].rlp), "parent_hash": last.header.block_hash}
    header = last.header
    assert header.gas_used is not None
    assert header.gas_limit is not None
    target = header.gas_limit // 2
    change = header.base_fee_wei * abs(header.gas_used - target) // target // 8
    after["base_fee_per_gas"] = header.base_fee_wei + (
        max(change, 1) if header.gas_used > target else -change
    )
    return (*CHAIN[:place], last, encode_header(after))


def is_verified(job: JobView) -> bool:
    result: Any = job.result
    verified: bool = result["evidence"]["inputs"]["blocks"]["facts"]["verified"]
    return verified


class TestConformance(ProofTypeConformance):
    plugin = plugin
    samples = (parameters(), parameters("blob_gas_used"))
    wrong = (("gas", "base_fee_per_gas"),)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30))
def test_it_is_what_the_blocks_use(used: list[int]) -> None:
    blocks = BlockColumns(
        chain_id=1,
        simulated=False,
        start_timestamp=0,
        end_timestamp=3600,
        first_block=100,
        timestamps=tuple(range(len(used))),
        columns={"gas_used": tuple(used)},
        first_hash=None,
        last_hash=None,
        verified=False,
    )
    result = gas_use(blocks, "gas_used")
    assert (result.gas_use, result.blocks) == (sum(used), len(used))
    assert used[result.highest_block - 100] == result.highest == max(used)
    assert all(gas < result.highest for gas in used[: result.highest_block - 100])
    assert sum(gas < result.median for gas in used) * 2 <= len(used)
    assert result.without == sum(not gas for gas in used)
    assert min(used) <= result.mean <= max(used)


def test_blob_gas_is_proved_from_whole_headers_and_its_receipt_is_verified() -> None:
    with service_in_a_box(plugin, headers=CHAIN) as box:
        (job,) = box.prove("gas_use", parameters("blob_gas_used")).jobs
        assert isinstance(job.result, dict), job.error
        blobs = [place % 6 for place, header in enumerate(CHAIN) if header in INSIDE]
        assert job.result["gas_use"] == sum(blobs) * BLOB
        assert job.result["highest"] == 5 * BLOB
        assert job.result["highest_block"] == INSIDE[blobs.index(5)].header.number
        assert is_verified(job) is True
        assert box.verify("box-0").accepted


def test_the_figure_of_each_block_is_attached_and_one_changed_byte_is_refused(
    tmp_path: Path,
) -> None:
    with service_in_a_box(plugin, headers=CHAIN) as box:
        (job,) = box.prove("gas_use", parameters("blob_gas_used")).jobs
        (attached,) = job.attachments
        table = box.attachment("box-0", "gas_use", "blocks.csv")
        with urlopen(f"{box.url}{attached.url}") as answer:
            served, tag = answer.read(), answer.headers["ETag"]
        receipt = dump_receipt(box.receipt("box-0"))
        file = tmp_path / "blocks.csv"
        file.write_bytes(table)
        report = box.verify_with(receipt, {"blocks.csv": file})
        # Of the last digit of a figure in the middle, one bit.
        place = table.index(b"\n", len(table) // 2) - 1
        file.write_bytes(table[:place] + bytes([table[place] ^ 1]) + table[place + 1 :])
        forged = box.verify_with(receipt, {"blocks.csv": file})
        stated = sha256(file.read_bytes()).hexdigest().encode()
        restated = box.verify_body(receipt.replace(attached.sha256.encode(), stated))
    header, *lines = table.decode().splitlines()
    assert header == "block,blob_gas_used"
    blobs = [place % 6 * BLOB for place, whole in enumerate(CHAIN) if whole in INSIDE]
    numbers = [whole.header.number for whole in INSIDE]
    assert lines == [f"{number},{gas}" for number, gas in zip(numbers, blobs, strict=True)]
    assert (attached.name, attached.media_type, attached.size, attached.sha256) == (
        "blocks.csv",
        "text/csv",
        len(table),
        sha256(table).hexdigest(),
    )
    assert (served, tag) == (table, f'"{attached.sha256}"')
    assert report.accepted, report
    for refused in (forged, restated):
        assert not refused.accepted
        failed = {check.check for check in refused.checks if check.outcome == "failed"}
        assert "attachments" in failed


@pytest.mark.parametrize("gas", ["gas_used", "blob_gas_used"])
def test_one_altered_figure_under_a_right_base_fee_is_refused(gas: str) -> None:
    chain = forged(gas)
    true = {header.header.number: header.header.base_fee_wei for header in INSIDE}
    theirs = {header.header.number: header.header.base_fee_wei for header in chain}
    assert true.items() <= theirs.items()
    with service_in_a_box(plugin, headers=chain) as box:
        (job,) = box.prove("gas_use", parameters(gas)).jobs
        assert isinstance(job.result, dict), job.error
        assert is_verified(job) is True
        receipt = dump_receipt(box.receipt("box-0"))
    with service_in_a_box(plugin, headers=CHAIN) as honest:
        report = honest.verify_body(receipt)
    assert not report.accepted
    (check,) = (check for check in report.checks if check.check == "input")
    assert check.outcome == "failed"
    assert "values_sha256" in check.reason or "last_hash" in check.reason


def test_figures_of_headers_without_bytes_are_stated_as_unverified() -> None:
    bare: list[Header] = [header.header for header in CHAIN]
    with service_in_a_box(plugin, headers=bare) as box:
        used, blobs = (
            box.prove("gas_use", parameters(gas)).jobs[0] for gas in ("gas_used", "blob_gas_used")
        )
    assert isinstance(used.result, dict), used.error
    assert is_verified(used) is False
    assert blobs.error is not None
    assert blobs.error["code"] == "series_incomplete"
    assert "has no blob_gas_used" in blobs.error["message"]
