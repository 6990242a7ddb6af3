"""What a result was made from, as it is shown beside it: taken from its receipt."""

import json

from attrs import frozen

EVIDENCE = "evidence"


@frozen(kw_only=True)
class Evidence:
    """What a result was made from, in short; the receipt says all.

    Args:
        version: Version of the proof type's method.
        chain_id: Id of the chain.
        simulated: Whether the chain is a simulation; such a number settles nothing.
        series_kind: ``blocks``, or ``hourly`` for a fee file with one row for each hour.
        first_hour: Unix timestamp at which the first hour used begins.
        last_hour: Unix timestamp at which the last hour used begins.
        hours: How many hours were used.
        first_block: Number of the first block used.
        last_block: Number of the last block used.
        blocks: How many blocks were used.
        fees_hash: The on-chain store's hash of the hourly fees, eight big-endian u32.
        seed: The derived seed, in hex.
    """

    version: str
    chain_id: int
    simulated: bool
    series_kind: str
    first_hour: int
    last_hour: int
    hours: int
    first_block: int
    last_block: int
    blocks: int
    fees_hash: tuple[int, ...]
    seed: str


def evidence_of(content: str) -> Evidence:
    """Return what a stored receipt says of what its result was made from.

    A status shows many of them, and this service has written them itself: so they are not read as
    strictly as a stranger's.
    """
    document = json.loads(content)
    statement, provenance = document["statement"], document["provenance"]
    series = statement["series"]
    return Evidence(
        version=statement["method_version"],
        chain_id=statement["chain_id"],
        simulated=statement["simulated"],
        series_kind=series["kind"],
        first_hour=series["first_hour"],
        last_hour=series["last_hour"],
        hours=series["hours"],
        first_block=provenance["first_block"],
        last_block=provenance["last_block"],
        blocks=provenance["blocks"],
        fees_hash=tuple(series["fees_hash"]),
        seed=statement["seed"],
    )
