"""Times as people and programs are shown them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.text import iso_utc

YEAR_1 = -62_135_596_800_000


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_704_067_199_007, "2023-12-31T23:59:59.007Z"),
        (YEAR_1, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_has_all_its_digits(milliseconds: int, shown: str) -> None:
    assert iso_utc(milliseconds) == shown


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_the_one_that_any_reader_reads(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution * 1000)
    assert datetime.fromisoformat(iso_utc(milliseconds)) == moment
