"""The mean of quotes rests on signed quotes, and offline on nothing but the verifier's key."""

import asyncio
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import attrs
import prover_quote_average as plugin
import prover_signed_feed
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prover_quote_average import QuoteAverageParameters
from prover_signed_feed import Quote

from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.receipts.canonical import canonical
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import ProofTypeConformance, service_in_a_box
from prover_framework.testing.box import SETTINGS
from prover_framework.verification.checks import Report
from prover_framework.verification.verifier import Verifier

PREFIX = "PROVER_PLUGIN__SIGNED_QUOTE__"
NOON = 1_704_110_400
HOUR = 3600
KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
ANOTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)

# Prices in the smallest unit, beyond what a number in JSON holds exactly.
UNIT = 10**18
QUOTES = (
    Quote(pair="ETH-USD", price=2_500 * UNIT, quoted_at=NOON - 5),
    Quote(pair="ETH-USD", price=2_600 * UNIT + 1, quoted_at=NOON + HOUR - 7),
    Quote(pair="BTC-USD", price=42_000 * UNIT, quoted_at=NOON - 5),
    Quote(pair="ETH-USD", price=1_000 * UNIT, quoted_at=NOON - HOUR),
)
ASKED = QuoteAverageParameters(pair="ETH-USD", times=(NOON, NOON + HOUR), max_age_seconds=600)


def variables(key: Ed25519PrivateKey, url: str = "") -> dict[str, str]:
    found = {f"{PREFIX}PUBLIC_KEY": f'"0x{key.public_key().public_bytes_raw().hex()}"'}
    return {**found, f"{PREFIX}URL": url} if url else found


def evidence(quote: Quote, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    stated = {"pair": quote.pair, "price": str(quote.price), "quoted_at": quote.quoted_at}
    return {"quote": stated, "signature": f"0x{key.sign(quote.text).hex()}"}


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a feed."""
    place = tmp_path_factory.mktemp("feed") / "feed.json"
    published = [
        {
            "pair": quote.pair,
            "price": str(quote.price),
            "quoted_at": str(quote.quoted_at),
            "signature": KEY.sign(quote.text).hex(),
        }
        for quote in QUOTES
    ]
    place.write_text(json.dumps(published))
    return place.as_uri()


@pytest.fixture(scope="module")
def receipt(feed: str) -> Iterator[dict[str, Any]]:
    settings = attrs.evolve(SETTINGS, plugin_variables=variables(KEY, feed))
    with service_in_a_box(plugin, prover_signed_feed, settings=settings) as box:
        (job,) = box.prove("quote_average", ASKED).jobs
        assert isinstance(job.result, dict), job.error
        assert job.result["quote_average"] == str(2_550 * UNIT)
        assert job.result["quoted_at"] == [NOON - 5, NOON + HOUR - 7]
        yield json.loads(dump_receipt(box.receipt("box-0")))


def verify(document: dict[str, Any], key: Ed25519PrivateKey = KEY) -> Report:
    """Verify offline, with nothing but a key: there is no feed, database or chain."""
    names = [module.__name__ for module in (plugin, prover_signed_feed)]
    verifier = Verifier(
        settings=attrs.evolve(SETTINGS, plugin_variables=variables(key)),
        plugins=load([Candidate(name, name, name, "under test") for name in names], strict=True),
        headers=None,
    )
    return asyncio.run(verifier.verify(json.dumps(document).encode()))


def forge(document: dict[str, Any], quote: Quote, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    """Put another quote in the place of the first, and all that follows from it."""
    forged: dict[str, Any] = json.loads(json.dumps(document))
    (proof,) = forged["receipts"]
    shown = evidence(quote, key)
    proof["evidence"]["quote_0"] = shown
    stated = proof["statement"]["inputs"]["quote_0"]
    stated["facts"] = shown["quote"]
    stated["data_sha256"] = sha256(canonical(shown["quote"])).hexdigest()
    stated["evidence_sha256"] = sha256(canonical(shown)).hexdigest()
    result = proof["statement"]["result"]
    result["prices"][0] = str(quote.price)
    result["quoted_at"][0] = quote.quoted_at
    result["quote_average"] = str(sum(map(int, result["prices"])) // 2)
    return forged


def refusal(report: Report) -> str:
    assert not report.accepted
    (check,) = (c for c in report.checks if c.check == "input" and c.outcome == "failed")
    assert check.detail == "quote_0"
    return check.reason


class TestConformance(ProofTypeConformance):
    plugin = plugin
    samples = (ASKED, QuoteAverageParameters(pair="BTC-USD", times=(NOON,)))
    others = (prover_signed_feed,)
    wrong = (("times", []), ("times", [5, 5]), ("times", [2, 1]), ("pair", "ether"))

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _feed(cls, feed: str) -> None:
        cls.variables = variables(KEY, feed)


def test_its_receipt_is_verified_offline_and_says_who_vouches(receipt: dict[str, Any]) -> None:
    report = verify(receipt)
    assert report.accepted, report.checks
    assert "whoever vouches for the evidence of quote_0, quote_1" in report.strength


def test_what_is_forged_here_is_forged_well(receipt: dict[str, Any]) -> None:
    """A quote that may be chosen: what the other tests change is all that they change."""
    other = Quote(pair="ETH-USD", price=2_400 * UNIT, quoted_at=NOON - 6)
    report = verify(forge(receipt, other))
    refused = {check.check: check.reason for check in report.checks if check.outcome == "failed"}
    # The group binds its members by their digests, which is another check.
    assert set(refused) <= {"members"}, refused


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        (QUOTES[2], "it is a quote of BTC-USD, and ETH-USD was asked for"),
        (QUOTES[1], "it was quoted 3593 s after the time"),
        (QUOTES[3], "it is stale: 3600 s old, where 600 s are accepted"),
    ],
    ids=["of another pair", "of the other time", "stale"],
)
def test_a_signed_quote_in_anothers_place_is_refused_offline(
    receipt: dict[str, Any], quote: Quote, said: str
) -> None:
    assert said in refusal(verify(forge(receipt, quote)))


def test_a_quote_that_another_key_has_signed_is_refused_offline(receipt: dict[str, Any]) -> None:
    forged = Quote(pair="ETH-USD", price=1, quoted_at=NOON)
    assert "not signed by the key set here" in refusal(verify(forge(receipt, forged, ANOTHER_KEY)))
    report = verify(receipt, ANOTHER_KEY)
    assert not report.accepted
    assert {c.outcome for c in report.checks if c.check == "input"} == {"failed"}


def test_evidence_that_the_statement_does_not_bind_is_refused(receipt: dict[str, Any]) -> None:
    forged = json.loads(json.dumps(receipt))
    forged["receipts"][0]["evidence"]["quote_0"] = evidence(QUOTES[3])
    assert "not the one that the statement binds" in refusal(verify(forged))
