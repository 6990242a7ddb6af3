"""Commitments to data and the randomness derived from them: fees hash and seed."""

from hashlib import sha256
from typing import Any, cast

import rfc8785

from prover_framework.felt import felt_hex
from prover_framework.jsontext import Json
from prover_framework.model import HourlySeries, RangeParameters
from prover_framework.wire import unstructure

# The on-chain store hashes felts in batches of this many.
FELTS_PER_BATCH = 180

SEED_DOMAIN = b"prover-framework/seed/1\0"

# RFC 8785 writes numbers as doubles, so it has no integers beyond these.
MAX_EXACT_INTEGER = 2**53 - 1


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


def derive_seed(
    proof_type: str, version: str, parameters: object, series: HourlySeries, series_hash: bytes
) -> bytes:
    """Return the 32-byte seed of a computation: nobody who runs it can choose it.

    It is the SHA-256 of `SEED_DOMAIN` and the canonical JSON (RFC 8785) of a statement. That
    depends on the hours that were used and not on the raw timestamps, since two times an hour of
    seconds would give millions of seeds to choose from; nor on where the data came from.
    Integers beyond 2^53 - 1 are written as strings of decimal digits.

    Args:
        proof_type: Name of the proof type.
        version: Version of its method.
        parameters: Its parameters; those of the range do not count.
        series: The hours that are used.
        series_hash: Their fees hash.
    """
    form = cast(dict[str, Json], unstructure(parameters))
    if isinstance(parameters, RangeParameters):
        form = {k: v for k, v in form.items() if k not in ("start_timestamp", "end_timestamp")}
    statement: dict[str, Json] = {
        "proof_type": proof_type,
        "version": version,
        "chain_id": series.chain_id,
        "first_hour": series.first_hour,
        "last_hour": series.last_hour,
        "fees_hash": series_hash.hex(),
        "parameters": form,
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
