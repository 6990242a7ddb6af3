"""Randomness that is derived from what a proof is about: nobody who runs a job can choose it."""

from collections.abc import Mapping
from hashlib import sha256

from attrs import frozen

from prover_framework.model.series import TimeRange
from prover_framework.receipts.canonical import MAX_EXACT_INTEGER, canonical
from prover_framework.serialization.json_text import Json

# What receipts call this way to derive a seed.
SEED_DERIVATION = "prover-framework/seed/2"

SEED_DOMAIN = SEED_DERIVATION.encode() + b"\0"


@frozen
class SeedInput:
    """What of one input takes part in the seed.

    Args:
        kind: Name of the kind of data.
        kind_version: Its version.
        chain_id: The chain that the data is of; none where it is of none.
        part: What the kind says of the data; none where it has no part in the seed.
    """

    kind: str
    kind_version: str
    chain_id: int | None
    part: dict[str, Json] | None


def derive_seed(
    *,
    proof_type: str,
    version: str,
    hours: TimeRange | None,
    parameters: dict[str, Json],
    inputs: Mapping[str, SeedInput],
) -> bytes:
    """Return the 32-byte seed of a computation.

    It is the SHA-256 of `SEED_DOMAIN` and the canonical JSON (RFC 8785) of a statement. That
    depends on the hours that were asked for and not on the raw timestamps, since two times an hour
    of seconds would give millions of seeds to choose from; nor on where data came from, nor on
    evidence. Integers beyond 2^53 - 1 are written as strings of decimal digits.

    Args:
        proof_type: Name of the proof type.
        version: Version of its method.
        hours: The range that was asked for, in whole hours; none where there is none.
        parameters: The parameters beside it, in their JSON form, without defaults.
        inputs: The data, by name.
    """
    statement: dict[str, Json] = {
        "proof_type": proof_type,
        "version": version,
        "range": None if hours is None else [hours.start_timestamp, hours.end_timestamp],
        "parameters": parameters,
        "inputs": {name: _seed_input(stated) for name, stated in inputs.items()},
    }
    return sha256(SEED_DOMAIN + canonical(_writable(statement), "the seed's statement")).digest()


def _seed_input(stated: SeedInput) -> Json:
    return {
        "kind": stated.kind,
        "kind_version": stated.kind_version,
        "chain_id": stated.chain_id,
        "part": stated.part,
    }


def _writable(value: Json) -> Json:
    match value:
        case dict():
            return {key: _writable(item) for key, item in value.items()}
        case list() | tuple():
            return [_writable(item) for item in value]
        case int() if abs(value) > MAX_EXACT_INTEGER:
            return str(value)
    return value
