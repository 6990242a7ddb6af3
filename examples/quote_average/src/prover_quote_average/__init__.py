"""Quote average: the mean of a price at some times, from quotes that somebody has signed."""

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, le, matches_re, max_len, min_len
from prover_signed_feed import MAX_TIMESTAMP, Quote, signed_quote

from prover_framework import Inputs, Need, ProofType, Wei, hookimpl

# The version of the hooks that this is written for.
PROVER_API = 1

# Each is loaded and checked on its own.
MAX_TIMES = 48


def _ascending(_: object, __: "Attribute[tuple[int, ...]]", value: tuple[int, ...]) -> None:
    if list(value) != sorted(set(value)):
        raise ValueError(f"must be in ascending order, nothing twice, got {list(value)}")
    if value and not 0 <= value[0] <= value[-1] <= MAX_TIMESTAMP:
        raise ValueError(f"must be within 0 and {MAX_TIMESTAMP}, got {list(value)}")


@frozen(kw_only=True)
class QuoteAverageParameters:
    """Parameters of a mean of quotes.

    Args:
        pair: What is quoted, such as ETH-USD.
        times: Unix seconds, in ascending order: the last quote at each of them counts.
        max_age_seconds: How old a quote may be at its time.
    """

    pair: str = field(
        validator=matches_re(r"[A-Z0-9]{2,12}-[A-Z0-9]{2,12}"), metadata={"samples": ("ETH-USD",)}
    )
    times: tuple[int, ...] = field(
        validator=and_(min_len(1), max_len(MAX_TIMES), _ascending), metadata={"samples": ((1,),)}
    )
    max_age_seconds: int = field(default=3600, validator=[ge(0), le(MAX_TIMESTAMP)])


@frozen(kw_only=True)
class QuoteAverageResult:
    """The mean, and what it is of.

    Args:
        quote_average: The mean price in the smallest unit, rounded down.
        prices: The price at each time.
        quoted_at: Unix seconds at which each was quoted.
    """

    quote_average: Wei
    prices: tuple[Wei, ...]
    quoted_at: tuple[int, ...]


@hookimpl
def proof_type() -> ProofType[QuoteAverageParameters, QuoteAverageResult]:
    """Register the mean of quotes."""
    return ProofType(
        name="quote_average",
        title="Quote Average",
        version="1",
        parameters=QuoteAverageParameters,
        result=QuoteAverageResult,
    )


@hookimpl
def inputs(parameters: QuoteAverageParameters) -> dict[str, Need]:
    """Ask for a quote at each time: data of a kind that another distribution brings."""
    return {
        f"quote_{place}": signed_quote(parameters.pair, at, parameters.max_age_seconds)
        for place, at in enumerate(parameters.times)
    }


@hookimpl
def compute(parameters: QuoteAverageParameters, inputs: Inputs) -> QuoteAverageResult:
    """Compute the mean, in integers."""
    quotes: list[Quote] = [inputs[f"quote_{place}"] for place in range(len(parameters.times))]
    prices = tuple(quote.price for quote in quotes)
    return QuoteAverageResult(
        quote_average=sum(prices) // len(prices),
        prices=prices,
        quoted_at=tuple(quote.quoted_at for quote in quotes),
    )
