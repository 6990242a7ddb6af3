"""Take in what a call of a plugin has attached: files of a process that nobody trusts."""

import asyncio
import os
import stat
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from prover_framework.errors import RequestError, ResultInvalid
from prover_framework.model.attaching import MANIFEST
from prover_framework.model.attachments import (
    CHUNK_BYTES,
    AttachmentPlace,
    Manifest,
    StatedAttachment,
)
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.text import printable

# Names and media types of as many attachments as there may be have a tenth of it.
MAX_MANIFEST_BYTES = 64 * 2**10


@frozen(kw_only=True)
class Attached:
    """A file that a call has attached.

    Args:
        name: Its name.
        path: Where it is, as long as the place of the call is there.
        stated: What a statement says of it.
    """

    name: str
    path: Path
    stated: StatedAttachment


@frozen(kw_only=True)
class TakenIn:
    """What a call has attached, and what it has read of what it judged.

    Args:
        attached: What it has attached, in the order of the names.
        read: Names of the claimed attachments that it has asked for.
    """

    attached: tuple[Attached, ...] = ()
    read: frozenset[str] = field(default=frozenset())

    @property
    def stated(self) -> dict[str, StatedAttachment]:
        """What a statement says of what was attached, by name."""
        return {each.name: each.stated for each in self.attached}


async def take_in(place: AttachmentPlace | None, plugin: str) -> TakenIn:
    """Look at what a call that has ended has attached, in bounded memory.

    Args:
        place: Where it had to put it; None where it had no place.
        plugin: Name of the plugin.

    Raises:
        ResultInvalid: It has put something else there than it may.
        OSError: The files cannot be read.
    """
    if place is None:
        return TakenIn()
    try:
        return await asyncio.to_thread(_take_in, place)
    except _Spoiled as error:
        raise ResultInvalid(f"plugin {plugin}: its attachments are spoiled: {error}") from None


class _Spoiled(Exception):
    """What is in the directory was not written by the framework's own part of the process."""


def _take_in(place: AttachmentPlace) -> TakenIn:
    manifest = _manifest(Path(place.directory))
    if len(manifest.media_types) > place.attachments:
        raise _Spoiled("there are more than its Limits allow")
    attached, left = [], place.attachments_bytes
    for name, media_type in sorted(manifest.media_types.items()):
        path = Path(place.directory) / name
        with closing(open_regular(path)) as stream:
            stated = describe(stream, media_type, min(left, place.attachment_bytes))
        left -= stated.size
        attached.append(Attached(name=name, path=path, stated=stated))
    return TakenIn(attached=tuple(attached), read=frozenset(manifest.read))


def _manifest(directory: Path) -> Manifest:
    try:
        with closing(open_regular(directory / MANIFEST)) as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise _Spoiled("their list is too long")
        return structure(parse_json(text, "their list"), Manifest)
    except RequestError as error:
        raise _Spoiled(printable(str(error))) from None


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading that is one: no link, and nothing that would be waited for.

    Raises:
        _Spoiled: It is not there, or something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _Spoiled(f"{path.name}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Spoiled(f"{path.name} is no file")
    return os.fdopen(descriptor, "rb")


def describe(stream: BinaryIO, media_type: str, most: int | None = None) -> StatedAttachment:
    """Return what a statement says of a file, whose bytes are read to their end.

    Args:
        stream: The file.
        media_type: Its media type.
        most: How many bytes it may have; as many as there are when None.

    Raises:
        _Spoiled: It has more.
    """
    digest, size = sha256(), 0
    while block := stream.read(CHUNK_BYTES):
        digest.update(block)
        size += len(block)
        if most is not None and size > most:
            raise _Spoiled("there are more bytes than its Limits allow")
    return StatedAttachment(media_type=media_type, size=size, sha256=digest.hexdigest())
