"""Receipts that are made to keep somebody busy: small to send, much work to check."""

import json
from collections.abc import Iterator
from typing import Any

import receipt_samples

from prover_framework.receipts.documents import COMPOSED_FORMAT, dump_receipt

# Of what the samples repeat: fewer would be read like any other receipt.
MANY = 90_000

Document = dict[str, Any]


def sample() -> Document:
    """Return a receipt of the right form that the sample may change."""
    document: Document = json.loads(dump_receipt(receipt_samples.receipt()))
    return document


def group(**changes: Any) -> Document:
    """Return a group's receipt with nothing in it but the changes to its statement."""
    return {
        "format": COMPOSED_FORMAT,
        "statement": {"group_id": "g", "members": [], "composed": [], **changes},
        "provenance": {"software": {}, "made_at": ""},
        "receipts": [],
        "seals": [],
    }


def hostile_documents() -> Iterator[tuple[str, Document]]:
    """Yield receipts by the name of what is too much in them."""
    for seals in (16, 8500):
        document = sample()
        document["statement"]["result"]["pad"] = [1.5] * 8000
        document["seals"] = [{"kind": f"k{place}"} for place in range(seals)]
        yield f"a result that {seals} seals stand for", document
    for many, what in ((300_000, "a"), (MANY, "a"), (MANY, 1)):
        document = sample()
        document["statement"]["inputs"]["hourly_base_fee"]["facts"]["fees_hash"] = [what] * many
        yield f"a fees hash of {many} times {what!r}", document
    for many, number in ((500_000, 1.5), (MANY, 1.234567890123456e-300), (MANY, 3 * 2**53)):
        document = sample()
        document["statement"]["result"]["pad"] = [number] * many
        yield f"{many} times {number}", document
    for last in (1, "\ud800", 2**60 + 1):
        document = sample()
        document["statement"]["result"]["pad"] = {"k" * 10**6: [*[1] * MANY, last]}
        yield f"a long key over many values and {last!a}", document
    document = sample()
    document["provenance"]["software"] = {f"k{place}": place for place in range(MANY)}
    yield "software of the wrong type", document
    yield "unknown members", {**sample(), **{f"k{place}": place for place in range(MANY)}}
    document = sample()
    document["statement"]["inputs"]["hourly_base_fee"]["facts"]["felts_sum"] = (
        "1" * 40 + "x"
    ) * 45_000
    yield "a long number", document
    yield "many composed", group(composed=[{}] * 50_000)
    made: Document = {
        "plugin": "pitchlake_journal",
        "plugin_digest": "0" * 64,
        "artefacts": [],
        "refusal": None,
        "message": "",
    }
    yield "one plugin often", group(composed=[made] * 16)
    artefact = {"kind": "a", "version": "1", "content": {}, "data": ""}
    yield "many artefacts", group(composed=[{**made, "artefacts": [artefact] * 16_000}])
    artefact = {**artefact, "kind": "A"}
    yield "many wrong artefacts", group(composed=[{**made, "artefacts": [artefact] * 16_000}])
    member = {"job_id": "twap", "state": "failed", "digest": None}
    yield "many members", group(members=[member] * 20_000)
    yield "many receipts", {**group(), "receipts": [sample()] * 500}
    yield "as many receipts as a group has", {**group(), "receipts": [sample()] * 64}


def hostile_bodies() -> dict[str, bytes]:
    """Return such receipts as they are sent, by the name of what is too much in them."""
    bodies = {
        name: json.dumps(document, separators=(",", ":")).encode()
        for name, document in hostile_documents()
    }
    return {
        **bodies,
        "open brackets": b"[" * 2_000_000,
        "empty lists": b"[" + b",".join([b"[]"] * 690_000) + b"]",
        "long integers": b"[" + b",".join([b"9" * 3999] * 500) + b"]",
        "deep": b'{"a":' * 400_000,
    }


# A proof type whose parameters keep whoever reads them busy, in the ways that a number chooses.
# None of them is a number that is tried when a plugin is loaded.
TRAP = """
import os, signal
from attrs import field, frozen
from prover_framework import ProofType, RangeParameters, hookimpl

PROVER_API = 1


def spring(_, __, way):
    if way == 101:
        while True:
            pass
    if way == 102:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == 103:
        bytearray(4 * 2**30)
    if way == 104:
        raise RuntimeError("sprung")


@frozen(kw_only=True)
class Parameters(RangeParameters):
    way: int = field(validator=spring)


@frozen
class Result:
    trap: int


@hookimpl
def proof_type():
    return ProofType(name="trap", title="Trap", version="1", parameters=Parameters, result=Result)


@hookimpl
def compute(inputs):
    return Result(len(inputs['hourly_base_fee']))
"""


def sprung(receipt: bytes, way: int) -> bytes:
    """Return the receipt of a `TRAP` with another way in it."""
    document = json.loads(receipt)
    document["statement"]["parameters"]["way"] = way
    return json.dumps(document).encode()
