"""What a key of the API is: an id to find it by, and a secret of which a digest is kept."""

import hashlib
import hmac
import re
import secrets

from attrs import field, frozen
from attrs.validators import ge, le, matches_re, max_len, min_len, optional

from prover_framework.model.callers import Scope
from prover_framework.model.names import DEFAULT_NAMESPACE, NAMESPACE
from prover_framework.model.priorities import HIGHEST_PRIORITY, LOWEST_PRIORITY, USUAL_PRIORITY

# What is found in a log or a repository by its beginning can be told to its owner.
PREFIX = "prover"

ID_BYTES = 6
SECRET_BYTES = 32

KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_[0-9a-f]{{{2 * SECRET_BYTES}}}")

MAX_NAME = 80

# What a key may do if nothing else is said: far more than a client that works, far less than what
# one that does not could.
REQUESTS_PER_MINUTE = 6000
VERIFICATIONS_PER_MINUTE = 60
OPEN_GROUPS = 1000

# Of anything: it has to fit a column.
MOST = 1_000_000


@frozen(kw_only=True)
class KeySpec:
    """What a key is to be.

    Args:
        name: What people call it.
        scopes: What it may be used for; one at least.
        namespace: Where the groups of its user are. Several keys may share one.
        requests_per_minute: How many requests it may make in a minute, of each API process.
        verifications_per_minute: How many of them may verify a receipt.
        open_groups: How many of its groups may have jobs that have not ended.
        max_priority: The highest priority that its groups may have.
        seconds: How long it is valid; None: until it is revoked.
    """

    name: str = field(validator=[min_len(1), max_len(MAX_NAME)])
    scopes: frozenset[Scope] = field(validator=min_len(1))
    namespace: str = field(default=DEFAULT_NAMESPACE, validator=matches_re(NAMESPACE))
    requests_per_minute: int = field(default=REQUESTS_PER_MINUTE, validator=[ge(1), le(MOST)])
    verifications_per_minute: int = field(
        default=VERIFICATIONS_PER_MINUTE, validator=[ge(1), le(MOST)]
    )
    open_groups: int = field(default=OPEN_GROUPS, validator=[ge(1), le(MOST)])
    max_priority: int = field(
        default=USUAL_PRIORITY, validator=[ge(LOWEST_PRIORITY), le(HIGHEST_PRIORITY)]
    )
    seconds: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class ApiKey:
    """A key as it is stored; times in milliseconds since the Unix epoch."""

    id: str
    digest: str = field(repr=False)
    name: str
    namespace: str
    scopes: frozenset[Scope]
    requests_per_minute: int
    verifications_per_minute: int
    open_groups: int
    max_priority: int
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    def state(self, now: int) -> str:
        """Return what has become of it: active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@frozen
class Secret:
    """A new key as its user has it. It is shown once."""

    id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """What is stored of it, in hex."""
        return digest_of(self.text)


def new_secret() -> Secret:
    """Make a key of 256 random bits."""
    id_ = secrets.token_hex(ID_BYTES)
    return Secret(id_, f"{PREFIX}_{id_}_{secrets.token_hex(SECRET_BYTES)}")


def digest_of(text: str) -> str:
    """Return the SHA-256 of a key, in hex. So many random bits need no slower hash."""
    # Headers may hold bytes that are no text.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def id_in(text: str) -> str | None:
    """Return the id in a key that somebody shows; None if it has not the form of one."""
    match = KEY.fullmatch(text)
    return match[1] if match else None


def is_key(text: str, digest: str) -> bool:
    """Tell whether somebody shows the key of a digest, in a time that does not tell how close."""
    return hmac.compare_digest(digest_of(text), digest)
