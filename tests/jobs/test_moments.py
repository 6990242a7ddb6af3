"""Timestamps that are plainly in another unit are refused; all others are taken as they are."""

import json

import pytest

from prover_framework import ProofType, RangeParameters
from prover_framework.errors import MessageError, RequestError
from prover_framework.jobs.messages import JobMessage
from prover_framework.jobs.requests import parse_group_request, requested_job
from prover_framework.model.moments import not_seconds

TYPES = {
    "twap": ProofType(
        name="twap", title="TWAP", version="1", parameters=RangeParameters, result=RangeParameters
    )
}


def body(start: int, end: int) -> bytes:
    span = {"start_timestamp": start, "end_timestamp": end}
    return json.dumps({"job_group_id": "g", "twap": span}).encode()


def test_milliseconds_and_microseconds_are_refused_with_the_seconds_that_they_are() -> None:
    with pytest.raises(RequestError) as caught:
        parse_group_request(body(1_701_475_200, 1_704_067_200_000), TYPES)
    (problem,) = caught.value.problems
    assert problem.where == "twap.end_timestamp"
    assert problem.what == (
        "must be Unix seconds; 1704067200000 is plainly in milliseconds: 1704067200 in seconds"
    )
    with pytest.raises(RequestError, match="microseconds: 1704067200 in seconds"):
        parse_group_request(body(1_701_475_200, 1_704_067_200_000_000), TYPES)


def test_messages_of_others_are_held_to_the_same() -> None:
    message = JobMessage(
        job_id="twap", job_group_id="g", start_timestamp=1, end_timestamp=1_704_067_200_000
    )
    with pytest.raises(MessageError, match="plainly in milliseconds"):
        requested_job(message, TYPES)


@pytest.mark.parametrize("moment", [0, 1_704_067_200, 10**11 - 1, 10**17, 2**63 - 1])
def test_what_can_be_seconds_or_is_beyond_all_units_is_left_alone(moment: int) -> None:
    assert not_seconds(moment) is None
    assert parse_group_request(body(0, max(1, moment)), TYPES).group_id == "g"
