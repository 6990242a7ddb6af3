"""The names that exports, tables and libraries have for the columns of block headers.

Case and underscores do not matter, so that ``baseFeePerGas`` (JSON-RPC, ethers, viem) is
``base_fee_per_gas`` (ethereum-etl, cryo, BigQuery, Dune).
"""

from difflib import get_close_matches
from typing import Final

# By the names of `prover_framework.chain.rlp_header.FIELDS`; the block's own hash is none of them.
OTHER_NAMES: Final = {
    "number": ("block_number", "block", "height"),
    "timestamp": ("block_timestamp", "time", "block_time"),
    "base_fee_per_gas": ("base_fee", "base_fee_wei"),
    "gas_used": (),
    "gas_limit": (),
    "block_hash": ("hash",),
    "parent_hash": (),
    "sha3_uncles": ("uncles_hash", "uncle_hash", "ommers_hash", "uncles_sha3"),
    "miner": ("author", "beneficiary", "coinbase", "fee_recipient"),
    "state_root": (),
    "transaction_root": ("transactions_root", "tx_root"),
    "receipts_root": ("receipt_root",),
    "logs_bloom": ("bloom",),
    "difficulty": (),
    "extra_data": ("extra",),
    "mix_hash": ("prev_randao", "mix_digest"),
    "nonce": (),
    "withdrawals_root": ("withdrawal_root",),
    "blob_gas_used": (),
    "excess_blob_gas": (),
    "parent_beacon_block_root": ("parent_beacon_root",),
    "requests_hash": ("requests_root",),
    "block_access_list_hash": (),
    "slot_number": (),
}


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "")


_COLUMN_OF: Final = {
    _key(name): column for column, others in OTHER_NAMES.items() for name in (column, *others)
}


def column_of(name: str) -> str | None:
    """Return which column of a header a name stands for; None if for none."""
    return _COLUMN_OF.get(_key(name))


def is_own_name(name: str) -> bool:
    """Return whether a name is the column's own, and no other one for it."""
    # A node's word for a block's hash is as good as ours.
    return _key(name) in {"hash", *map(_key, OTHER_NAMES)}


def like(column: str, names: list[str]) -> str | None:
    """Return the one of some names that is probably meant for a column."""
    found = get_close_matches(column, [name.strip().lower() for name in names], 1, 0.75)
    return found[0] if found else None
