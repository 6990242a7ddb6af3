"""Write what is attached to a result, within its limits, where a call of a plugin is made."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from io import BufferedWriter, FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from prover_framework.errors import AttachmentMissing, ResultInvalid
from prover_framework.model.attachments import (
    ATTACHMENT_NAME,
    ATTACHMENT_NAME_RULE,
    MEDIA_TYPE,
    AttachmentPlace,
    Manifest,
)
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.text import shown

# Beside the attachments; no name begins with a dot.
MANIFEST = ".manifest"


class Attaching:
    """The attachments of one call: those that it makes, and those that it judges.

    Args:
        place: Where they are, and how many and how large they may be.
    """

    def __init__(self, place: AttachmentPlace) -> None:
        self._place = place
        self._directory = Path(place.directory)
        self._files: dict[str, BinaryIO] = {}
        self._media_types: dict[str, str] = {}
        self._read: dict[str, None] = {}
        self._written = 0
        self._refusal: ResultInvalid | None = None

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that were attached, by name."""
        return MappingProxyType({name: self._directory / name for name in self._files})

    def attach(self, name: str, media_type: str) -> BinaryIO:
        """Open a new attachment for writing; see `prover_framework.model.work.Work.attach`."""
        if not _fits(name, ATTACHMENT_NAME):
            raise self._refused(f"attached {shown(name)}: a name has {ATTACHMENT_NAME_RULE}")
        if not _fits(media_type, MEDIA_TYPE):
            raise self._refused(
                f"attached {name} as {shown(media_type)}: a media type is like text/csv"
            )
        if name in self._files:
            raise self._refused(f"attached {name} twice")
        if len(self._files) >= self._place.attachments:
            raise self._refused(
                f"attached {name}, and its Limits allow {self._place.attachments} attachments"
            )
        raw = _Bounded(self._directory / name, partial(self._spend, name))
        self._files[name], self._media_types[name] = BufferedWriter(raw), media_type
        return self._files[name]

    def claimed(self, name: str) -> Path:
        """Return where an attachment is that is judged; see `Work.claimed`."""
        path = self._place.claimed.get(name)
        if path is None:
            raise AttachmentMissing(f"needs the attachment {shown(name)}, which was not given")
        self._read[name] = None
        return Path(path)

    def close(self) -> None:
        """Close the files, and write down what they are.

        Raises:
            ResultInvalid: The limits are passed, whoever was told so before.
        """
        try:
            for file in self._files.values():
                file.close()
        finally:
            if self._refusal is not None:
                raise self._refusal
        if not self._directory.is_dir():
            return
        manifest = Manifest(media_types=self._media_types, read=tuple(self._read))
        (self._directory / MANIFEST).write_text(dump_json(unstructure(manifest)))

    def _spend(self, name: str, size: int, more: int) -> None:
        most, together = self._place.attachment_bytes, self._place.attachments_bytes
        if size > most:
            raise self._refused(
                f"attached {name} of more than {most:,} bytes, which its Limits allow"
            )
        if self._written + more > together:
            raise self._refused(
                f"attached more than {together:,} bytes in all, which its Limits allow"
            )
        self._written += more

    def _refused(self, how: str) -> ResultInvalid:
        self._refusal = ResultInvalid(how)
        return self._refusal


def _fits(value: object, pattern: str) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


class _Bounded(FileIO):
    """A new file that says how large it will be before it grows.

    Args:
        path: Where it is made.
        spend: Told the size, and how much of it is more than before.
    """

    def __init__(self, path: Path, spend: Callable[[int, int], None]) -> None:
        super().__init__(path, "xb")
        self._spend = spend
        self._size = 0

    def write(self, data: Any) -> int:
        """Write, if there is room."""
        end = self.tell() + memoryview(data).nbytes
        if end > self._size:
            self._spend(end, end - self._size)
            self._size = end
        return super().write(data)
