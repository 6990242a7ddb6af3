"""An indexer's table of block headers, read by number: ``blockheaders`` in a PostgreSQL database.

Its timestamps are decimal texts, its fees hexadecimal ones, and only the number has an index. It
belongs to somebody else: the connection is one that can only read.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

import asyncpg
from attrs import evolve

from prover_framework.chain.headers import Header, StoredHeader
from prover_framework.chain.source import CONFIRMATIONS
from prover_framework.chain.whole_header import BEFORE_LONDON, FIELDS, block_hash, whole_header
from prover_framework.errors import HeaderInvalid, HeaderRule, SourceError, SourceUnreachable
from prover_framework.store.postgres import public_name

TABLE = "blockheaders"

# Rows that are read at once: some 2 MB, most of it logs blooms.
PAGE_ROWS = 1000

# Reading a page takes milliseconds; a server that hangs is given up after this time.
TIMEOUT_SECONDS = 30.0

COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""
NEWEST = f"SELECT MAX(number) FROM {TABLE}"  # noqa: S608 - no value of anyone's
TIMESTAMP = f"SELECT timestamp FROM {TABLE} WHERE number = $1"  # noqa: S608
PAGE = f"""
SELECT * FROM {TABLE} WHERE number BETWEEN $1 AND $2 ORDER BY number
"""  # noqa: S608

HASH_CHARACTERS = 66

_NEEDED: Final = ("number", "timestamp", "base_fee_per_gas")
_HASHES: Final = ("block_hash", "parent_hash")

# What is kept of a header, by column. A block's own hash is no field of it, but has the same form.
_KEPT: Final = {
    field.name: field
    for field in FIELDS
    if field.name in (*_NEEDED, "gas_used", "gas_limit", "parent_hash")
}
_KEPT["block_hash"] = evolve(_KEPT["parent_hash"], name="block_hash")

# What keeps the server from answering now, and not for ever.
_PASSING: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver says of a connection that breaks just as it is used.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    OSError,
    TimeoutError,
)


@asynccontextmanager
async def open_indexer(
    url: str, *, confirmations: int = CONFIRMATIONS, light: bool = False
) -> AsyncIterator["IndexerTable"]:
    """Open an indexer's database for the body.

    Args:
        url: ``postgres://USER:PASSWORD@HOST:PORT/NAME``.
        confirmations: How many blocks have to follow one before it is taken.
        light: Take only what the base fee needs, which can not be verified.

    Raises:
        SourceError: It can not be used, and why.
    """
    name = f"the indexer {public_name(url)}"
    with _refusals(name):
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=1,
            timeout=TIMEOUT_SECONDS,
            command_timeout=TIMEOUT_SECONDS,
            server_settings={
                "application_name": "prover",
                "default_transaction_read_only": "on",
            },
        )
    async with pool:
        with _refusals(name):
            columns = {row["attname"] for row in await pool.fetch(COLUMNS, TABLE)}
        if lacking := [column for column in _NEEDED if column not in columns]:
            what = f"column {lacking[0]} in its table {TABLE}" if columns else f"table {TABLE}"
            raise SourceError(f"{name} has no {what}")
        yield IndexerTable(pool, name, frozenset(columns), confirmations, light=light)


class IndexerTable:
    """A table as a source of headers; see `prover_framework.chain.source.HeaderSource`."""

    def __init__(
        self,
        pool: Any,
        name: str,
        columns: frozenset[str],
        confirmations: int,
        *,
        light: bool,
    ) -> None:
        self.name = name
        self._pool = pool
        self._confirmations = confirmations
        needed = {field.name for field in FIELDS if not field.later} - {"difficulty"}
        self.whole = not light and needed | {"block_hash"} <= columns
        # Later forks' fields for which the table has no columns.
        self._lacking = tuple(f.name for f in FIELDS if f.later and f.name not in columns)

    async def chain_id(self) -> None:
        """Return nothing: the table does not tell."""

    async def newest(self) -> int | None:
        """Return the newest block with enough others after it."""
        with _refusals(self.name):
            newest: int | None = await self._pool.fetchval(NEWEST)
        if newest is None or newest < self._confirmations:
            return None
        return newest - self._confirmations

    async def timestamp(self, number: int) -> int | None:
        """Look a block's timestamp up."""
        with _refusals(self.name):
            text = await self._pool.fetchval(TIMESTAMP, number)
        try:
            return None if text is None else _timestamp(text)
        except HeaderInvalid as error:
            raise error.at(number) from None

    async def headers(
        self, first: int, last: int
    ) -> AsyncGenerator[Sequence[StoredHeader | Header], None]:
        """Read headers page by page."""
        for begin in range(first, last + 1, PAGE_ROWS):
            numbers = range(begin, min(begin + PAGE_ROWS - 1, last) + 1)
            with _refusals(self.name):
                rows = await self._pool.fetch(PAGE, numbers[0], numbers[-1])
            there = {row["number"] for row in rows}
            missing = next((number for number in numbers if number not in there), None)
            if missing is not None:
                raise SourceError(f"{self.name} lacks block {missing}")
            yield [self._read(row) for row in rows]

    def _read(self, record: Any) -> StoredHeader | Header:
        row = dict(record)
        number = row["number"]
        try:
            if not self.whole:
                return _light(row)
            header = whole_header(row)
        except HeaderInvalid as error:
            raise error.at(number) from None
        encoded = header.encode()
        told, own = str(row["block_hash"]).strip().lower(), block_hash(encoded)
        if told != own:
            raise HeaderInvalid(
                f"is {told[:HASH_CHARACTERS]!a}, and the header's fields have the hash {own}"
                f"{self._hint()}",
                HeaderRule.HASH,
                "block_hash",
                number,
            )
        return StoredHeader(header.light(own), encoded)

    def _hint(self) -> str:
        """Say what a wrong hash can come from, if the table has not all fields that there are."""
        if not self._lacking:
            return ""
        return (
            f"; the table has no column {' or '.join(self._lacking)}: a header that has such a "
            "field can only be taken unverified, with --light"
        )


def _light(row: Mapping[str, object]) -> Header:
    """Return what the base fee needs of a row."""
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    if "base_fee_per_gas" not in given:
        raise HeaderInvalid(BEFORE_LONDON, HeaderRule.FORM, "base_fee_per_gas")
    parsed: dict[str, Any] = {
        column: field.parse(given[column]) for column, field in _KEPT.items() if column in given
    }
    return Header(
        parsed["number"],
        parsed["timestamp"],
        parsed["base_fee_per_gas"],
        parsed.get("gas_used"),
        parsed.get("gas_limit"),
        *(f"0x{parsed[column].hex()}" if column in parsed else None for column in _HASHES),
    )


def _timestamp(text: object) -> int:
    return cast(int, _KEPT["timestamp"].parse(text))


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Say in a sentence what the server or the way to it is to blame for."""
    try:
        yield
    except _PASSING as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SourceUnreachable(
            f"{name} can not be reached: {reason or 'it does not answer in the time allowed'}"
        ) from None
    except (asyncpg.PostgresError, ValueError) as error:
        reason = str(error) if isinstance(error, asyncpg.PostgresError) else "its URL is malformed"
        raise SourceError(f"{name} refused: {reason}") from None
