"""Changes of jobs, as observers are told them, for tests."""

from collections.abc import Iterator
from typing import Any

from prover_framework.model.jobs import TRANSITIONS, JobChange, JobState

FIRST_CHANGE_MS = 1_704_067_205_527


def change_of(state: JobState, **changes: Any) -> JobChange:
    """Return a change to a state, with what a change to that state has.

    Args:
        state: The new state.
        changes: Other values for fields of `JobChange`.
    """
    has_failed = state is JobState.FAILED
    return JobChange(
        **{
            "group_id": "job_123",
            "proof_type": "stand_in",
            "job_id": "018cc251f4001f9d6ca4b2",
            "old_state": JobState.RUNNING,
            "new_state": state,
            "attempts": 1,
            "error_code": "series_incomplete" if has_failed else None,
            "error_message": "hours are missing" if has_failed else None,
            "changed_at_ms": FIRST_CHANGE_MS,
            "result": {"stand_in": 24} if state is JobState.SUCCEEDED else None,
            **changes,
        }
    )


def every_transition() -> Iterator[JobChange]:
    """Yield a change for each way from one state to another, and for a job that is accepted."""
    yield change_of(JobState.PENDING, old_state=None, attempts=0)
    for old, following in TRANSITIONS.items():
        for new in sorted(following):
            yield change_of(new, old_state=old)


def odd_changes() -> Iterator[tuple[str, JobChange]]:
    """Yield changes that are rare, and what is rare about them."""
    yield "a proof type that it does not know", change_of(JobState.SUCCEEDED, proof_type="x" * 64)
    yield "the longest group id", change_of(JobState.FAILED, group_id="A.:-" * 32)
    yield (
        "a message with quotes, lines and signs of other scripts",
        change_of(JobState.FAILED, error_message='"a"\n\t{b} %s \u4f60 \U0001f980'),
    )
    yield "a job that is tried again", change_of(JobState.QUEUED, attempts=2, error_code="lost")
    for result in ({}, {"stand_in": None}, {"stand_in": "9" * 400, "more": [[{}], 1.5, True]}):
        yield f"the result {str(result)[:40]}", change_of(JobState.SUCCEEDED, result=result)
