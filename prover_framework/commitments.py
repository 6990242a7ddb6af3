"""Commitments to data and the randomness derived from them: fees hash and seed."""

from hashlib import sha256
from typing import Any, cast

import rfc8785

from prover_framework.felt import felt_hex
from prover_framework.jsontext import Json
from prover_framework.model import RangeParameters, TimeRange
from prover_framework.receipts.canonical import MAX_EXACT_INTEGER
from prover_framework.wire import unstructure

# The on-chain store hashes felts in batches of this many.
FELTS_PER_BATCH = 180

# What receipts call this way to derive a seed.
SEED_DERIVATION = "prover-framework/seed/1"

SEED_DOMAIN = SEED_DERIVATION.encode() + b"\0"

# The names that a range has among parameters.
RANGE = ("start_timestamp", "end_timestamp")


def fees_hash(felts: list[int]) -> bytes:
    """Return the on-chain store's hash of hourly base fees, 32 bytes.

    Args:
        felts: The means of the hours in wei, as felts.

    Each felt gives 32 bytes, its eight 32-bit words from the least significant one, each written
    big-endian. SHA-256 of each batch of 180; then SHA-256 of all batch digests.
    """
    batches = (felts[i : i + FELTS_PER_BATCH] for i in range(0, len(felts), FELTS_PER_BATCH))
    return sha256(b"".join(batch_digest(batch) for batch in batches)).digest()


def batch_digest(felts: list[int]) -> bytes:
    """Return the digest of one batch, the inner level of `fees_hash`."""
    return sha256(b"".join(_felt_bytes(felt) for felt in felts)).digest()


def _felt_bytes(felt: int) -> bytes:
    felt_hex(felt)  # Refuses what is no felt.
    little = felt.to_bytes(32, "little")
    return b"".join(little[i : i + 4][::-1] for i in range(0, 32, 4))


def hash_words(digest: bytes) -> tuple[int, ...]:
    """Return a fees hash as the on-chain store shows it: eight big-endian u32."""
    return tuple(int.from_bytes(digest[i : i + 4]) for i in range(0, len(digest), 4))


def hash_from_words(words: tuple[int, ...]) -> bytes:
    """Return the fees hash that is shown as these words."""
    return b"".join(word.to_bytes(4) for word in words)


def range_of(parameters: object) -> TimeRange | None:
    """Return the range of parameters that have one, both ends rounded down to the hour.

    Raises:
        EmptyRange: It holds no whole hour.
    """
    if not isinstance(parameters, RangeParameters):
        return None
    hours = parameters.range.require_hours()
    return TimeRange(hours.start, hours.stop)


def parameters_beside_range(parameters: object) -> dict[str, Json]:
    """Return the JSON form of parameters without their range, which is stated in whole hours."""
    form = cast(dict[str, Json], unstructure(parameters))
    if isinstance(parameters, RangeParameters):
        form = {key: value for key, value in form.items() if key not in RANGE}
    return form


def with_range(form: dict[str, Json], hours: TimeRange | None) -> dict[str, Json]:
    """Put the range back to the parameters beside it."""
    if hours is None:
        return form
    return {**form, **dict(zip(RANGE, (hours.start_timestamp, hours.end_timestamp), strict=True))}


def derive_seed(
    *,
    proof_type: str,
    version: str,
    chain_id: int,
    first_hour: int,
    last_hour: int,
    series_hash: bytes,
    parameters: dict[str, Json],
) -> bytes:
    """Return the 32-byte seed of a computation: nobody who runs it can choose it.

    It is the SHA-256 of `SEED_DOMAIN` and the canonical JSON (RFC 8785) of a statement. That
    depends on the hours that were used and not on the raw timestamps, since two times an hour of
    seconds would give millions of seeds to choose from; nor on where the data came from.
    Integers beyond 2^53 - 1 are written as strings of decimal digits.

    Args:
        proof_type: Name of the proof type.
        version: Version of its method.
        chain_id: The chain's id.
        first_hour: Unix timestamp at which the first hour used begins.
        last_hour: Unix timestamp at which the last hour used begins.
        series_hash: The fees hash of the hours.
        parameters: The parameters beside their range, in their JSON form.
    """
    statement: dict[str, Json] = {
        "proof_type": proof_type,
        "version": version,
        "chain_id": chain_id,
        "first_hour": first_hour,
        "last_hour": last_hour,
        "fees_hash": series_hash.hex(),
        "parameters": parameters,
    }
    return sha256(SEED_DOMAIN + rfc8785.dumps(cast(Any, _writable(statement)))).digest()


def _writable(value: Json) -> Json:
    match value:
        case dict():
            return {key: _writable(item) for key, item in value.items()}
        case list() | tuple():
            return [_writable(item) for item in value]
        case int() if abs(value) > MAX_EXACT_INTEGER:
            return str(value)
    return value
