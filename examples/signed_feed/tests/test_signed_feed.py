"""Quotes are loaded from a feed, and count under one key, for one pair and one time."""

import json
from pathlib import Path

import attrs
import prover_signed_feed as plugin
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prover_signed_feed import (
    Quote,
    QuoteRefused,
    QuoteSettings,
    QuoteWanted,
    SignedQuote,
    SignedQuotes,
    signed_quote,
)

from prover_framework import DataNotYet
from prover_framework.testing import InputKindConformance

NOON = 1_704_110_400
KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
ANOTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
SETTINGS = QuoteSettings(public_key=PUBLIC_KEY)
KIND = SignedQuotes()


def signed(pair: str, price: int, quoted_at: int, key: Ed25519PrivateKey = KEY) -> SignedQuote:
    quote = Quote(pair=pair, price=price, quoted_at=quoted_at)
    return SignedQuote(quote=quote, signature=key.sign(quote.text))


def publish(place: Path, *quotes: SignedQuote) -> QuoteSettings:
    """Write a feed; return settings that lead there."""
    feed = [
        {
            "pair": each.quote.pair,
            "price": str(each.quote.price),
            "quoted_at": str(each.quote.quoted_at),
            "signature": each.signature.hex(),
        }
        for each in quotes
    ]
    place.write_text(json.dumps(feed))
    return attrs.evolve(SETTINGS, url=place.as_uri())


FEED = (
    signed("ETH-USD", 2_500, NOON - 60),
    signed("ETH-USD", 2_510, NOON),
    signed("ETH-USD", 2_520, NOON + 60),
    signed("BTC-USD", 42_000, NOON),
)


class TestConformance(InputKindConformance):
    plugin = plugin
    samples = (
        QuoteWanted(pair="ETH-USD", at=NOON + 30),
        QuoteWanted(pair="BTC-USD", at=NOON, max_age_seconds=0),
    )
    wrong = (("pair", "ether"), ("at", -1), ("max_age_seconds", -1))

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _feed(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        settings = publish(tmp_path_factory.mktemp("feed") / "feed.json", *FEED)
        cls.variables = {
            "PROVER_PLUGIN__SIGNED_QUOTE__PUBLIC_KEY": f'"0x{PUBLIC_KEY.hex()}"',
            "PROVER_PLUGIN__SIGNED_QUOTE__URL": settings.url,
        }


@pytest.mark.parametrize(
    ("at", "max_age_seconds", "price"),
    [(NOON, 0, 2_510), (NOON + 59, 60, 2_510), (NOON + 3600, 3600, 2_520), (NOON - 1, 59, 2_500)],
)
def test_it_is_the_last_quote_at_that_time(
    tmp_path: Path, at: int, max_age_seconds: int, price: int
) -> None:
    settings = publish(tmp_path / "feed.json", *FEED)
    need = QuoteWanted(pair="ETH-USD", at=at, max_age_seconds=max_age_seconds)
    assert signed_quote("ETH-USD", at, max_age_seconds).query == attrs.asdict(need)
    loaded = KIND.load(need, settings)
    assert loaded.data.price == price
    assert loaded.evidence is not None
    assert KIND.answers(need, KIND.facts(loaded.data)).accepted
    assert KIND.check(KIND.facts(loaded.data), loaded.evidence, SETTINGS).verdict.accepted


@pytest.mark.parametrize(("at", "max_age_seconds"), [(NOON - 61, 3600), (NOON + 120, 59)])
def test_a_job_waits_for_a_quote_that_is_not_there(
    tmp_path: Path, at: int, max_age_seconds: int
) -> None:
    settings = publish(tmp_path / "feed.json", *FEED)
    need = QuoteWanted(pair="ETH-USD", at=at, max_age_seconds=max_age_seconds)
    with pytest.raises(DataNotYet, match=f"no quote of ETH-USD for {at} yet"):
        KIND.load(need, settings)


def test_a_worker_without_a_feed_says_which_setting_it_lacks() -> None:
    with pytest.raises(QuoteRefused, match="PROVER_PLUGIN__SIGNED_QUOTE__URL is not set"):
        KIND.load(QuoteWanted(pair="ETH-USD", at=NOON), SETTINGS)


WANTED = QuoteWanted(pair="ETH-USD", at=NOON, max_age_seconds=600)


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        (signed("BTC-USD", 2_500, NOON).quote, "a quote of BTC-USD, and ETH-USD was asked for"),
        (signed("ETH-USD", 2_500, NOON + 1).quote, "quoted 1 s after the time"),
        (signed("ETH-USD", 2_500, NOON - 601).quote, "stale: 601 s old, where 600 s are accepted"),
    ],
    ids=["swapped", "later", "stale"],
)
def test_a_quote_that_was_not_asked_for_is_refused_whoever_signed_it(
    quote: Quote, said: str
) -> None:
    verdict = KIND.answers(WANTED, quote)
    assert not verdict.accepted
    assert said in verdict.reason


def test_a_quote_counts_under_the_verifiers_key_alone() -> None:
    forged = signed("ETH-USD", 1, NOON, ANOTHER_KEY)
    assert KIND.check(forged.quote, forged, SETTINGS).verdict.reason == (
        "it is not signed by the key set here"
    )
    true = signed("ETH-USD", 2_500, NOON)
    other = attrs.evolve(true.quote, price=2_501)
    assert KIND.check(other, true, SETTINGS).verdict.reason == "the evidence is of another quote"
    assert KIND.check(true.quote, true, SETTINGS).data == true.quote
