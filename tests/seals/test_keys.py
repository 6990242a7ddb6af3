"""Keys sign, are replaced, and are shown to nobody; what is not sound is not used."""

import json
import logging
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.errors import NotSigned, SettingsError
from prover_framework.seals.ed25519 import (
    FIELD,
    LOW_ORDER_Y,
    SIGNATURE_DOMAIN,
    SigningKey,
    is_signed,
    key_id,
)
from prover_framework.seals.keys import KeyDirectory, PublicKey, pinned_key
from prover_framework.seals.making import SignatureMaker

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
    assert pinned_key(mine.public_key.upper()).raw == bytes.fromhex(mine.public_key)


def test_a_retired_key_says_so_and_whether_the_receipt_is_older(keys: KeyDirectory) -> None:
    old = keys.create()
    new = keys.rotate()
    pinned = pinned_key(str(keys.path / f"{old.id}.json"))
    retired = f", which was retired at {new.created_at}: the receipt says that it was made"
    early, late = "2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"
    assert pinned.retirement(early) == f"{retired} before that, at {early}"
    assert pinned.retirement(late) == f"{retired} after that, at {late}"
    # Whoever sends a receipt writes what he likes there.
    for nonsense in ("yesterday", "2020-01-01", ""):
        assert "nobody can tell whether that was before" in pinned.retirement(nonsense)
    for usable in (str(keys.path / f"{new.id}.json"), old.public_key):
        assert pinned_key(usable).retirement(early) == ""


def test_the_newest_key_makes_the_seal(keys: KeyDirectory) -> None:
    maker = SignatureMaker(keys)
    assert maker.seal(DIGEST) == ()
    keys.create()
    public = keys.rotate()
    (seal,) = maker.seal(DIGEST)
    assert seal.kind == "ed25519"
    assert seal.document["key_id"] == public.id
    key = bytes.fromhex(public.public_key)
    assert key_id(key) == public.id
    assert is_signed(key, DIGEST, bytes.fromhex(seal.document["signature"]))


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


# Every way to write a point whose order divides eight, beside the sign of x; the last two are not
# the way that keys are written.
LOW_ORDER = [
    0,
    1,
    FIELD - 1,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    FIELD,
    FIELD + 1,
]


@pytest.mark.parametrize("y", LOW_ORDER)
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_anybody_can_sign_for_is_not_pinned(tmp_path: Path, y: int, sign: int) -> None:
    raw = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(SettingsError, match="is no public key to trust: it is"):
        pinned_key(raw.hex())
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps({"id": key_id(raw), "public_key": raw.hex(), "created_at": "2026-01-01"})
    )
    with pytest.raises(SettingsError, match="is no public key to trust: it is"):
        pinned_key(str(file))


def test_all_points_of_low_order_are_known() -> None:
    """Three doublings lead from each to the neutral point; there are eight, with the sign of x."""
    d = -121665 * pow(121666, -1, FIELD) % FIELD

    def doubled(x: int, y: int) -> tuple[int, int]:
        product = d * x * x * y * y
        return (
            2 * x * y * pow(1 + product, -1, FIELD) % FIELD,
            (y * y + x * x) * pow(1 - product, -1, FIELD) % FIELD,
        )

    def x_of(y: int) -> int:
        square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
        root = pow(square, (FIELD + 3) // 8, FIELD)
        turned = root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
        return next(x for x in (root, turned) if x * x % FIELD == square)

    points = {(sign * x_of(y) % FIELD, y) for y in LOW_ORDER_Y for sign in (1, -1)}
    assert len(points) == 8
    assert {doubled(*doubled(*doubled(*point))) for point in points} == {(0, 1)}


def test_under_such_a_key_one_signature_holds_for_everything() -> None:
    """What the refusal is for: the point itself and a factor of zero."""
    identity = (1).to_bytes(32, "little")
    assert is_signed(identity, DIGEST, identity + bytes(32))
    assert is_signed(identity, flipped(DIGEST, 0), identity + bytes(32))


def test_what_a_crash_left_of_a_private_key_is_removed(
    keys: KeyDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    keys.create()
    draft = keys.path / ".new-abcdef"
    draft.write_bytes(PEM)
    keys.remove_drafts()
    assert not draft.exists()
    assert f"removed {draft}" in caplog.text
    draft.write_bytes(PEM)
    keys.rotate()
    assert not draft.exists()


def test_what_is_done_to_the_names_is_written_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could bring back a private key that was removed."""
    steps: list[str] = []
    fsync, rename, unlink = os.fsync, Path.rename, Path.unlink

    def noting_fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            steps.append("directory")
        fsync(descriptor)

    def noting_rename(self: Path, target: Path) -> Path:
        steps.append(f"rename to {target.suffix}")
        return rename(self, target)

    def noting_unlink(self: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        steps.append("remove")
        unlink(self, missing_ok)

    keys = KeyDirectory(tmp_path / "data" / "keys")
    keys.create()
    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)
    monkeypatch.setattr(Path, "unlink", noting_unlink)
    keys.rotate()
    assert steps == [
        *("rename to .json", "directory", "rename to .pem", "directory"),
        *("rename to .json", "directory", "remove", "directory"),
    ]


def test_the_directories_above_the_keys_are_their_owners_alone(tmp_path: Path) -> None:
    KeyDirectory(tmp_path / "data" / "keys").create()
    for made in (tmp_path / "data", tmp_path / "data" / "keys"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def deny(*_: object) -> NoReturn:
    raise PermissionError(13, "Permission denied")


def test_a_directory_that_can_not_be_read_is_not_one_without_keys(
    keys: KeyDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys.create()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SettingsError, match="cannot be read: Too many levels of symbolic links"):
        KeyDirectory(loop).signer()
    monkeypatch.setattr(os, "listdir", deny)
    for use in (keys.signer, keys.public_keys, keys.create, keys.rotate, keys.remove_drafts):
        with pytest.raises(SettingsError, match="cannot be read: Permission denied; let the user"):
            use()


def test_a_key_file_that_can_not_be_read_is_not_absent(keys: KeyDirectory) -> None:
    public = keys.create()
    private = keys.path / f"{public.id}.pem"
    private.unlink()
    private.symlink_to(private)
    with pytest.raises(SettingsError, match=r"\.pem cannot be read"):
        keys.signer()
    with pytest.raises(SettingsError, match=r"\.pem cannot be read"):
        pinned_key(str(private))


def test_a_receipt_goes_without_a_signature_only_where_there_is_no_key(
    keys: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seals(maker: SignatureMaker) -> int:
        return len(maker.seal(DIGEST))

    assert seals(SignatureMaker(keys)) == 0
    with pytest.raises(NotSigned, match=r"have to be signed \(PROVER_REQUIRE_SIGNATURE\)"):
        seals(SignatureMaker(keys, required=True))
    keys.create()
    assert seals(SignatureMaker(keys, required=True)) == 1
    monkeypatch.setattr(os, "listdir", deny)
    with pytest.raises(NotSigned, match=r"cannot be signed: .* cannot be read: Permission denied"):
        seals(SignatureMaker(KeyDirectory(keys.path)))
