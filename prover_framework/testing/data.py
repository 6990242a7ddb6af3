"""Data of the framework's own kinds for tests: from a simulated chain."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import decode_fields
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.inputs.block_headers import BlockHeaders, BlocksWanted
from prover_framework.inputs.hourly_base_fee import HourlyBaseFee
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.inputs import Need
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, TimeRange
from prover_framework.serialization.converter import structure
from prover_framework.testing.series import TEST_CHAIN_ID, headers_of, simulated_series


def simulated_data(need: Need) -> Any:
    """Return data for a need of hourly base fees or block headers, of a simulated chain.

    Raises:
        EmptyRange: There is no whole hour in the range.
        LookupError: The need is of another kind.
    """
    if need.kind == HourlyBaseFee.name:
        return simulated_series(structure(need.query, TimeRange))
    if need.kind == BlockHeaders.name:
        return simulated_columns(structure(need.query, BlocksWanted))
    raise LookupError(f"there is no simulated data of the kind {need.kind}")


def hours_wanted(need: Need) -> TimeRange | None:
    """Return the range of which a need wants the hours; None where it wants something else."""
    return structure(need.query, TimeRange) if need.kind == HourlyBaseFee.name else None


def simulated_columns(wanted: BlocksWanted) -> BlockColumns:
    """Return fields of the blocks of a range on a simulated chain."""
    start, end = wanted.start_timestamp, wanted.end_timestamp
    blocks = [
        (decode_fields(stored.rlp), stored.header)
        for stored in _whole(start, end)
        if start <= stored.header.timestamp < end
    ]
    return BlockColumns(
        chain_id=TEST_CHAIN_ID,
        simulated=True,
        start_timestamp=start,
        end_timestamp=end,
        first_block=blocks[0][1].number,
        timestamps=tuple(light.timestamp for _, light in blocks),
        columns={
            name: tuple(_number(fields[name]) for fields, _ in blocks) for name in wanted.fields
        },
        first_hash=blocks[0][1].block_hash,
        last_hash=blocks[-1][1].block_hash,
        verified=True,
    )


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"is no number: {value!r}")
    return value


def headers_for(data: Mapping[str, Any]) -> Iterable[Header | EncodedHeader]:
    """Return headers from which a service loads the given data; none for data without blocks."""
    columns = [each for each in data.values() if isinstance(each, BlockColumns)]
    if columns:
        return _whole(
            min(each.start_timestamp for each in columns),
            max(each.end_timestamp for each in columns),
        )
    series = [each for each in data.values() if isinstance(each, HourlySeries)]
    return headers_of(max(series, key=len)) if series else ()


@lru_cache(maxsize=4)
def _whole(start: int, end: int) -> tuple[EncodedHeader, ...]:
    first_hour = start - start % HOUR_SECONDS
    hours = -(-(end - first_hour) // HOUR_SECONDS)
    return tuple(made_whole(simulate(first_hour, hours)))
