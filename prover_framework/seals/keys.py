"""The keys that sign receipts, in a directory: private ones for nobody else, public ones to serve.

A public key is a file ``ID.json`` and stays for ever, so that receipts of old keys can be checked.
A private key is a file ``ID.pem`` beside it, until rotation removes it; the newest signs. Files
appear whole or not at all, and what a crash left of one the next command removes.
"""

import errno
import fcntl
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from attrs import field, frozen
from attrs.validators import matches_re

from prover_framework.errors import RequestError, SettingsError
from prover_framework.files import FOR_OTHERS, make_private_directory, synchronise
from prover_framework.model.receipts import HEX_32_BYTES
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.text import quote, utc_now

if TYPE_CHECKING:
    from prover_framework.seals.ed25519 import SigningKey

log = logging.getLogger(__name__)

PRIVATE_SUFFIX = ".pem"
PUBLIC_SUFFIX = ".json"

# What a file is called until it is whole. It may hold a private key.
DRAFT_PREFIX = ".new-"

# A key file has a few hundred bytes; what is larger is something else.
MAX_KEY_FILE_BYTES = 16 * 1024

# How long a key goes on signing after it was replaced, at most. Hundreds of receipts a second would
# else read the same files hundreds of times.
SIGNER_SECONDS = 1.0


@frozen(kw_only=True)
class PublicKey:
    """A public key and when it signs.

    Args:
        id: What receipts call it.
        algorithm: ``ed25519``.
        public_key: Its 32 bytes, in hex.
        created_at: When it was made, in ISO 8601, UTC.
        retired_at: Since when it signs no more; none while it does.
    """

    id: str
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = field(validator=matches_re(HEX_32_BYTES))
    created_at: str
    retired_at: str | None = None


@frozen
class PinnedKey:
    """A public key that somebody trusts.

    Args:
        public_key: Its 32 bytes, in hex.
        retired_at: Since when it signs no more, in ISO 8601, UTC; none where that is not known.
    """

    public_key: str = field(validator=matches_re(HEX_32_BYTES))
    retired_at: str | None = None

    @property
    def raw(self) -> bytes:
        """Its 32 bytes."""
        return bytes.fromhex(self.public_key)

    def retirement(self, made_at: str) -> str:
        """Say when the key was retired, and whether what it has signed says that it is older.

        Args:
            made_at: When the receipt was made, as it says itself: whoever has the key writes it.

        Returns:
            The rest of a sentence; empty for a key that is not known to be retired.
        """
        if self.retired_at is None:
            return ""
        said = f", which was retired at {self.retired_at}: the receipt says that it was made "
        try:
            is_older = datetime.fromisoformat(made_at) < datetime.fromisoformat(self.retired_at)
        except (ValueError, TypeError):
            # One of the two is no time, or has no zone.
            return f"{said}at {quote(made_at)}, and nobody can tell whether that was before"
        return f"{said}{'before that' if is_older else 'after that'}, at {made_at}"


@frozen
class Signer:
    """The key that signs now, and its id."""

    key_id: str
    key: "SigningKey"


class KeyDirectory:
    """The keys in one directory, which need not exist."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = directory
        self._clock = clock
        # The key that signs, and when it was read.
        self._signer: tuple[float, Signer | None] | None = None

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Return all public keys, the oldest first.

        Raises:
            SettingsError: A file of them cannot be read, or is none.
        """
        return self._public_keys(self._names())

    def _public_keys(self, names: frozenset[str]) -> tuple[PublicKey, ...]:
        keys = [
            read_public_key(self.path / name)
            for name in sorted(names)
            if name.endswith(PUBLIC_SUFFIX) and not name.startswith(".")
        ]
        return tuple(sorted(keys, key=lambda key: (key.created_at, key.id)))

    def _names(self) -> frozenset[str]:
        """Return the names of all files.

        Raises:
            SettingsError: The directory cannot be read, which is not to say that it holds nothing.
        """
        try:
            return frozenset(os.listdir(self.path))  # noqa: PTH208 - its errors are not swallowed
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise SettingsError(
                f"the keys in {self.path} cannot be read: {error.strerror}; let the user of this "
                "service read the directory, or name another one with PROVER_KEY_DIR"
            ) from None

    def signer(self) -> Signer | None:
        """Return the key that signs, the newest that is not retired; none when there is none.

        It is read again every `SIGNER_SECONDS`, so that a rotation needs no new start.

        Raises:
            SettingsError: The directory or its file cannot be read, or is open to others.
        """
        now = self._clock()
        if self._signer is None or now - self._signer[0] >= SIGNER_SECONDS:
            self._signer = now, self._read_signer()
        return self._signer[1]

    def _read_signer(self) -> Signer | None:
        names = self._names()
        signing = [
            key
            for key in self._public_keys(names)
            if key.retired_at is None and f"{key.id}{PRIVATE_SUFFIX}" in names
        ]
        return _read_private_key(self._file(signing[-1].id, PRIVATE_SUFFIX)) if signing else None

    def remove_drafts(self) -> None:
        """Remove files that a crash has left half made: they may hold a private key.

        Raises:
            SettingsError: There are some, and they cannot be removed.
        """
        if any(name.startswith(DRAFT_PREFIX) for name in self._names()):
            with self._changing():
                pass

    def create(self) -> PublicKey:
        """Make the first key.

        Raises:
            SettingsError: There is one that signs already, or the directory cannot be written.
        """
        with self._changing():
            if self._read_signer() is not None:
                raise SettingsError(
                    f'there is a key in {self.path} already: "prover key rotate" replaces it'
                )
            return self._add()

    def rotate(self) -> PublicKey:
        """Make a new key that signs from now on; remove the private keys of all others.

        Raises:
            SettingsError: There is no key to replace, or the directory cannot be written.
        """
        with self._changing():
            old = self.public_keys()
            if self._read_signer() is None:
                raise SettingsError(
                    f'there is no key in {self.path} to replace: "prover key create" makes one'
                )
            # There is a key that signs at every moment, whenever this is interrupted.
            new = self._add()
            for key in old:
                if key.retired_at is None:
                    self._write_public(attrs.evolve(key, retired_at=new.created_at))
                self._file(key.id, PRIVATE_SUFFIX).unlink(missing_ok=True)
            synchronise(self.path)
            return new

    def keep(self, key: PublicKey) -> bool:
        """Keep a public key from elsewhere, so that receipts which it signed can be checked.

        Returns:
            Whether it is new here. One that is there stays as it is.

        Raises:
            SettingsError: The directory cannot be written, or another key has its id.
        """
        with self._changing():
            for known in self.public_keys():
                if known.id == key.id:
                    if known.public_key != key.public_key:
                        raise SettingsError(f"another key in {self.path} has the id {key.id}")
                    return False
            self._write_public(key)
            return True

    def _add(self) -> PublicKey:
        from prover_framework.seals.ed25519 import SigningKey, key_id

        private = SigningKey.generate()
        public = PublicKey(
            id=key_id(private.public_key),
            public_key=private.public_key.hex(),
            created_at=utc_now(),
        )
        # The public key first: a signature that nobody can check would be worth nothing.
        self._write_public(public)
        self._write(self._file(public.id, PRIVATE_SUFFIX), private.to_pem(), 0o600)
        return public

    def _file(self, key_id: str, suffix: str) -> Path:
        return self.path / f"{key_id}{suffix}"

    def _write_public(self, key: PublicKey) -> None:
        text = f"{dump_json(unstructure(key))}\n".encode()
        self._write(self._file(key.id, PUBLIC_SUFFIX), text, 0o644)

    def _write(self, file: Path, content: bytes, mode: int) -> None:
        # The temporary file is its owner's alone from the first moment.
        descriptor, name = tempfile.mkstemp(dir=self.path, prefix=DRAFT_PREFIX)
        try:
            with os.fdopen(descriptor, "wb") as new:
                new.write(content)
                os.fchmod(new.fileno(), mode)
                new.flush()
                os.fsync(new.fileno())
            Path(name).rename(file)
            synchronise(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one command at a time change the directory."""
        try:
            make_private_directory(self.path)
            with (self.path / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._signer = None
                # Nobody else writes now, so whoever began these is gone.
                for name in self._names():
                    if name.startswith(DRAFT_PREFIX):
                        (self.path / name).unlink()
                        log.warning("removed %s, which a crash had left", self.path / name)
                yield
        except OSError as error:
            raise SettingsError(
                f"the keys in {self.path} cannot be changed: {error.strerror}"
            ) from None


def read_public_key(file: Path) -> PublicKey:
    """Read a public key, as `KeyDirectory` writes it and ``GET /api/keys`` serves it.

    Raises:
        SettingsError: The file cannot be read or is no public key.
    """
    from prover_framework.seals.ed25519 import key_id

    try:
        key = structure(parse_json(_read(file), "it"), PublicKey)
    except RequestError as error:
        raise SettingsError(f"{file} is no public key: {error}") from None
    _require_sound(bytes.fromhex(key.public_key), str(file))
    if key.id != key_id(bytes.fromhex(key.public_key)):
        raise SettingsError(f"{file} is no public key: its id {quote(key.id)} is another key's")
    return key


def pinned_key(text: str) -> PinnedKey:
    """Return the public key that a verifier names: in hex, or the file it is in.

    Raises:
        SettingsError: It is neither.
    """
    if re.fullmatch(HEX_32_BYTES, text.lower()):
        _require_sound(bytes.fromhex(text), text)
        return PinnedKey(text.lower())
    file = Path(text)
    if _is_absent(file):
        raise SettingsError(
            f"{quote(text)} is no public key: give its 64 hex digits, or a file of "
            '"prover key show" or GET /api/keys'
        )
    key = read_public_key(file)
    return PinnedKey(key.public_key, key.retired_at)


def _is_absent(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, ValueError):
        # A path with a NUL names nothing.
        return True
    except OSError as error:
        # A text that is too long for a name is no file; one that cannot be reached may be.
        return error.errno == errno.ENAMETOOLONG
    return False


def _require_sound(public_key: bytes, what: str) -> None:
    from prover_framework.seals.ed25519 import require_sound

    try:
        require_sound(public_key)
    except ValueError as error:
        raise SettingsError(f"{quote(what)} is no public key to trust: {error}") from None


def _read_private_key(file: Path) -> Signer:
    from prover_framework.seals.ed25519 import SigningKey, key_id

    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    if mode & FOR_OTHERS:
        raise SettingsError(
            f"{file} is open to others (mode {mode & 0o777:03o}), who may have copied the private "
            'key: "prover key rotate" after "chmod 600"'
        )
    try:
        key = SigningKey.from_pem(_read(file))
    except ValueError as error:
        raise SettingsError(f"{file} cannot be used: {error}") from None
    return Signer(key_id(key.public_key), key)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    if len(text) > MAX_KEY_FILE_BYTES:
        raise SettingsError(f"{file} has more than {MAX_KEY_FILE_BYTES} bytes: it is no key")
    return text
