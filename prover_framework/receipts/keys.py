"""The keys that sign receipts, in a directory: private ones for nobody else, public ones to serve.

A public key is a file ``ID.json`` and stays for ever, so that receipts of old keys can be checked.
A private key is a file ``ID.pem`` beside it, until rotation removes it; the newest signs. Files
appear whole or not at all.
"""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from attrs import field, frozen
from attrs.validators import matches_re

from prover_framework.errors import RequestError, SettingsError
from prover_framework.jsontext import dump_json, parse_json, quote
from prover_framework.wire import structure, unstructure

if TYPE_CHECKING:
    from prover_framework.receipts.ed25519 import SigningKey

PUBLIC_KEY_HEX = r"[0-9a-f]{64}"

PRIVATE_SUFFIX = ".pem"
PUBLIC_SUFFIX = ".json"

# A key file has a few hundred bytes; what is larger is something else.
MAX_KEY_FILE_BYTES = 16 * 1024

# How long a key goes on signing after it was replaced, at most. Hundreds of receipts a second would
# else read the same files hundreds of times.
SIGNER_SECONDS = 1.0

# Others than the owner must not read the private key.
OWNER_ONLY = 0o077


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
    public_key: str = field(validator=matches_re(PUBLIC_KEY_HEX))
    created_at: str
    retired_at: str | None = None


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
            SettingsError: A file of them can not be read, or is none.
        """
        keys = [read_public_key(file) for file in sorted(self.path.glob(f"*{PUBLIC_SUFFIX}"))]
        return tuple(sorted(keys, key=lambda key: (key.created_at, key.id)))

    def signer(self) -> Signer | None:
        """Return the key that signs, the newest that is not retired; none when there is none.

        It is read again every `SIGNER_SECONDS`, so that a rotation needs no new start.

        Raises:
            SettingsError: Its file can not be used or is open to others.
        """
        now = self._clock()
        if self._signer is None or now - self._signer[0] >= SIGNER_SECONDS:
            self._signer = now, self._read_signer()
        return self._signer[1]

    def _read_signer(self) -> Signer | None:
        signing = [
            key
            for key in self.public_keys()
            if key.retired_at is None and self._file(key.id, PRIVATE_SUFFIX).exists()
        ]
        return _read_private_key(self._file(signing[-1].id, PRIVATE_SUFFIX)) if signing else None

    def create(self) -> PublicKey:
        """Make the first key.

        Raises:
            SettingsError: There is one that signs already, or the directory can not be written.
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
            SettingsError: There is no key to replace, or the directory can not be written.
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
            return new

    def _add(self) -> PublicKey:
        from prover_framework.receipts.ed25519 import SigningKey, key_id

        private = SigningKey.generate()
        public = PublicKey(
            id=key_id(private.public_key),
            public_key=private.public_key.hex(),
            created_at=now(),
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
        descriptor, name = tempfile.mkstemp(dir=self.path, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as new:
                new.write(content)
                os.fchmod(new.fileno(), mode)
                new.flush()
                os.fsync(new.fileno())
            Path(name).rename(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one command at a time change the directory."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.path / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._signer = None
                yield
        except OSError as error:
            raise SettingsError(
                f"the keys in {self.path} can not be changed: {error.strerror}"
            ) from None


def read_public_key(file: Path) -> PublicKey:
    """Read a public key, as `KeyDirectory` writes it and ``GET /api/keys`` serves it.

    Raises:
        SettingsError: The file can not be read or is no public key.
    """
    from prover_framework.receipts.ed25519 import key_id

    try:
        key = structure(parse_json(_read(file), "it"), PublicKey)
    except RequestError as error:
        raise SettingsError(f"{file} is no public key: {error}") from None
    if key.id != key_id(bytes.fromhex(key.public_key)):
        raise SettingsError(f"{file} is no public key: its id {quote(key.id)} is another key's")
    return key


def pinned_key(text: str) -> bytes:
    """Return the public key, 32 bytes, that a verifier names: in hex, or the file it is in.

    Raises:
        SettingsError: It is neither.
    """
    if re.fullmatch(PUBLIC_KEY_HEX, text.lower()):
        return bytes.fromhex(text)
    file = Path(text)
    if not file.is_file():
        raise SettingsError(
            f"{quote(text)} is no public key: give its 64 hex digits, or a file of "
            '"prover key show" or GET /api/keys'
        )
    return bytes.fromhex(read_public_key(file).public_key)


def now() -> str:
    """Return the time in ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_private_key(file: Path) -> Signer:
    from prover_framework.receipts.ed25519 import SigningKey, key_id

    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise SettingsError(f"{file} can not be read: {error.strerror}") from None
    if mode & OWNER_ONLY:
        raise SettingsError(
            f"{file} is open to others (mode {mode & 0o777:03o}), who may have copied the private "
            'key: "prover key rotate" after "chmod 600"'
        )
    try:
        key = SigningKey.from_pem(_read(file))
    except ValueError as error:
        raise SettingsError(f"{file} can not be used: {error}") from None
    return Signer(key_id(key.public_key), key)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file} can not be read: {error.strerror}") from None
    if len(text) > MAX_KEY_FILE_BYTES:
        raise SettingsError(f"{file} has more than {MAX_KEY_FILE_BYTES} bytes: it is no key")
    return text
