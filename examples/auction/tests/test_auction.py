"""An auction clears at one price, in exact integers, and no bid is another than was sealed."""

import json

import attrs
import prover_auction as plugin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prover_auction import AuctionParameters, Bid, clear, seal_of

from prover_framework.errors import RequestError
from prover_framework.receipts.documents import dump_receipt
from prover_framework.serialization.converter import unstructure
from prover_framework.testing import ProofTypeConformance, service_in_a_box

SALT = bytes(range(16))
ETHER = 10**18


def bid(bidder: str, price: int, amount: int) -> Bid:
    seal = seal_of(bidder, price, amount, SALT)
    return Bid(bidder=bidder, price=price, amount=amount, salt=SALT, seal=seal)


ADA, BEN, CLEO = bid("ada", 9, 60), bid("ben", 7, 60), bid("cleo", 7, 60)

# Beyond what a double or a number in JSON holds exactly.
LARGE = AuctionParameters(
    supply=3 * ETHER + 1,
    reserve=ETHER,
    bids=(bid("ada", 2 * ETHER + 1, 2 * ETHER), bid("ben", 2 * ETHER, 2 * ETHER)),
)

bids = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 2**200)).map(lambda made: bid("someone", *made)),
    max_size=12,
).map(tuple)


class TestConformance(ProofTypeConformance):
    plugin = plugin
    samples = (LARGE, AuctionParameters(supply=100, bids=(ADA, BEN, CLEO)))
    wrong = (("supply", "0"), ("supply", 100), ("reserve", "-1"))


@pytest.mark.parametrize(
    ("supply", "reserve", "price", "awards"),
    [
        (100, 0, 7, (60, 40, 0)),
        (60, 0, 9, (60, 0, 0)),
        (150, 5, 7, (60, 60, 30)),
        (500, 5, 5, (60, 60, 60)),
        (100, 8, 8, (60, 0, 0)),
        (100, 10, 10, (0, 0, 0)),
    ],
)
def test_the_highest_bids_win_at_one_price(
    supply: int, reserve: int, price: int, awards: tuple[int, ...]
) -> None:
    result = clear(supply, reserve, (ADA, BEN, CLEO))
    assert (result.auction, result.awards, result.sold) == (price, awards, sum(awards))


@given(bids, st.integers(1, 2**201), st.integers(0, 20))
def test_nobody_pays_more_than_he_bid_or_is_passed_over(
    made: tuple[Bid, ...], supply: int, reserve: int
) -> None:
    result = clear(supply, reserve, made)
    wanted = sum(each.amount for each in made if each.price >= reserve)
    assert result.sold == min(supply, wanted) == sum(result.awards)
    assert result.auction >= reserve
    for each, award in zip(made, result.awards, strict=True):
        assert 0 <= award <= each.amount
        assert each.price >= result.auction or not award
        assert award == each.amount or each.price <= result.auction


def test_a_service_proves_it_without_any_data() -> None:
    with service_in_a_box(plugin) as box:
        (job,) = box.prove("auction", LARGE).jobs
        assert isinstance(job.result, dict), job.error
        assert job.result["auction"] == str(2 * ETHER)
        assert job.result["awards"] == [str(2 * ETHER), str(ETHER + 1)]
        evidence = job.result["evidence"]
        assert isinstance(evidence, dict)
        assert evidence["inputs"] == {}
        report = box.verify("box-0")
        assert report.accepted, report.checks
        assert not evidence["simulated"]


def test_a_bid_that_does_not_open_its_seal_is_refused_by_its_place() -> None:
    changed = attrs.evolve(BEN, amount=61)
    wrong = AuctionParameters(supply=100, bids=(ADA, changed, attrs.evolve(CLEO, salt=b"short")))
    with service_in_a_box(plugin) as box, pytest.raises(RequestError) as caught:
        box.prove("auction", wrong)
    assert "auction.bids[1].seal: is not the seal of this bid" in str(caught.value)
    assert "auction.bids[2].salt: must have at least 16 bytes, got 5" in str(caught.value)


@pytest.mark.parametrize("altered", ["amount", "bid", "price"])
def test_a_receipt_over_other_bids_is_refused(altered: str) -> None:
    with service_in_a_box(plugin) as box:
        box.prove("auction", AuctionParameters(supply=100, bids=(ADA, BEN, CLEO)))
        document = json.loads(dump_receipt(box.receipt("box-0")))
        statement = document["receipts"][0]["statement"]
        if altered == "amount":
            statement["parameters"]["bids"][1]["amount"] = "61"
        elif altered == "bid":
            # It opens its seal, and is not the one that the result was computed from.
            statement["parameters"]["bids"][1] = unstructure(bid("ben", 8, 60))
        else:
            statement["result"]["auction"] = "6"
        report = box.verify_body(json.dumps(document).encode())
    assert not report.accepted
    failed = {check.check: check.reason for check in report.checks if check.outcome != "passed"}
    assert "result" in failed
