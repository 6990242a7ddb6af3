"""Signed feed: price quotes that somebody signs, as a kind of data for proofs."""

import json
from urllib.request import urlopen

from attrs import field, frozen
from attrs.validators import ge, le, matches_re
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from prover_framework import (
    Checked,
    DataNotYet,
    InputKind,
    LoadedData,
    Need,
    ProofError,
    Verdict,
    Wei,
    hookimpl,
)

# The version of the hooks that this is written for.
PROVER_API = 1

# Of a list of quotes: whoever publishes more publishes less often, or at another place.
MAX_FEED_BYTES = 4 * 2**20

# Of a price and of what may go wrong on the way.
LOAD_SECONDS = 10

# The last second of the year 9999.
MAX_TIMESTAMP = 253_402_300_799


@frozen(kw_only=True)
class QuoteWanted:
    """Which quote is wanted: the last one at some time.

    Args:
        pair: What is quoted, such as ETH-USD.
        at: Unix seconds; no later quote counts.
        max_age_seconds: How old the quote may be then.
    """

    pair: str = field(validator=matches_re(r"[A-Z0-9]{2,12}-[A-Z0-9]{2,12}"))
    at: int = field(validator=[ge(0), le(MAX_TIMESTAMP)])
    max_age_seconds: int = field(default=3600, validator=[ge(0), le(MAX_TIMESTAMP)])


@frozen(kw_only=True)
class Quote:
    """What somebody quotes.

    Args:
        pair: What is quoted.
        price: The price, in the smallest unit.
        quoted_at: Unix seconds at which it was quoted.
    """

    pair: str
    price: Wei
    quoted_at: int

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"{self.pair} {self.price} {self.quoted_at}".encode()


@frozen(kw_only=True)
class SignedQuote:
    """What shows that somebody has quoted that.

    Args:
        quote: The quote.
        signature: Ed25519 signature of its text, 64 bytes.
    """

    quote: Quote
    signature: bytes


@frozen(kw_only=True)
class QuoteSettings:
    """Settings, each from PROVER_PLUGIN__SIGNED_QUOTE__<FIELD>.

    Args:
        public_key: The key that quotes count under, 32 bytes.
        url: Where they are published; only for whoever runs jobs.
    """

    public_key: bytes
    url: str = ""


class QuoteRefused(ProofError):
    """There is no such quote."""

    code = "quote_refused"


def signed_quote(pair: str, at: int, max_age_seconds: int) -> Need:
    """Ask for a quote, in a proof type's hook ``inputs``; its data is a `Quote`.

    Args:
        pair: What is quoted, such as ETH-USD.
        at: Unix seconds; no later quote counts.
        max_age_seconds: How old the quote may be then.
    """
    return Need("signed_quote", {"pair": pair, "at": at, "max_age_seconds": max_age_seconds})


class SignedQuotes(InputKind[QuoteWanted, Quote, Quote, SignedQuote]):
    """Quotes that are signed."""

    name = "signed_quote"
    version = "1"
    need_type = QuoteWanted
    data_type = Quote
    facts_type = Quote
    evidence_type = SignedQuote
    settings_type = QuoteSettings
    has_seed_part = False

    def load(self, need: QuoteWanted, settings: QuoteSettings) -> LoadedData[Quote, SignedQuote]:
        """Load the last quote that answers, from the list that is published."""
        if not settings.url:
            raise QuoteRefused("PROVER_PLUGIN__SIGNED_QUOTE__URL is not set: set it for workers")
        with urlopen(settings.url, timeout=LOAD_SECONDS) as answer:
            published = json.loads(answer.read(MAX_FEED_BYTES))
        found = [
            signed for signed in map(_signed, published) if _misfit(need, signed.quote) is None
        ]
        if not found:
            raise DataNotYet(f"there is no quote of {need.pair} for {need.at} yet")
        last = max(found, key=lambda signed: signed.quote.quoted_at)
        return LoadedData(last.quote, last, provenance={"url": settings.url})

    def facts(self, data: Quote) -> Quote:
        """Return the quote: it is so small that it is stated whole."""
        return data

    def answers(self, need: QuoteWanted, facts: Quote) -> Verdict:
        """Refuse a quote of another pair, a later one, and a stale one."""
        misfit = _misfit(need, facts)
        return Verdict(accepted=misfit is None, reason=misfit or "it is what was asked for")

    def check(self, facts: Quote, evidence: SignedQuote, settings: QuoteSettings) -> Checked[Quote]:
        """Require that the quote is signed by the verifier's key."""
        if evidence.quote != facts:
            return Checked(Verdict(accepted=False, reason="the evidence is of another quote"))
        key = Ed25519PublicKey.from_public_bytes(settings.public_key)
        try:
            key.verify(evidence.signature, facts.text)
        except InvalidSignature:
            return Checked(Verdict(accepted=False, reason="it is not signed by the key set here"))
        return Checked(Verdict(accepted=True, reason="signed by the key set here"), facts)


def _signed(published: dict[str, str]) -> SignedQuote:
    quote = Quote(
        pair=published["pair"],
        price=int(published["price"]),
        quoted_at=int(published["quoted_at"]),
    )
    return SignedQuote(quote=quote, signature=bytes.fromhex(published["signature"]))


def _misfit(need: QuoteWanted, quote: Quote) -> str | None:
    """Say why a quote is not what was asked for."""
    age_seconds = need.at - quote.quoted_at
    if quote.pair != need.pair:
        return f"it is a quote of {quote.pair}, and {need.pair} was asked for"
    if age_seconds < 0:
        return f"it was quoted {-age_seconds} s after the time that was asked for"
    if age_seconds > need.max_age_seconds:
        return f"it is stale: {age_seconds} s old, where {need.max_age_seconds} s are accepted"
    return None


@hookimpl
def input_kind() -> InputKind[QuoteWanted, Quote, Quote, SignedQuote]:
    """Register the kind."""
    return SignedQuotes()
