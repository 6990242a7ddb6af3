"""The table of states, and when to try again: pure functions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.model.jobs import (
    CANCELLABLE,
    FINAL,
    MAX_RETRY_SECONDS,
    REDRIVABLE,
    TAKEABLE,
    TRANSITIONS,
    JobState,
    RetryPolicy,
    group_state,
)

S = JobState

# The table of the design, once more and by hand.
LEGAL = {
    (S.PENDING, S.QUEUED),
    (S.PENDING, S.RUNNING),
    (S.PENDING, S.CANCELLED),
    (S.QUEUED, S.RUNNING),
    (S.QUEUED, S.CANCELLED),
    (S.RUNNING, S.QUEUED),
    (S.RUNNING, S.WAITING),
    (S.RUNNING, S.SUCCEEDED),
    (S.RUNNING, S.FAILED),
    (S.RUNNING, S.CANCELLED),
    (S.WAITING, S.QUEUED),
    (S.WAITING, S.FAILED),
    (S.WAITING, S.CANCELLED),
    (S.FAILED, S.PENDING),
    (S.FAILED, S.QUEUED),
    (S.CANCELLED, S.PENDING),
    (S.CANCELLED, S.QUEUED),
}


def test_the_transitions_are_those_of_the_design() -> None:
    assert {(a, b) for a, ends in TRANSITIONS.items() for b in ends} == LEGAL
    assert set(TRANSITIONS) == set(S)


def test_the_sets_of_states_follow_from_the_table() -> None:
    assert {a for a in S if S.RUNNING in TRANSITIONS[a]} == TAKEABLE
    assert {a for a in S if S.CANCELLED in TRANSITIONS[a]} == CANCELLABLE
    assert {a for a in FINAL if TRANSITIONS[a]} == REDRIVABLE


def test_a_result_is_for_ever() -> None:
    assert TRANSITIONS[S.SUCCEEDED] == frozenset()


def test_every_job_can_reach_a_final_state() -> None:
    reach = set(FINAL)
    for _ in S:
        reach |= {a for a in S if TRANSITIONS[a] & reach}
    assert reach == set(S)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([S.SUCCEEDED, S.SUCCEEDED, S.SUCCEEDED], S.SUCCEEDED),
        ([S.SUCCEEDED, S.FAILED, S.CANCELLED], S.FAILED),
        ([S.SUCCEEDED, S.CANCELLED], S.CANCELLED),
        ([S.FAILED, S.QUEUED], S.RUNNING),
        ([S.RUNNING, S.PENDING], S.RUNNING),
        ([S.WAITING, S.QUEUED, S.PENDING], S.WAITING),
        ([S.QUEUED, S.PENDING], S.QUEUED),
        ([S.PENDING], S.PENDING),
    ],
)
def test_a_group_is_summed_up(states: list[JobState], expected: JobState) -> None:
    assert group_state(states) is expected


@given(st.lists(st.sampled_from(list(S)), min_size=1))
def test_a_group_is_final_exactly_when_all_its_jobs_are(states: list[JobState]) -> None:
    assert (group_state(states) in FINAL) == FINAL.issuperset(states)


@given(
    failures=st.integers(1, 10**6),
    jitter=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 60),
)
def test_a_retry_rests_for_a_bounded_time(failures: int, jitter: float, base: float) -> None:
    delay = RetryPolicy(base_seconds=base).delay_seconds(failures, jitter)
    assert 0 < delay <= MAX_RETRY_SECONDS
    assert math.isfinite(delay)


def test_rests_double_and_spread_over_half_their_length() -> None:
    policy = RetryPolicy(base_seconds=2.0)
    assert [policy.delay_seconds(n, 0.0) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert policy.delay_seconds(1, 0.5) == 1.5
