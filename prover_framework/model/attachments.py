"""What is attached to a result: files that are too large for a receipt, which states their digests.

The bytes stand beside the job, under a name. A statement has of each its media type, its size and
its SHA-256, so that nobody can put others in their place.
"""

import re
from collections.abc import Mapping
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, le, matches_re

from prover_framework.serialization.forms import MAX_EXACT_INTEGER

# It goes into addresses and file names, of systems that tell no case apart as well.
ATTACHMENT_NAME = r"[a-z0-9_][a-z0-9_.-]{0,63}"

ATTACHMENT_NAME_RULE = (
    "1 to 64 lower-case letters, digits, '_', '.' or '-', the first no '.' and no '-'"
)

# Type and subtype as RFC 6838 names them, in lower case; of all parameters the one that text needs.
_WORD = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
MEDIA_TYPE = rf"{_WORD}/{_WORD}(?:; charset=utf-8)?"

# A result has a few; each of them is a row of tables and a line of lists.
MAX_ATTACHMENTS = 16

# As large as any file that a process of a plugin can write.
MAX_ATTACHMENT_BYTES = 2**30

# How much of one is read, stored or sent at a time; every client that takes one has that in memory.
CHUNK_BYTES = 2**18


def _whole(_: object, attribute: "Attribute[int]", value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"'{attribute.name}' must be an integer, got {value!r}")


def attachment_names(_: object, attribute: "Attribute[Any]", value: Mapping[str, object]) -> None:
    """Require that a mapping has names of attachments, and not too many, as a validator."""
    if len(value) > MAX_ATTACHMENTS:
        raise ValueError(f"'{attribute.name}' has {len(value)}, more than {MAX_ATTACHMENTS}")
    for name in value:
        if not re.fullmatch(ATTACHMENT_NAME, name):
            raise ValueError(
                f"'{attribute.name}': {name!r} is no name of an attachment: {ATTACHMENT_NAME_RULE}"
            )


@frozen(kw_only=True)
class StatedAttachment:
    """What a statement says of one attachment.

    Args:
        media_type: What kind of file it is, such as ``text/csv``.
        size: How many bytes it has.
        sha256: SHA-256 of these, in hex.
    """

    media_type: str = field(validator=matches_re(MEDIA_TYPE))
    size: int = field(validator=and_(_whole, ge(0), le(MAX_EXACT_INTEGER)))
    sha256: str = field(validator=matches_re(r"[0-9a-f]{64}"))


@frozen(kw_only=True)
class AttachmentPlace:
    """Where one call of a plugin puts attachments, and finds those that it judges.

    Args:
        directory: An empty directory, which whoever calls owns.
        attachments: How many there may be.
        attachment_bytes: How many bytes one may have.
        attachments_bytes: How many all of them may have together.
        claimed: The files that are there of the attachments that are judged, by their names.
    """

    directory: str
    attachments: int
    attachment_bytes: int
    attachments_bytes: int
    claimed: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Manifest:
    """What a call says of its attachments, beside their files.

    Args:
        media_types: The media type of each that it has attached, by name.
        read: Names of the claimed ones that it has asked for.
    """

    media_types: dict[str, str] = field(validator=attachment_names)
    read: tuple[str, ...]
