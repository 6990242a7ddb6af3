"""The check on what is attached to a result: computed again, or judged by its plugin, by digest."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import field, frozen

from prover_framework.model.attachments import CHUNK_BYTES, AttachmentPlace, StatedAttachment
from prover_framework.model.findings import Finding
from prover_framework.model.limits import Limits
from prover_framework.model.receipts import Statement
from prover_framework.sandbox.attachments import TakenIn

NOT_COMPUTED = Finding.not_possible("the result was not computed again")


@frozen(kw_only=True)
class Judged:
    """What judging a result came to.

    Args:
        result: The finding on the result itself.
        attachments: Those on what is attached to it, by name.
    """

    result: Finding
    attachments: Mapping[str, Finding] = field(factory=dict)


@frozen
class GivenFiles:
    """The files that a verifier has of the attachments of one result.

    Args:
        usable: Those that have the stated digest, by name.
        refused: Why others are not what is stated, by name.
    """

    usable: Mapping[str, Path] = field(factory=dict)
    refused: Mapping[str, Finding] = field(factory=dict)


class Files:
    """The files that a verifier has, and which of them nothing was stated of.

    Args:
        files: By the names of attachments, with the id of a job and a slash before it, or without.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._used: set[str] = set()

    def of(self, job_id: str, statement: Statement) -> dict[str, Path]:
        """Return the files of the attachments that a statement of a job names."""
        found = {}
        for name in statement.attachments:
            for key in (f"{job_id}/{name}", name):
                if key in self._files:
                    found[name] = self._files[key]
                    self._used.add(key)
                    break
        return found

    @property
    def unused(self) -> list[str]:
        """Names of the files that no statement has named so far."""
        return [key for key in self._files if key not in self._used]


async def given_files(statement: Statement, files: Mapping[str, Path]) -> GivenFiles:
    """Compare files with what a statement says of them.

    Args:
        statement: The statement.
        files: Those that the verifier has of the attachments it names, by name.
    """
    usable: dict[str, Path] = {}
    refused: dict[str, Finding] = {}
    for name, path in files.items():
        finding = await _compared(statement.attachments[name], path)
        if finding is None:
            usable[name] = path
        else:
            refused[name] = finding
    return GivenFiles(usable, refused)


async def _compared(stated: StatedAttachment, path: Path) -> Finding | None:
    try:
        size, digest = await asyncio.to_thread(_measure, path)
    except OSError as error:
        return Finding.not_possible(f"the file that is given cannot be read: {error.strerror}")
    if (size, digest) == (stated.size, stated.sha256):
        return None
    return Finding.failed(
        f"the file that is given has {size:,} bytes with the SHA-256 {digest}, and stated are "
        f"{stated.size:,} with {stated.sha256}"
    )


def _measure(path: Path) -> tuple[int, str]:
    digest, size = sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


@contextmanager
def attachment_place(limits: Limits, given: GivenFiles) -> Iterator[AttachmentPlace]:
    """Lend a place for what is computed again, within the limits of the proof type."""
    with TemporaryDirectory(prefix="prover-attachments-", ignore_cleanup_errors=True) as directory:
        yield limits.attachment_place(Path(directory), given.usable)


def without_computation(statement: Statement, given: GivenFiles, why: Finding) -> Judged:
    """Return what can be said where the result could not be judged, and why that is so."""
    found = dict.fromkeys(statement.attachments, NOT_COMPUTED)
    return Judged(result=why, attachments={**found, **given.refused})


def judged(
    statement: Statement,
    given: GivenFiles,
    result: Finding,
    taken: TakenIn,
    *,
    has_own_verify: bool,
) -> Judged:
    """Return what was found of a result and what is attached to it.

    Args:
        statement: What is claimed.
        given: The files of it that the verifier has.
        result: What judging the result itself came to.
        taken: What was attached again meanwhile, and what was read.
        has_own_verify: Whether the plugin judges results in a way of its own.
    """
    found = {
        name: _finding(name, statement.attachments.get(name), taken, has_own_verify=has_own_verify)
        for name in sorted({*statement.attachments, *taken.stated})
    }
    return Judged(result=result, attachments={**found, **given.refused})


def _finding(
    name: str, stated: StatedAttachment | None, taken: TakenIn, *, has_own_verify: bool
) -> Finding:
    again = taken.stated.get(name)
    if stated is None:
        return Finding.failed("it was attached when the result was computed again, and not before")
    if again is not None:
        return _same(stated, again)
    if name in taken.read:
        return Finding.passed("the plugin has judged the file that is given, which is the stated")
    if has_own_verify:
        return Finding.not_possible(
            "the plugin has judged the result without it: it neither made it again nor read it"
        )
    return Finding.failed("the result was computed again without it")


def _same(stated: StatedAttachment, again: StatedAttachment) -> Finding:
    for what in ("media_type", "size", "sha256"):
        theirs, ours = getattr(stated, what), getattr(again, what)
        if theirs != ours:
            return Finding.failed(f"{what} is stated as {theirs}, and computed again it is {ours}")
    return Finding.passed("computed again, byte for byte")
