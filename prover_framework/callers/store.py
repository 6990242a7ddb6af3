"""Keys of the API in the database."""

from collections.abc import Sequence

from attrs import frozen

from prover_framework.callers.keys import ApiKey, KeySpec, Secret, new_secret
from prover_framework.database.database import Database
from prover_framework.database.engine import Row, rows_value
from prover_framework.errors import ApiKeyError
from prover_framework.model.callers import Scope

# All keys are held in memory, so that a guess costs no read. This many are some hundred kilobytes.
MAX_KEYS = 1000

# Rows of revoked keys are shown, newest first, up to this.
MAX_LISTED = 5000

COLUMNS = (
    "id, digest, name, namespace, scopes, requests_per_minute, verifications_per_minute, "
    "open_groups, max_priority, created_at, expires_at, revoked_at, last_used_at"
)

INSERT = f"""
INSERT INTO api_key ({COLUMNS})
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, moment.now, moment.now + CAST(? AS BIGINT), NULL, NULL
FROM (SELECT NOW_MS AS now) AS moment
RETURNING {COLUMNS}
"""

UNREVOKED = f"SELECT {COLUMNS} FROM api_key WHERE revoked_at IS NULL ORDER BY id LIMIT {MAX_KEYS}"

COUNT = f"""
SELECT COUNT(*) AS count FROM (
    SELECT id FROM api_key WHERE revoked_at IS NULL LIMIT {MAX_KEYS}
) AS unrevoked
"""

ANY = "SELECT id FROM api_key LIMIT 1"

LISTED = f"SELECT {COLUMNS} FROM api_key ORDER BY created_at DESC, id LIMIT {MAX_LISTED}"

REVOKE = f"""
UPDATE api_key SET revoked_at = COALESCE(revoked_at, NOW_MS) WHERE id = ? RETURNING {COLUMNS}
"""

NOTE_USE = """
UPDATE api_key SET last_used_at = used.at FROM ROWS(?) AS used(key_id TEXT, at BIGINT)
WHERE id = used.key_id AND id = ANY(?) AND (last_used_at IS NULL OR last_used_at < used.at)
RETURNING id
"""


@frozen
class KeysNow:
    """The keys that are not revoked, at a time by the database's clock in milliseconds.

    Args:
        at: When.
        keys: The keys, by id.
        any_made: Whether any key was ever made, revoked ones included.
    """

    at: int
    keys: dict[str, ApiKey]
    any_made: bool


class ApiKeyStore:
    """Makes, lists and revokes keys of the API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, spec: KeySpec) -> tuple[Secret, ApiKey]:
        """Make a key; what is secret of it is to be had from here alone.

        Raises:
            ApiKeyError: There are too many.
        """
        async with self._database.transaction() as connection:
            await connection.lock("api keys")
            (count,) = await connection.fetch(COUNT)
            if count["count"] >= MAX_KEYS:
                raise ApiKeyError(f"there are {MAX_KEYS} keys, the limit; revoke some")
            secret = new_secret()
            (row,) = await connection.fetch(
                INSERT,
                [
                    secret.id,
                    secret.digest,
                    spec.name,
                    spec.namespace,
                    ",".join(scope for scope in Scope if scope in spec.scopes),
                    spec.requests_per_minute,
                    spec.verifications_per_minute,
                    spec.open_groups,
                    spec.max_priority,
                    None if spec.seconds is None else spec.seconds * 1000,
                ],
            )
        return secret, _key(row)

    async def list(self) -> tuple[int, list[ApiKey]]:
        """Return the time in milliseconds, and the keys, the newest first."""
        rows = await self._database.read(LISTED)
        return await self._database.now_ms(), list(map(_key, rows))

    async def revoke(self, key_id: str) -> ApiKey:
        """Make a key worthless; what it has submitted stays.

        Raises:
            ApiKeyError: There is no such key.
        """
        rows = await self._database.write(REVOKE, [key_id])
        if not rows:
            raise ApiKeyError(f'there is no API key {key_id!r}; "prover key api list" has them')
        return _key(rows[0])

    async def now(self) -> KeysNow:
        """Return the keys that are not revoked."""
        at = await self._database.now_ms()
        keys = {key.id: key for key in map(_key, await self._database.read(UNREVOKED))}
        return KeysNow(at, keys, any_made=bool(keys or await self._database.read(ANY)))

    async def note_use(self, used: dict[str, int]) -> None:
        """Note when keys were used last, by their ids."""
        rows = [{"key_id": id_, "at": at} for id_, at in used.items()]
        await self._database.write(NOTE_USE, [rows_value(rows), sorted(used)])


def _key(row: Row) -> ApiKey:
    values: Sequence[object] = list(row)
    named = dict(zip(COLUMNS.split(", "), values, strict=True))
    named["scopes"] = frozenset(map(Scope, str(named["scopes"]).split(",")))
    return ApiKey(**named)  # type: ignore[arg-type]
