"""Auction: the price at which a sealed-bid auction clears. It needs no data at all."""

from hashlib import sha256

from attrs import field, frozen
from attrs.validators import ge, gt, le, matches_re, max_len

from prover_framework import Problem, ProofType, Wei, hookimpl

# The version of the hooks that this is written for.
PROVER_API = 1

# What fits into one request with room to spare: a bid has some 300 bytes in JSON.
MAX_BIDS = 1000

MIN_SALT_BYTES = 16

# Amounts and prices are numbers of 256 bits, as on the chain.
MAX_AMOUNT = 2**256 - 1

DOMAIN = b"prover-auction/bid/1"


@frozen(kw_only=True)
class Bid:
    """A bid that was sealed, and is opened.

    Args:
        bidder: Who bids, one line.
        price: What is offered for one unit, in wei.
        amount: How many units are wanted.
        salt: Random bytes, at least 16, without which the seal could be guessed.
        seal: What was published before bidding ended: `seal_of` the other fields.
    """

    bidder: str = field(validator=matches_re(r"[!-~]{1,64}"))
    price: Wei = field(validator=[ge(0), le(MAX_AMOUNT)])
    amount: Wei = field(validator=[gt(0), le(MAX_AMOUNT)])
    salt: bytes
    seal: bytes


@frozen(kw_only=True)
class AuctionParameters:
    """Parameters of an auction.

    Args:
        supply: How many units are sold.
        reserve: The lowest price that is accepted, in wei.
        bids: All bids, in the order in which they were sealed.
    """

    supply: Wei = field(validator=[gt(0), le(MAX_AMOUNT)])
    reserve: Wei = field(default=0, validator=[ge(0), le(MAX_AMOUNT)])
    bids: tuple[Bid, ...] = field(default=(), validator=max_len(MAX_BIDS))


@frozen(kw_only=True)
class AuctionResult:
    """How the auction ends.

    Args:
        auction: The price of one unit, which all winners pay, in wei: that of the lowest bid that
            gets something; the reserve where not all is sold.
        sold: How many units are sold.
        awards: What each bid gets, in the order of the bids.
    """

    auction: Wei
    sold: Wei
    awards: tuple[Wei, ...]


def seal_of(bidder: str, price: int, amount: int, salt: bytes) -> bytes:
    """Return the seal of a bid: SHA-256 of a domain, price, amount, lengths and texts.

    Args:
        bidder: Who bids.
        price: In wei for one unit, below 2^256.
        amount: In units, below 2^256.
        salt: Random bytes that the bidder keeps until bids are opened.
    """
    name = bidder.encode()
    whole = (
        DOMAIN,
        price.to_bytes(32),
        amount.to_bytes(32),
        len(name).to_bytes(1),
        name,
        salt,
    )
    return sha256(b"".join(whole)).digest()


def clear(supply: int, reserve: int, bids: tuple[Bid, ...]) -> AuctionResult:
    """Return how an auction ends: the highest bids get what they want, at one price for all.

    Bids below the reserve get nothing. Of two at one price the one that was sealed first goes
    first.

    Args:
        supply: How many units are sold.
        reserve: The lowest price, in wei.
        bids: The bids, in the order in which they were sealed.
    """
    awards, left, price = [0] * len(bids), supply, reserve
    for place in sorted(range(len(bids)), key=lambda place: -bids[place].price):
        bid = bids[place]
        if bid.price < reserve or not left:
            break
        awards[place] = min(bid.amount, left)
        left -= awards[place]
        price = bid.price
    return AuctionResult(
        auction=reserve if left else price, sold=supply - left, awards=tuple(awards)
    )


@hookimpl
def proof_type() -> ProofType[AuctionParameters, AuctionResult]:
    """Register the auction, which has no range and needs no data."""
    return ProofType(
        name="auction",
        title="Auction",
        version="1",
        parameters=AuctionParameters,
        result=AuctionResult,
    )


@hookimpl
def validate(parameters: AuctionParameters) -> list[Problem]:
    """Refuse bids that do not open their seals: they are not those that were made."""
    problems = []
    for place, bid in enumerate(parameters.bids):
        if len(bid.salt) < MIN_SALT_BYTES:
            what = f"must have at least {MIN_SALT_BYTES} bytes, got {len(bid.salt)}"
            problems.append(Problem(f"bids[{place}].salt", what))
        if seal_of(bid.bidder, bid.price, bid.amount, bid.salt) != bid.seal:
            what = "is not the seal of this bid: bidder, price, amount or salt is another one"
            problems.append(Problem(f"bids[{place}].seal", what))
    return problems


@hookimpl
def compute(parameters: AuctionParameters) -> AuctionResult:
    """Compute how the auction ends, in integers."""
    return clear(parameters.supply, parameters.reserve, parameters.bids)
