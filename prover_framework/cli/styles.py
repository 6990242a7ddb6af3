"""How states look on a terminal."""

from collections.abc import Mapping

from prover_framework.model.jobs import JobState

STYLES: Mapping[JobState, str] = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "red",
    JobState.RUNNING: "cyan",
    JobState.WAITING: "yellow",
}
