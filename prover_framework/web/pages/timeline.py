"""The life of a job as its page shows it: what happened when, and how long each part took."""

from datetime import datetime

from attrs import frozen

from prover_framework.model.views import VerboseJobView

MAX_SEGMENTS = 40


@frozen(kw_only=True)
class Step:
    """Something that happened to a job.

    Args:
        name: What.
        at: When, in ISO 8601, UTC.
        seconds: How long after the step before it; None for the first.
    """

    name: str
    at: str
    seconds: float | None


@frozen(kw_only=True)
class Segment:
    """A part of a job's life as a bar shows it, in thousandths of the bar's length."""

    kind: str
    name: str
    start: float
    length: float


@frozen(kw_only=True)
class Timeline:
    """The steps of a job's life, and the bar of its parts."""

    steps: tuple[Step, ...]
    segments: tuple[Segment, ...]
    seconds: float


def timeline_of(job: VerboseJobView, now: str) -> Timeline:
    """Return the timeline of a job.

    Args:
        job: The job.
        now: The time now, in ISO 8601; a job that has not ended lasts until then.
    """
    moments = [(job.created_at, "accepted")]
    if job.queued_at is not None:
        moments.append((job.queued_at, "message sent"))
    for attempt in job.history:
        moments.append((attempt.started_at, f"attempt {attempt.number} began"))
        if attempt.error is not None and attempt.ended_at is not None:
            moments.append((attempt.ended_at, f"attempt {attempt.number} came to nothing"))
    moments.sort(key=lambda moment: moment[0])
    if job.finished_at is not None:
        # What the last attempt came to is stored right after the end of the job.
        moments.append((max(job.finished_at, moments[-1][0]), job.status.value))
    steps: list[Step] = []
    for at, name in moments:
        before = _seconds(steps[-1].at, at) if steps else None
        steps.append(Step(name=name, at=at, seconds=before))
    end = job.finished_at or now
    total = max(_seconds(job.created_at, end), 0.001)
    return Timeline(steps=tuple(steps), segments=_segments(job, end, total), seconds=total)


def _segments(job: VerboseJobView, end: str, total: float) -> tuple[Segment, ...]:
    """Split a job's life into what it waited and what was computed."""
    segments: list[Segment] = []
    at = job.created_at
    for attempt in job.history[-MAX_SEGMENTS // 2 :]:
        until = attempt.ended_at or end
        segments.append(_segment(job, "rest", "waited", at, attempt.started_at, total))
        kind = "failed" if attempt.error is not None else "work"
        name = f"attempt {attempt.number}"
        segments.append(_segment(job, kind, name, attempt.started_at, until, total))
        at = until
    segments.append(_segment(job, "rest", "waited", at, end, total))
    return tuple(segment for segment in segments if segment.length > 0)


def _segment(
    job: VerboseJobView, kind: str, name: str, start: str, end: str, total: float
) -> Segment:
    return Segment(
        kind=kind,
        name=name,
        start=round(1000 * _seconds(job.created_at, start) / total, 2),
        length=round(1000 * _seconds(start, end) / total, 2),
    )


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
