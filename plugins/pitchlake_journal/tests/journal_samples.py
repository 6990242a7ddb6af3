"""The vector of the market's contract, and receipts of which a journal can be made."""

from typing import Any

from attrs import evolve
from prover_pitchlake_journal.composition import METHODS

from prover_framework import (
    HOUR_SECONDS,
    GroupReceipts,
    Provenance,
    Receipt,
    SeriesFacts,
    StatedInput,
    Statement,
    TimeRange,
)

# A journal that the market's verifier contract accepts in its own tests, in the contract's names.
VECTOR: dict[str, Any] = {
    "data_8_months_hash": [
        305419896,
        591751049,
        878082202,
        1164413355,
        1450744508,
        1737075661,
        2023406814,
        2309737967,
    ],
    "start_timestamp": 1672531200,
    "end_timestamp": 1704067200,
    "reserve_price": 2.5,
    "floating_point_tolerance": 0.0001,
    "reserve_price_tolerance": 0.01,
    "twap_tolerance": 0.05,
    "gradient_tolerance": 0.001,
    "twap_result": 1.25,
    "max_return": 0.3,
}


def _string(digits: str) -> bytes:
    return bytes.fromhex("42000000") + b"0x" + digits.encode() + bytes.fromhex("0000")


VECTOR_BYTES = b"".join(
    (
        bytes.fromhex("78563412896745239a785634ab896745bc9a7856cdab8967debc9a78efcdab89"),
        bytes.fromhex("00cdb063000000008000926500000000"),
        _string("0000000000000000000000000000000280000000000000000000000000000000"),
        _string("0000000000000000000000000000000000068db8bac710cb4000000000000000"),
        _string("00000000000000000000000000000000028f5c28f5c28f600000000000000000"),
        _string("000000000000000000000000000000000ccccccccccccd000000000000000000"),
        _string("00000000000000000000000000000000004189374bc6a7f00000000000000000"),
        _string("0000000000000000000000000000000140000000000000000000000000000000"),
        _string("000000000000000000000000000000004ccccccccccccc000000000000000000"),
    )
)


HOURS = "hourly_base_fee"

END = 1_704_067_200
"""Where the three ranges end."""


def statement(proof_type: str, number: object, hours: int, **parameters: object) -> Statement:
    """Return what a receipt of the last hours before `END` states; its fees hash is a mark."""
    first_hour = END - hours * HOUR_SECONDS
    return Statement(
        proof_type=proof_type,
        method_version=METHODS[proof_type],
        plugin_digest="ab" * 32,
        range=TimeRange(first_hour, END),
        parameters=parameters,
        settings={},
        inputs={
            HOURS: StatedInput(
                kind=HOURS,
                kind_version="1",
                kind_digest="ef" * 32,
                chain_id=1,
                simulated=False,
                evidence_sha256=None,
                facts={
                    "kind": "blocks",
                    "first_hour": first_hour,
                    "last_hour": END - HOUR_SECONDS,
                    "hours": hours,
                    "fees_hash": [hours, 2, 3, 4, 5, 6, 7, 2**32 - 1],
                    "felts_sum": "0x1",
                },
                data_sha256="01" * 32,
            )
        },
        seed="cd" * 32,
        seed_derivation="prover-framework/seed/2",
        generator=None,
        result={proof_type: number, "hours": hours},
    )


# A round as the market asks for it: 30 days, 90 days, and 90 days with the window of a round.
TWAP = statement("twap", 13690325285.187069, 720)
RESERVE_PRICE = statement("reserve_price", 1743019360.0, 2160)
MAX_RETURN = statement("max_return", 0.4885042293692916, 2160)


def hours(made: Statement) -> SeriesFacts:
    """Return which hours a statement is about."""
    return made.inputs[HOURS].facts_as(SeriesFacts)


def moved(made: Statement, **changes: Any) -> Statement:
    """Return a statement with other facts of its series."""
    facts = made.inputs[HOURS].facts
    first, last = (changes.get(n, facts[n]) for n in ("first_hour", "last_hour"))
    there = (last - first) // HOUR_SECONDS + 1
    return _stating(made, facts={**facts, **changes, "hours": there})


def of_chain(made: Statement, chain_id: int, *, simulated: bool = False) -> Statement:
    """Return a statement about another chain."""
    return _stating(made, chain_id=chain_id, simulated=simulated)


def _stating(made: Statement, **changes: Any) -> Statement:
    return evolve(made, inputs={HOURS: evolve(made.inputs[HOURS], **changes)})


def telling(made: Statement, number: object) -> Statement:
    """Return a statement whose result has another number."""
    return evolve(made, result={**made.result, made.proof_type: number})


def receipt(made: Statement) -> Receipt:
    """Return an unsealed receipt of a statement."""
    return Receipt(
        statement=made,
        provenance=Provenance(
            inputs={HOURS: {"first_block": 17, "last_block": 23, "source": "a test"}},
            software={"python": "3.11.0"},
            machine="x86_64",
            made_at="2024-01-01T00:00:00.000Z",
        ),
    )


def group(*statements: Statement) -> GroupReceipts:
    """Return the receipts of a group that has these statements."""
    return GroupReceipts(group_id="round", receipts=tuple(map(receipt, statements)))
