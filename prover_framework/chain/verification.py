"""Checks headers against the rules of the chain, and names the first that breaks one.

A chain that passes is one that somebody can have made: anyone can link headers that obey EIP-1559.
It is the real one if one of its hashes, at or after its end, is one that the verifier trusts.
"""

from collections.abc import Iterable

from attrs import field, frozen

from prover_framework.chain.headers import EncodedHeader, Header, differences
from prover_framework.chain.rlp_header import read_header
from prover_framework.chain.rules import ChainRules, check_gas, check_link
from prover_framework.errors import HeaderInvalid, HeaderRule


@frozen
class ChainSpan:
    """Headers that were verified: each has its own hash, and follows from the one before.

    Args:
        first: The first header, as its bytes say.
        last: The last one.
        trusted_block: Number of the block whose hash is the one that was looked for, if it was
            found among them.
        last_rlp: The bytes of the last one.
    """

    first: Header
    last: Header
    trusted_block: int | None = None
    last_rlp: bytes | None = field(default=None, eq=False, repr=False)

    def __len__(self) -> int:
        return self.last.number - self.first.number + 1

    def joined(self, after: "ChainSpan", rules: ChainRules) -> "ChainSpan":
        """Return both as one.

        Raises:
            HeaderInvalid: The other one does not follow from this one.
        """
        check_link(self.last, after.first, rules, self.last_rlp)
        found = after.trusted_block if self.trusted_block is None else self.trusted_block
        return ChainSpan(self.first, after.last, found, after.last_rlp)


def verify_chain(
    headers: Iterable[EncodedHeader], rules: ChainRules, trusted: str | None = None
) -> ChainSpan | None:
    """Verify that headers are a chain; return what it spans, None for no headers.

    Whether the first of them follows from the block before it is for the caller to check, with
    `check_link` or `begins_chain`.

    Args:
        headers: In the order of their numbers.
        rules: Those of the chain.
        trusted: A block hash to look for.

    Raises:
        HeaderInvalid: Block, field and rule of the first header that is wrong.
    """
    first = last = last_rlp = None
    trusted_block = None
    for stored in headers:
        header = check_header(stored)
        if last is None:
            first = header
        else:
            check_link(last, header, rules, last_rlp)
        if header.block_hash == trusted:
            trusted_block = header.number
        last, last_rlp = header, stored.rlp
    if first is None or last is None:
        return None
    return ChainSpan(first, last, trusted_block, last_rlp)


def check_header(stored: EncodedHeader) -> Header:
    """Check one header by itself; return it as its bytes say.

    Raises:
        HeaderInvalid: It is malformed, or its bytes say something else than is said of it.
    """
    try:
        header = read_header(stored.rlp)
    except HeaderInvalid as error:
        raise error.at(stored.header.number) from None
    if header != stored.header:
        _require_same(stored.header, header)
    check_gas(header)
    return header


def _require_same(said: Header, header: Header) -> None:
    """Require that the bytes say what is said beside them."""
    different = list(differences(said, header))
    # Whatever differs, the hash does too; it is named if nothing else is.
    for name, ours, theirs in different:
        if name != "block_hash":
            raise HeaderInvalid(
                f"is {ours}, and the header's own bytes say {theirs}",
                HeaderRule.STORED,
                name,
                said.number,
            )
    for name, ours, theirs in different:
        raise HeaderInvalid(
            f"is {ours}, and the header's fields have the hash {theirs}: one of them, or the "
            "hash, has been altered",
            HeaderRule.HASH,
            name,
            said.number,
        )
