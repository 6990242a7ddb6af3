"""What people and programs are shown of stored groups and jobs."""

import json
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

import attrs
from attrs import frozen

from prover_framework.jobs.attempts import Attempt
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.seals import StoredSealJob
from prover_framework.model.jobs import FINAL, JobState, group_state
from prover_framework.model.seals import OF_GROUP
from prover_framework.model.views import (
    AttachmentView,
    AttemptView,
    GroupView,
    JobView,
    ProgressView,
    SealView,
    VerboseGroupView,
    VerboseJobView,
)
from prover_framework.receipts.evidence import EVIDENCE, attachments_of, evidence_of
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.text import iso_utc

# Answers that are kept, and how long they may be: clients ask for a group until it has ended, and
# most of the time nothing has changed.
KEPT_STATUSES = 256
LONGEST_KEPT = 32_000


@frozen
class StatusText:
    """What is answered about a group.

    Args:
        content: The JSON text.
        is_final: Whether it stays so, unless somebody gives the group a new life.
    """

    content: bytes
    is_final: bool


def status_text(jobs: tuple[StoredJob, ...], seals: tuple[StoredSealJob, ...] = ()) -> StatusText:
    """Write what `view` shows as JSON."""
    length = sum(len(job.result or "") + len(job.receipt or "") for job in jobs)
    return (_kept_text if length <= LONGEST_KEPT else _text)(jobs, seals)


def _text(jobs: tuple[StoredJob, ...], seals: tuple[StoredSealJob, ...]) -> StatusText:
    group = view(jobs, seals)
    content = json.dumps(unstructure(group), allow_nan=False).encode()
    return StatusText(content, is_final_view(group))


_kept_text = lru_cache(KEPT_STATUSES)(_text)


def is_final_view(group: GroupView | VerboseGroupView) -> bool:
    """Tell whether all jobs of a group have ended and all of its seals are made or given up."""
    return not group.has_open_seals and all(job.status in FINAL for job in group.jobs)


def verbose_view(
    jobs: Sequence[StoredJob],
    attempts: Sequence[Attempt],
    seals: Sequence[StoredSealJob] = (),
) -> VerboseGroupView:
    """Show the jobs of one group with their attempts, and the seals made after their receipts."""
    shown = view(jobs, seals)
    return VerboseGroupView(
        job_group_id=shown.job_group_id,
        status=shown.status,
        jobs=tuple(
            VerboseJobView(
                **attrs.asdict(short, recurse=False),
                id=job.id,
                parameters=parse_json(job.parameters.encode()),
                queue=job.queue,
                worker=job.worker,
                sends=job.sends,
                failures=job.failures,
                losses=job.losses,
                lease_until=None if job.lease_until is None else iso_utc(job.lease_until),
                data_deadline=None if job.data_deadline is None else iso_utc(job.data_deadline),
                history=_history(job, [one for one in attempts if one.job_id == job.id]),
            )
            for job, short in zip(jobs, shown.jobs, strict=True)
        ),
        seals=shown.seals,
        namespace=shown.namespace,
        priority=shown.priority,
    )


def _history(job: StoredJob, failed: Sequence[Attempt]) -> tuple[AttemptView, ...]:
    """Show what is kept of attempts that came to nothing, and the one that did not, yet."""
    history = [
        AttemptView(
            number=one.number,
            worker=one.worker,
            started_at=iso_utc(one.started_at),
            ended_at=iso_utc(one.ended_at),
            error={"code": one.error_code, "message": one.error_message},
            traceback=tuple(one.traceback.splitlines()),
        )
        for one in failed
    ]
    if job.state in (JobState.RUNNING, JobState.SUCCEEDED) and job.started_at is not None:
        history.append(
            AttemptView(
                number=job.attempts,
                worker=job.worker,
                started_at=iso_utc(job.started_at),
                ended_at=None if job.finished_at is None else iso_utc(job.finished_at),
                error=None,
                traceback=(),
            )
        )
    return tuple(history)


def view(jobs: Sequence[StoredJob], seals: Sequence[StoredSealJob] = ()) -> GroupView:
    """Show the jobs of one group, and the seals that are made after their receipts."""
    return GroupView(
        job_group_id=jobs[0].job_group_id,
        namespace=jobs[0].namespace,
        status=group_state([job.state for job in jobs]),
        priority=jobs[0].priority,
        jobs=tuple(_job_view(job, _seals(seals, job.name)) for job in jobs),
        seals=_seals(seals, OF_GROUP),
    )


def _seals(seals: Sequence[StoredSealJob], name: str) -> tuple[SealView, ...]:
    """Show the seals on the receipt of a job, or of the group."""
    return tuple(
        SealView(
            kind=seal.kind,
            status=seal.state,
            attempts=seal.attempts,
            created_at=iso_utc(seal.created_at),
            finished_at=None if seal.finished_at is None else iso_utc(seal.finished_at),
            error=_error(seal),
        )
        for seal in seals
        if seal.job_name == name
    )


def _error(failed: StoredJob | StoredSealJob) -> dict[str, str] | None:
    if failed.error_code is None:
        return None
    return {"code": failed.error_code, "message": failed.error_message or ""}


def _job_view(job: StoredJob, seals: tuple[SealView, ...]) -> JobView:
    resting = job.state in (JobState.QUEUED, JobState.WAITING) and job.not_before > job.created_at
    return JobView(
        job_id=job.name,
        status=job.state,
        attempts=job.attempts,
        created_at=iso_utc(job.created_at),
        queued_at=None if job.queued_at is None else iso_utc(job.queued_at),
        started_at=None if job.started_at is None else iso_utc(job.started_at),
        finished_at=None if job.finished_at is None else iso_utc(job.finished_at),
        not_before=iso_utc(job.not_before) if resting else None,
        progress=_progress(job),
        method_version=job.method_version,
        error=_error(job),
        result=_shown_result(job),
        seals=seals,
        attachments=_attachments(job),
    )


def _attachments(job: StoredJob) -> tuple[AttachmentView, ...]:
    if job.receipt is None:
        return ()
    place = f"/api/job/{quote(job.job_group_id)}/attachment/{quote(job.name)}"
    return tuple(
        AttachmentView(
            name=name,
            media_type=stated.media_type,
            size=stated.size,
            sha256=stated.sha256,
            url=f"{place}/{name}",
        )
        for name, stated in attachments_of(job.receipt).items()
    )


def _progress(job: StoredJob) -> ProgressView | None:
    """Show the progress of the attempt that is under way; that of others means nothing now."""
    if job.state is not JobState.RUNNING:
        return None
    if job.progress_millionths is None or job.progress_at is None:
        return None
    return ProgressView(
        fraction=job.progress_millionths / 1_000_000,
        text=job.progress_text or "",
        at=iso_utc(job.progress_at),
    )


def _shown_result(job: StoredJob) -> Json:
    """Return the plugin's result, and what the receipt says it was made from."""
    if job.result is None:
        return None
    result = parse_json(job.result.encode())
    if job.receipt is None or not isinstance(result, dict):
        return result
    return {**result, EVIDENCE: unstructure(evidence_of(job.receipt))}
