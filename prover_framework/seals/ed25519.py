"""Ed25519 signatures (RFC 8032), by the library ``cryptography``.

Import this where something is signed or checked: the library is large, and most processes never
do either.
"""

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

# What is signed is this tag and a digest, so that no other use of a key can be passed off as it.
SIGNATURE_DOMAIN = b"prover-framework/seal/ed25519/1\0"

# The field of the curve, and the y of the eight points whose order divides eight (x may have either
# sign). Under such a key one signature can be made that holds for many messages.
# https://datatracker.ietf.org/doc/html/rfc8032#section-5.1
FIELD = 2**255 - 19
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
LOW_ORDER_Y = frozenset({0, 1, FIELD - 1, _Y_OF_ORDER_8, FIELD - _Y_OF_ORDER_8})

# A key's id only says which key is meant; half of a SHA-256 cannot be met by accident or design.
ID_DIGITS = 32


class SigningKey:
    """A private key. It shows itself to nobody."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, text: bytes) -> "SigningKey":
        """Read a key in PKCS #8.

        Raises:
            ValueError: It is no Ed25519 key.
        """
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError):
            # The library's words could repeat what it has read.
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it holds no Ed25519 key in PEM, or one with a password")  # noqa: TRY004 - what is wrong is the text
        return cls(key)

    def to_pem(self) -> bytes:
        """Write the key in PKCS #8, not encrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, digest: bytes) -> bytes:
        """Sign a receipt's digest; return the signature, 64 bytes."""
        return self._key.sign(SIGNATURE_DOMAIN + digest)


def is_signed(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Tell whether a signature on a receipt's digest is that of a key.

    Raises:
        ValueError: It is no public key.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, SIGNATURE_DOMAIN + digest)
    except InvalidSignature:
        return False
    return True


def require_sound(public_key: bytes) -> None:
    """Require that a signature under a public key, 32 bytes, shows something.

    Raises:
        ValueError: The key is of low order or not written as keys are, and anybody can sign for it.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= FIELD:
        raise ValueError("it is not written as a public key is (RFC 8032)")
    if y in LOW_ORDER_Y:
        raise ValueError("it is of low order: without any private key there are signatures for it")


def key_id(public_key: bytes) -> str:
    """Return what receipts call a key: the first half of the SHA-256 of its 32 bytes, in hex."""
    return sha256(public_key).hexdigest()[:ID_DIGITS]
