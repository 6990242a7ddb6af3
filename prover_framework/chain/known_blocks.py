"""Tells by number and time which public chain a block is probably of, for messages alone."""

from typing import Final

from attrs import frozen

# A slot of Ethereum and its test nets; some of them have no block.
_SLOT_SECONDS = 12
_MISSED_PERCENT = 15
_NEAR_BLOCKS = 50_000


@frozen
class KnownBlock:
    """A block of a public chain.

    Args:
        chain_id: Which chain (EIP-155).
        name: What people call it.
        number: Its number.
        timestamp: Its time, Unix seconds.
    """

    chain_id: int
    name: str
    number: int
    timestamp: int


KNOWN_BLOCKS: Final = (
    KnownBlock(1, "mainnet", 19_449_567, 1_710_617_795),
    KnownBlock(11155111, "Sepolia", 8_006_481, 1_743_249_072),
    KnownBlock(17000, "Holesky", 0, 1_695_902_400),
    KnownBlock(560048, "Hoodi", 772_457, 1_752_106_788),
)


def probable_chain(number: int, timestamp: int) -> KnownBlock | None:
    """Return a block of the one chain that has such a block at such a time; None if that is open.

    Args:
        number: Number of the block.
        timestamp: Its time, Unix seconds.
    """
    found = [known for known in KNOWN_BLOCKS if _is_near(known, number, timestamp)]
    return found[0] if len(found) == 1 else None


def _is_near(known: KnownBlock, number: int, timestamp: int) -> bool:
    slots = (timestamp - known.timestamp) // _SLOT_SECONDS
    allowed = _NEAR_BLOCKS + abs(slots) * _MISSED_PERCENT // 100
    return number > 0 and abs(known.number + slots - number) <= allowed
