"""Hourly base fees: the mean base fee of each hour of a range, as sums and counts."""

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, le, matches_re, max_len, min_len

from prover_framework.hookspecs import hookimpl
from prover_framework.inputs.fees_hash import fees_hash, hash_words
from prover_framework.inputs.trusted import (
    BlockSpan,
    HeaderReader,
    Sources,
    TrustedKind,
    chain_of,
    from_blocks,
)
from prover_framework.model.inputs import Chain, InputKind, LoadedData, Need
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, SeriesKind, TimeRange
from prover_framework.serialization.converter import unstructure_object
from prover_framework.serialization.json_text import Json
from prover_framework.serialization.types import LongInteger

NAME = "hourly_base_fee"

FEES_HASH_WORDS = 8

SUM_BYTES, COUNT_BYTES = 32, 8


def _whole_hour(_: object, __: "Attribute[int]", value: int) -> None:
    if value < 0 or value % HOUR_SECONDS:
        raise ValueError(f"must be a whole hour, got {value}")


def _hours_between(instance: "SeriesFacts", _: "Attribute[int]", value: int) -> None:
    between = (instance.last_hour - instance.first_hour) // HOUR_SECONDS + 1
    if not 1 <= value == between:
        raise ValueError(f"must be the {between} from first_hour to last_hour, got {value}")


@frozen(kw_only=True)
class SeriesFacts:
    """Which hourly base fees a proof is about: enough to tell them from any others.

    Args:
        kind: What an hour was made from.
        first_hour: Unix timestamp at which the first hour begins.
        last_hour: Unix timestamp at which the last hour begins.
        hours: Number of hours.
        fees_hash: The on-chain store's hash of the hourly fees, eight big-endian u32.
        felts_sum: Sum of the hours' felts, exact: ``0x`` and hex digits.
    """

    kind: SeriesKind
    first_hour: int = field(validator=_whole_hour)
    last_hour: int = field(validator=_whole_hour)
    hours: int = field(validator=_hours_between)
    fees_hash: tuple[int, ...] = field(
        validator=[
            min_len(FEES_HASH_WORDS),
            max_len(FEES_HASH_WORDS),
            deep_iterable([ge(0), le(2**32 - 1)]),
        ]
    )
    felts_sum: str = field(validator=matches_re(r"0x[0-9a-f]{1,80}"))


def _not_before_start(instance: "HoursWanted", _: "Attribute[int]", value: int) -> None:
    if value < instance.start_timestamp:
        raise ValueError(f"must be at or after start_timestamp, got {value}")


@frozen(kw_only=True)
class HoursWanted:
    """Which hours are asked for: both ends are rounded down to the hour.

    Args:
        start_timestamp: Unix seconds, 0..2^63-1.
        end_timestamp: Unix seconds, at or after ``start_timestamp``.
    """

    start_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64)))
    end_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64), _not_before_start))


def hourly_base_fees(wanted: TimeRange) -> Need:
    """Ask for the hourly base fees of a range; both of its ends are rounded down to the hour."""
    return Need(NAME, unstructure_object(wanted))


def series_facts(series: HourlySeries) -> SeriesFacts:
    """Return what a statement says of hourly base fees."""
    felts = series.felts()
    return SeriesFacts(
        kind=series.kind,
        first_hour=series.first_hour,
        last_hour=series.last_hour,
        hours=len(series),
        fees_hash=hash_words(fees_hash(felts)),
        felts_sum=hex(sum(felts)),
    )


class HourlyBaseFee(TrustedKind[HoursWanted, HourlySeries, SeriesFacts]):
    """The kind of data."""

    name = NAME
    version = "1"
    need_type = HoursWanted
    data_type = HourlySeries
    facts_type = SeriesFacts

    async def load_here(
        self, need: HoursWanted, sources: Sources
    ) -> LoadedData[HourlySeries, None]:
        """Load the hours of a range."""
        wanted = TimeRange(need.start_timestamp, need.end_timestamp)
        series, blocks = await sources.require_headers().series_and_blocks(wanted)
        return from_blocks(series, blocks, sum(series.counts))

    def facts(self, data: HourlySeries) -> SeriesFacts:
        """Return which hours they are, and the fees hash."""
        return series_facts(data)

    def canonical(self, data: HourlySeries) -> bytes:
        """Return for each hour its sum in wei, 32 bytes, and its count, 8 bytes, big-endian."""
        return b"".join(
            total.to_bytes(SUM_BYTES) + count.to_bytes(COUNT_BYTES)
            for total, count in zip(data.sums_wei, data.counts, strict=True)
        )

    def chain(self, data: HourlySeries) -> Chain:
        """Return the chain that the fees are of."""
        return chain_of(data)

    def seed_part(self, facts: SeriesFacts) -> dict[str, Json]:
        """Return the hours and their fees hash; not what an hour was made from."""
        return {
            "first_hour": facts.first_hour,
            "last_hour": facts.last_hour,
            "fees_hash": list(facts.fees_hash),
        }

    def span(self, data: HourlySeries) -> BlockSpan:
        """Return the blocks of the hours."""
        return BlockSpan(
            first_block=data.first_block, last_block=data.last_block, begins=data.first_hour
        )

    async def confirm(self, data: HourlySeries, headers: HeaderReader) -> str | None:
        """Compare the sums with those of the headers."""
        wrong = await headers.wrong_hours(data.first_hour, data.last_hour)
        if not wrong:
            return None
        return (
            f"the sums of {len(wrong)} hours are not those of their headers, the first of them "
            f"that of {wrong[0]}"
        )


@hookimpl
def input_kind() -> InputKind[HoursWanted, HourlySeries, SeriesFacts, None]:
    """Register hourly base fees."""
    return HourlyBaseFee()
