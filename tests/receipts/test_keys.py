"""Keys sign, are replaced, and are shown to nobody; what is not sound is not used."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from receipt_samples import receipt

from prover_framework.compute.slot import Slot
from prover_framework.errors import SettingsError
from prover_framework.receipts.ed25519 import SIGNATURE_DOMAIN, SigningKey, is_signed, key_id
from prover_framework.receipts.keys import KeyDirectory, PublicKey, pinned_key
from prover_framework.receipts.seals import Signatures, Subject

DIGEST = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    return KeyDirectory(tmp_path / "keys")


def test_a_signature_is_an_ordinary_one_over_a_tag_and_the_digest() -> None:
    key = SigningKey.generate()
    signature = key.sign(DIGEST)
    assert SIGNATURE_DOMAIN == b"prover-framework/seal/ed25519/1\0"
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, SIGNATURE_DOMAIN + DIGEST)
    assert is_signed(key.public_key, DIGEST, signature)


@given(st.integers(0, 32 * 8 - 1), st.integers(0, 64 * 8 - 1))
def test_one_bit_of_digest_or_signature_breaks_it(of_digest: int, of_signature: int) -> None:
    key = SigningKey.from_pem(PEM)
    signature = key.sign(DIGEST)
    assert not is_signed(key.public_key, flipped(DIGEST, of_digest), signature)
    assert not is_signed(key.public_key, DIGEST, flipped(signature, of_signature))


PEM = SigningKey.generate().to_pem()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_without_a_key_nothing_is_signed(keys: KeyDirectory) -> None:
    assert keys.signer() is None
    assert keys.public_keys() == ()
    assert not keys.path.exists()


def test_after_rotation_the_new_key_signs_and_the_old_one_is_still_known(
    keys: KeyDirectory,
) -> None:
    first = keys.create()
    old = keys.signer()
    assert old is not None
    assert old.key_id == first.id
    second = keys.rotate()
    new = keys.signer()
    assert new is not None
    assert new.key_id == second.id != first.id
    assert [key.id for key in keys.public_keys()] == [first.id, second.id]
    assert keys.public_keys()[0].retired_at == second.created_at
    # Old receipts are checked under the old key.
    assert is_signed(bytes.fromhex(first.public_key), DIGEST, old.key.sign(DIGEST))
    third = keys.rotate()
    assert [key.retired_at for key in keys.public_keys()] == [
        second.created_at,
        third.created_at,
        None,
    ]


def test_a_rotation_that_is_interrupted_leaves_one_key_that_signs(
    keys: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keys.create()

    write = KeyDirectory._write_public

    def write_the_new_one_only(self: KeyDirectory, key: PublicKey) -> None:
        if key.id == first.id:
            raise SystemExit
        write(self, key)

    monkeypatch.setattr(KeyDirectory, "_write_public", write_the_new_one_only)
    with pytest.raises(SystemExit):
        keys.rotate()
    monkeypatch.undo()
    assert len(list(keys.path.glob("*.pem"))) == 2
    signer = keys.signer()
    assert signer is not None
    assert signer.key_id != first.id
    # The next one cleans up.
    keys.rotate()
    assert len(list(keys.path.glob("*.pem"))) == 1
    assert sum(key.retired_at is None for key in keys.public_keys()) == 1


def test_the_key_is_read_again_when_some_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process rotates; the one that signs needs no new start, nor to read each time."""
    seconds = 0.0
    reads: list[int] = []
    read = KeyDirectory._read_signer

    def counted(self: KeyDirectory) -> object:
        reads.append(1)
        return read(self)

    signing, operator = KeyDirectory(tmp_path, lambda: seconds), KeyDirectory(tmp_path)

    def signer_id() -> str | None:
        signer = signing.signer()
        return signer.key_id if signer else None

    assert signer_id() is None
    first = operator.create()
    assert signer_id() is None
    seconds = 1.0
    monkeypatch.setattr(KeyDirectory, "_read_signer", counted)
    assert [signer_id(), signer_id()] == [first.id, first.id]
    assert len(reads) == 1
    monkeypatch.undo()
    second = operator.rotate()
    assert signer_id() == first.id
    seconds = 2.0
    assert signer_id() == second.id
    # Its own changes are seen at once.
    assert signing.rotate().id == signer_id()


def test_a_private_key_that_others_can_read_is_not_used(keys: KeyDirectory) -> None:
    public = keys.create()
    (keys.path / f"{public.id}.pem").chmod(0o640)
    with pytest.raises(SettingsError, match=r"is open to others \(mode 640\)"):
        keys.signer()


@pytest.mark.parametrize(
    ("suffix", "text", "said"),
    [
        (".pem", b"nonsense", "it holds no Ed25519 key in PEM"),
        (".pem", b"x" * 20_000, "more than 16384 bytes"),
        (".json", b"nonsense", "is no public key: it is not JSON"),
        (".json", b"{}", "is no public key: id: is required"),
    ],
)
def test_a_key_file_that_is_none_is_named(
    keys: KeyDirectory, suffix: str, text: bytes, said: str
) -> None:
    public = keys.create()
    file = keys.path / f"{public.id}{suffix}"
    file.write_bytes(text)
    with pytest.raises(SettingsError, match=said) as refused:
        keys.signer()
    assert str(file) in str(refused.value)
    assert "nonsense" not in str(refused.value)


def test_a_public_key_under_the_id_of_another_is_none(keys: KeyDirectory, tmp_path: Path) -> None:
    mine, theirs = keys.create(), KeyDirectory(tmp_path / "theirs").create()
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "id": mine.id,
                "algorithm": "ed25519",
                "public_key": theirs.public_key,
                "created_at": theirs.created_at,
                "retired_at": None,
            }
        )
    )
    with pytest.raises(SettingsError, match="is another key's"):
        pinned_key(str(file))
    assert pinned_key(mine.public_key.upper()) == bytes.fromhex(mine.public_key)


def test_the_newest_key_makes_the_seal(keys: KeyDirectory) -> None:
    subject = Subject(receipt(), DIGEST, Slot())
    maker = Signatures(keys, ())
    assert asyncio.run(maker.make(subject)) is None
    keys.create()
    public = keys.rotate()
    seal = asyncio.run(maker.make(subject))
    assert seal is not None
    assert seal["key_id"] == public.id
    key = bytes.fromhex(public.public_key)
    assert key_id(key) == public.id
    assert is_signed(key, DIGEST, bytes.fromhex(seal["signature"]))


def test_the_private_key_is_in_no_log_and_no_message(
    keys: KeyDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys.create()
    signer = keys.signer()
    assert signer is not None
    secret = "".join(signer.key.to_pem().decode().splitlines()[1:-1])
    raw = signer.key._key.private_bytes_raw().hex()
    for text in (repr(signer), str(signer.key), caplog.text):
        assert secret not in text
        assert raw not in text
