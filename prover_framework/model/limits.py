"""What one call of a plugin may use."""

from collections.abc import Mapping
from pathlib import Path

from attrs import Attribute, field, frozen
from attrs.validators import ge, gt, le, lt

from prover_framework.model.attachments import (
    MAX_ATTACHMENT_BYTES,
    MAX_ATTACHMENTS,
    AttachmentPlace,
)
from prover_framework.serialization.forms import MAX_EXACT_INTEGER


def is_integer(_: object, attribute: "Attribute[int]", value: object) -> None:
    """Require an integer, as a validator."""
    # True is an integer for Python, and nobody means it.
    if type(value) is not int:
        raise TypeError(f"'{attribute.name}' must be an integer, got {value!r}")


def _seconds(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"'seconds' must be a number, got {value!r}")
    return float(value)


@frozen
class Limits:
    """What one computation may use.

    Args:
        seconds: Wall-clock time before the compute process is ended.
        memory_bytes: Resident memory of the compute process with all that it has started.
        attachments: How many files it may attach to its result, `MAX_ATTACHMENTS` at the most. A
            proof type that attaches any says so here.
        attachment_bytes: How many bytes one of them may have, `MAX_ATTACHMENT_BYTES` at the most.
        attachments_bytes: How many all of them may have together.
    """

    seconds: float = field(default=300.0, converter=_seconds, validator=[gt(0), lt(float("inf"))])
    memory_bytes: int = field(
        default=4 * 2**30, validator=[is_integer, gt(0), le(MAX_EXACT_INTEGER)]
    )
    attachments: int = field(default=0, validator=[is_integer, ge(0), le(MAX_ATTACHMENTS)])
    attachment_bytes: int = field(
        default=16 * 2**20, validator=[is_integer, gt(0), le(MAX_ATTACHMENT_BYTES)]
    )
    attachments_bytes: int = field(
        default=64 * 2**20, validator=[is_integer, gt(0), le(MAX_EXACT_INTEGER)]
    )

    def attachment_place(
        self, directory: Path, claimed: Mapping[str, Path] | None = None
    ) -> AttachmentPlace:
        """Return a place for attachments within these limits.

        Args:
            directory: An empty directory.
            claimed: The files that are there of the attachments that are judged, by name.
        """
        return AttachmentPlace(
            directory=str(directory),
            attachments=self.attachments,
            attachment_bytes=self.attachment_bytes,
            attachments_bytes=self.attachments_bytes,
            claimed={name: str(path) for name, path in (claimed or {}).items()},
        )
