"""Attachments as files: exported beside a receipt, and given to whoever verifies it."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import click
from attrs import frozen

from prover_framework.errors import StoreError
from prover_framework.model.receipts import AnyReceipt, GroupReceipt, Statement
from prover_framework.operations import Operations


@frozen
class Attached:
    """What is attached to a result.

    Args:
        job_id: The job.
        name: Its name.
        sha256: Its digest, as the receipt states it.
    """

    job_id: str
    name: str
    sha256: str


def attached_in(receipt: AnyReceipt, job_id: str | None) -> list[Attached]:
    """Return what is attached to the results of a receipt.

    Args:
        receipt: A receipt of a group, or of a job with those that it rests on.
        job_id: The id of that job; None for a group's.
    """
    statements = _statements(receipt, job_id)
    return [
        Attached(job, name, stated.sha256)
        for job, statement in statements
        for name, stated in statement.attachments.items()
    ]


def _statements(receipt: AnyReceipt, job_id: str | None) -> Iterator[tuple[str, Statement]]:
    if isinstance(receipt, GroupReceipt):
        proved = (member for member in receipt.statement.members if member.digest is not None)
        for member, one in zip(proved, receipt.receipts, strict=True):
            yield member.job_id, one.statement
        return
    yield job_id or receipt.statement.proof_type, receipt.statement
    for other in receipt.rests_on:
        yield other.job_id, other.receipt.statement


async def export(
    operations: Operations, group_id: str, attached: Sequence[Attached], directory: Path
) -> None:
    """Write attachments into a directory, each as ``JOB_ID/NAME``.

    Args:
        operations: Where they are asked for.
        group_id: The group.
        attached: They.
        directory: Where they are written; it is made if it is not there.

    Raises:
        StoreError: One cannot be read, or is not what is stated.
        OSError: One cannot be written.
    """
    for one in attached:
        job_id, name = one.job_id, one.name
        path = directory / job_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that has its name is whole. No attachment has such a name.
        part, digest = path.with_name(f"{name}~"), sha256()
        with part.open("wb") as file:
            async for chunk in operations.attachment(group_id, job_id, name):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != one.sha256:
            part.unlink()
            raise StoreError(f"{name} of {job_id} as it is stored is not what its receipt states")
        part.replace(path)


def files_of(given: Sequence[str]) -> dict[str, Path]:
    """Read options of the form ``NAME=FILE`` or ``JOB_ID/NAME=FILE``.

    Raises:
        BadParameter: One has another form, or a name is there twice.
    """
    files: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or not name or not Path(file).is_file():
            what = f"there is no file {file!r}" if equals and name else f"{text!r} is not NAME=FILE"
            raise click.BadParameter(what, param_hint="--attachment")
        if name in files:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--attachment")
        files[name] = Path(file)
    return files
