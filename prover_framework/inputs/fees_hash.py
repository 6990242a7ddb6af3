"""The fees hash: what the on-chain store commits to hourly base fees with."""

from array import array
from hashlib import sha256

from prover_framework.model.felt import felt_hex

# The on-chain store hashes felts in batches of this many.
FELTS_PER_BATCH = 180

FELT_BYTES = 32


def fees_hash(felts: list[int]) -> bytes:
    """Return the on-chain store's hash of hourly base fees, 32 bytes.

    Args:
        felts: The means of the hours in wei, as felts.

    Each felt gives 32 bytes, its eight 32-bit words from the least significant one, each written
    big-endian. SHA-256 of each batch of 180; then SHA-256 of all batch digests.

    Raises:
        ValueError: One of them is no felt.
    """
    starts = range(0, len(felts), FELTS_PER_BATCH)
    batches = (felts[start : start + FELTS_PER_BATCH] for start in starts)
    return sha256(b"".join(map(batch_digest, batches))).digest()


def batch_digest(felts: list[int]) -> bytes:
    """Return the digest of one batch, the inner level of `fees_hash`."""
    return sha256(_felt_bytes(felts)).digest()


def _felt_bytes(felts: list[int]) -> bytes:
    if felts:
        # Refuses what is no felt.
        felt_hex(min(felts))
        felt_hex(max(felts))
    little = b"".join(felt.to_bytes(FELT_BYTES, "little") for felt in felts)
    # The bytes of each word the other way around, which is the same on every machine.
    words = array("I", little)
    words.byteswap()
    return words.tobytes()


def hash_words(digest: bytes) -> tuple[int, ...]:
    """Return a fees hash as the on-chain store shows it: eight big-endian u32."""
    return tuple(int.from_bytes(digest[i : i + 4]) for i in range(0, len(digest), 4))
