"""Verifies the stored headers again, from their bytes, up to a block hash that somebody trusts."""

from collections.abc import Callable

from attrs import frozen

from prover_framework.chain.parallel import PAGE, verify_blocks
from prover_framework.chain.rules import begins_chain, check_link
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.verification import ChainSpan
from prover_framework.errors import HeaderError

# A message names this many hours whose sums are wrong.
SHOWN_HOURS = 5


@frozen(kw_only=True)
class ChainReport:
    """What was verified of the stored headers.

    Args:
        span: The headers; each has the hash of its own bytes and follows from the one before.
        whole_start: Whether the first of them follows from the block before it as well, or needs
            none.
        fee_rule: By which rule the base fees were checked; None if none is known for the chain.
        trusted_block: Number of the block with the trusted hash, if one was named and found at or
            after the end of what was to be verified. Whoever trusts the hash can trust all blocks
            of the span before it, too.
    """

    span: ChainSpan
    whole_start: bool
    fee_rule: str | None
    trusted_block: int | None


async def verify_stored(
    store: HeaderStore,
    *,
    first: int | None = None,
    last: int | None = None,
    trusted: str | None = None,
    processes: int = 1,
    page: int = PAGE,
    on_progress: Callable[[int, int], None] | None = None,
) -> ChainReport:
    """Verify headers that are stored: hashes, links, base fees, columns and hourly sums.

    Args:
        store: Where they are.
        first: The first block; None for the lowest that is stored.
        last: The last block; None for the one with the trusted hash, or else the highest.
        trusted: A block hash, ``0x`` and 64 hex digits. It is looked for from ``first`` on, also
            beyond ``last``.
        processes: How many processes share the work.
        page: How many headers are read and verified together.
        on_progress: Told how many headers were verified so far, and how many there are at most.

    Raises:
        HeaderInvalid: Block, field and rule of the first header that is wrong.
        HeaderError: A header is not stored whole, the sums of an hour are wrong, or there are no
            headers.
        StoreError: The database cannot be read.
    """
    status = await store.status(max_gaps=0)
    if status is None:
        raise HeaderError("there are no headers to verify")
    rules = store.rules_of(status.chain)
    begin = status.first_block if first is None else first
    end = status.last_block if last is None or trusted is not None else last
    if end < begin:
        raise HeaderError(f"there are no headers from block {begin} to block {end}")
    total = end - begin + 1
    span = await verify_blocks(
        store,
        begin,
        end,
        rules,
        trusted=trusted.lower() if trusted else None,
        needed=begin if last is None else last,
        processes=min(processes, -(-total // page)),
        page=page,
        on_progress=lambda done: on_progress(done, total) if on_progress else None,
    )
    if span is None:
        raise HeaderError(f"there are no headers from block {begin} to block {end}")
    whole_start = begins_chain(span.first, rules)
    if parent := await store.headers(begin - 1, begin - 1):
        rlp = await store.rlp(begin - 1) if rules.needs_bytes else None
        whole_start = check_link(parent[0], span.first, rules, rlp)
    if wrong := await store.wrong_hours(span.first.timestamp, span.last.timestamp):
        named = ", ".join(map(str, wrong[:SHOWN_HOURS]))
        raise HeaderError(
            f"the stored sums of {len(wrong)} hours are not those of their headers: the hours that "
            f"begin at {named}{' and more' if len(wrong) > SHOWN_HOURS else ''}"
        )
    found = span.trusted_block
    if found is not None and last is not None and found < last:
        found = None
    return ChainReport(
        span=span, whole_start=whole_start, fee_rule=rules.fee_rule, trusted_block=found
    )
