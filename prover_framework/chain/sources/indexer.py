"""An indexer's table of block headers, read by number: ``blockheaders`` in a PostgreSQL database.

Its columns may have other names and types, as indexers differ: timestamps as decimal texts, numbers
or times, fees as hexadecimal texts or numbers, hashes as texts or bytes. Only the number has an
index. It
belongs to somebody else: the connection is one that can only read.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, cast

import asyncpg
from attrs import evolve, frozen

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import BEFORE_LONDON, FIELDS, encode_header
from prover_framework.chain.sources.base import CONFIRMATIONS
from prover_framework.chain.sources.column_names import column_of
from prover_framework.database.engine import Bounds
from prover_framework.database.postgres_connections import Connections, Lane, Unusable
from prover_framework.errors import HeaderInvalid, HeaderRule, SourceError, SourceUnreachable
from prover_framework.urls import UrlError, parse_postgres_url

TABLE = "blockheaders"

# Rows that are read at once: some 2 MB, most of it logs blooms.
PAGE_ROWS = 1000

# Reading a page takes milliseconds; a server that hangs is given up after this time.
TIMEOUT_SECONDS = 30.0

# What its connections are called among themselves.
LANE = "indexer"

COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""
# With the names that this table has for the columns.
NEWEST = f"SELECT MAX({{number}}) FROM {TABLE}"  # noqa: S608 - no value of anyone's
TIMESTAMP = f"SELECT {{timestamp}} FROM {TABLE} WHERE {{number}} = $1"  # noqa: S608
PAGE = f"""
SELECT {{columns}} FROM {TABLE} WHERE {{number}} BETWEEN $1 AND $2 ORDER BY {{number}}
"""  # noqa: S608

HASH_CHARACTERS = 66

_NEEDED: Final = ("number", "timestamp", "base_fee_per_gas")
_HASHES: Final = ("block_hash", "parent_hash")
_OWN_NAMES: Final = {"block_hash", *(field.name for field in FIELDS)}

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
        light: Take only what the base fee needs, which cannot be verified.

    Raises:
        SourceError: It cannot be used, and why.
    """
    try:
        parsed = parse_postgres_url(url, writes=False)
    except UrlError as error:
        raise SourceError(f"the URL of the indexer {error}") from None
    name = f"the indexer {parsed.public}"
    connections = Connections(
        parsed, {LANE: Lane(1, read_only=True)}, Bounds(TIMEOUT_SECONDS), writable=False
    )
    table = _Table(connections, name)
    try:
        columns = _columns([row["attname"] for row in await table.fetch(COLUMNS, TABLE)])
        if lacking := [column for column in _NEEDED if column not in columns]:
            what = f"column {lacking[0]} in its table {TABLE}" if columns else f"table {TABLE}"
            raise SourceError(f"{name} has no {what}")
        yield IndexerTable(table, name, columns, confirmations, light=light)
    finally:
        await connections.close()


@frozen
class _Table:
    """Asks the server, one call after the other."""

    connections: Connections
    name: str

    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        """Return the rows of a statement.

        Raises:
            SourceError: There are none to be had, and why.
        """
        with _refusals(self.name):
            async with self.connections.lend(LANE) as connection:
                rows: Sequence[Any] = await connection.fetch(statement, *values)
                return rows


class IndexerTable:
    """A table as a source of headers; see `prover_framework.chain.sources.base.HeaderSource`."""

    def __init__(
        self,
        table: _Table,
        name: str,
        columns: Mapping[str, str],
        confirmations: int,
        *,
        light: bool,
    ) -> None:
        self.name = name
        self._table = table
        self._confirmations = confirmations
        needed = {field.name for field in FIELDS if not field.later} - {"difficulty"}
        self.whole = not light and needed | {"block_hash"} <= set(columns)
        self._columns = columns
        # Later forks' fields for which the table has no columns.
        self._lacking = tuple(f.name for f in FIELDS if f.later and f.name not in columns)

    async def chain_id(self) -> None:
        """Return nothing: the table does not tell."""

    async def newest(self) -> int | None:
        """Return the newest block with enough others after it."""
        ((newest,),) = await self._table.fetch(self._statement(NEWEST))
        if newest is None or newest < self._confirmations:
            return None
        return int(newest - self._confirmations)

    async def timestamp(self, number: int) -> int | None:
        """Look a block's timestamp up."""
        rows = await self._table.fetch(self._statement(TIMESTAMP), number)
        try:
            return _timestamp(rows[0][0]) if rows and rows[0][0] is not None else None
        except HeaderInvalid as error:
            raise error.at(number) from None

    async def headers(
        self, first: int, last: int
    ) -> AsyncGenerator[Sequence[EncodedHeader | Header], None]:
        """Read headers page by page."""
        for begin in range(first, last + 1, PAGE_ROWS):
            numbers = range(begin, min(begin + PAGE_ROWS - 1, last) + 1)
            rows = await self._table.fetch(self._statement(PAGE), numbers[0], numbers[-1])
            there = {row["number"] for row in rows}
            missing = next((number for number in numbers if number not in there), None)
            if missing is not None:
                # Rows may come out of order; whoever follows looks again.
                raise SourceUnreachable(f"{self.name} lacks block {missing}")
            yield [self._read(row) for row in rows]

    def _statement(self, form: str) -> str:
        return form.format(
            columns=", ".join(
                f"{_quoted(name)} AS {column}" for column, name in self._columns.items()
            ),
            number=_quoted(self._columns["number"]),
            timestamp=_quoted(self._columns["timestamp"]),
        )

    def _read(self, record: Any) -> EncodedHeader | Header:
        row = {column: _plain(value) for column, value in record.items()}
        number = cast(int, row["number"])
        try:
            if not self.whole:
                return _light(row)
            encoded = encode_header(row)
        except HeaderInvalid as error:
            raise error.at(number) from None
        told, own = _hash_text(row["block_hash"]), encoded.header.block_hash
        if told != own:
            raise HeaderInvalid(
                f"is {told[:HASH_CHARACTERS]!a}, and the header's fields have the hash {own}"
                f"{self._hint()}",
                HeaderRule.HASH,
                "block_hash",
                number,
            )
        return encoded

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


def _timestamp(value: object) -> int:
    return cast(int, _KEPT["timestamp"].parse(_plain(value)))


def _columns(names: Sequence[str]) -> dict[str, str]:
    """Return what the columns of a header are called in the table; their own names come first."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name not in _OWN_NAMES, name)):
        column = column_of(name)
        if column is not None:
            found.setdefault(column, name)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: object) -> object:
    """Return an integer for a time or a NUMERIC, and anything else as it is."""
    match value:
        case datetime():
            # A column without a zone holds UTC in every indexer that is known.
            aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
            return int(aware.timestamp())
        case Decimal() if value == value.to_integral_value():
            return int(value)
        case _:
            return value


def _hash_text(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value).strip().lower()


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Say in a sentence what the server or the way to it is to blame for."""
    try:
        yield
    except _PASSING as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SourceUnreachable(
            f"{name} cannot be reached: {reason or 'it does not answer in the time allowed'}"
        ) from None
    except Unusable as error:
        raise SourceError(f"{name} cannot be used: {error}") from None
    except asyncpg.PostgresError as error:
        raise SourceError(f"{name} refused: {error}") from None
