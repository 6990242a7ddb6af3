"""Moving what a database holds to another one: groups, receipts, attachments and headers.

What is written is a line of JSON for each piece, and the same from either engine. A group is one
piece of several lines, and is taken in whole or not at all.
"""

import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from tortoise.models import Model

from prover_framework.database import tables
from prover_framework.database.database import Database
from prover_framework.database.engine import Connection, Row
from prover_framework.database.orm import complete_models
from prover_framework.errors import TransferError
from prover_framework.model.names import MAX_INT64, namespace_of

FORMAT = "prover-framework/export/1"

# Rows in a line, and in a transaction of what is taken in: a fraction of a second.
ROWS_AT_ONCE = 1000

# Groups that are read, and taken in, in one transaction.
GROUPS_AT_ONCE = 50

# One header of 1,000 rows, or a piece of an attachment, is well below it.
MAX_LINE_BYTES = 64 * 2**20

# Tables of the chain in the order in which they are moved; each is a table of its own.
CHAIN = tables.OF_CHAIN

# What belongs to a group, in the order in which rows refer to each other; the condition says which.
OF_GROUP: tuple[tuple[type[Model], str], ...] = (
    (tables.JobGroup, "id = ?"),
    (tables.Job, "group_id = ?"),
    (tables.Dependency, "job_id IN (SELECT id FROM job WHERE group_id = ?)"),
    (tables.Seal, "job_id IN (SELECT id FROM job WHERE group_id = ?)"),
    (tables.SealJob, "group_id = ?"),
    (tables.Attempt, "job_id IN (SELECT id FROM job WHERE group_id = ?)"),
    (
        tables.Attachment,
        "draft_of IS NULL AND job_id IN (SELECT id FROM job WHERE group_id = ?)",
    ),
)

_MODELS: tuple[type[Model], ...] = (
    *CHAIN,
    *(model for model, _ in OF_GROUP),
    tables.AttachmentChunk,
)

MODELS: Mapping[str, type[Model]] = {
    model._meta.db_table: model  # noqa: SLF001 - where the ORM keeps it
    for model in _MODELS
}

NEXT_GROUPS = """
SELECT id, created_at FROM job_group WHERE (created_at, id) > (?, ?)
ORDER BY created_at, id LIMIT ?
"""
CHUNKS_OF = "SELECT id FROM attachment_chunk WHERE attachment_id = ? ORDER BY number"

Line = dict[str, Any]


@frozen
class Moved:
    """What was moved.

    Args:
        groups: How many groups.
        there: How many of the groups were there already and left as they are.
        headers: How many headers.
    """

    groups: int = 0
    there: int = 0
    headers: int = 0


@frozen
class _Table:
    """A table as it is moved: without numbers that each database gives by itself."""

    name: str
    columns: tuple[str, ...]
    kinds: Mapping[str, type[Any]] = field(repr=False)
    optional: frozenset[str] = field(repr=False)

    def select(self, rest: str) -> str:
        return f"SELECT {', '.join(self.columns)} FROM {self.name} {rest}"

    def written(self, row: Row) -> list[Any]:
        """Return a row as JSON has it."""
        return [self._written(name, value) for name, value in zip(self.columns, row, strict=True)]

    def _written(self, name: str, value: Any) -> Any:
        kind = self.kinds[name]
        if kind is bytes:
            return base64.b64encode(value).decode()
        # One of the engines has numbers for truth.
        return bool(value) if kind is bool and value is not None else value

    def read(self, values: Any) -> list[Any]:
        """Return a row as databases have it.

        Raises:
            TypeError, ValueError: It is no row of this table. SQLite would store it all the same.
        """
        if not isinstance(values, list):
            raise TypeError(values)
        return [self._read(name, value) for name, value in zip(self.columns, values, strict=True)]

    def _read(self, name: str, value: Any) -> Any:
        kind = self.kinds[name]
        if value is None and name in self.optional:
            return None
        if kind is bytes:
            return base64.b64decode(value, validate=True)
        if type(value) is not kind or (kind is int and abs(value) > MAX_INT64):
            raise TypeError(name)
        if kind is str:
            # Neither NUL nor half a pair of surrogates is text for a database.
            value.encode()
            if "\0" in value:
                raise ValueError(name)
        return value


def _table(model: type[Model]) -> _Table:
    meta = model._meta  # noqa: SLF001 - where the ORM keeps it
    given = {
        meta.fields_db_projection[name]
        for name, one in meta.fields_map.items()
        if name in meta.fields_db_projection and one.generated
    }
    kinds = {
        meta.fields_db_projection[name]: meta.fields_map[name] for name in meta.fields_db_projection
    }
    # Generated numbers are nobody's business elsewhere; those of blocks and hours are given.
    return _Table(
        name=meta.db_table,
        columns=tuple(name for name in kinds if name not in given or meta.db_table in _OWN_NUMBERS),
        kinds={name: one.field_type for name, one in kinds.items()},
        optional=frozenset(name for name, one in kinds.items() if one.null),
    )


_OWN_NUMBERS = frozenset(
    model._meta.db_table  # noqa: SLF001 - where the ORM keeps it
    for model in tables.OF_CHAIN
)


async def export(
    database: Database, *, with_headers: bool = True
) -> AsyncIterator[tuple[Line, Moved]]:
    """Read everything, a line at a time, with how much that is so far.

    Raises:
        StoreError: The database cannot be used.
    """
    await complete_models()
    yield {"format": FORMAT}, Moved()
    moved = Moved()
    if with_headers:
        for model in CHAIN:
            async for line in _whole_table(database, _table(model)):
                count = len(line["values"]) if model is tables.BlockHeader else 0
                moved = Moved(0, 0, moved.headers + count)
                yield line, moved
    after: tuple[int, str] = (-1, "")
    while rows := await database.read(NEXT_GROUPS, [*after, GROUPS_AT_ONCE]):
        for row in rows:
            moved = Moved(moved.groups + 1, 0, moved.headers)
            async for line in _group(database, row["id"]):
                yield line, moved
        after = (rows[-1]["created_at"], rows[-1]["id"])
    yield {"end": {"groups": moved.groups, "headers": moved.headers}}, moved


async def _whole_table(database: Database, table: _Table) -> AsyncIterator[Line]:
    # Each has a number as its key.
    key, after = table.columns[0], -1
    while rows := await database.read(
        table.select(f"WHERE {key} > ? ORDER BY {key} LIMIT ?"), [after, ROWS_AT_ONCE]
    ):
        yield {
            "table": table.name,
            "columns": list(table.columns),
            "values": [table.written(row) for row in rows],
        }
        after = rows[-1][key]


async def _group(database: Database, group_id: str) -> AsyncIterator[Line]:
    attachments: list[str] = []
    async with database.transaction() as connection:
        lines: list[Line] = []
        for model, condition in OF_GROUP:
            table = _table(model)
            rows = await connection.fetch(table.select(f"WHERE {condition}"), [group_id])
            if model is tables.Attachment:
                attachments = [row["id"] for row in rows]
            if rows:
                lines.append(
                    {
                        "table": table.name,
                        "columns": list(table.columns),
                        "values": [table.written(row) for row in rows],
                    }
                )
    yield {"group": group_id}
    for line in lines:
        yield line
    chunk = _table(tables.AttachmentChunk)
    for attachment in attachments:
        for row in await database.read(CHUNKS_OF, [attachment]):
            (one,) = await database.read(chunk.select("WHERE id = ?"), [row["id"]])
            yield {
                "table": chunk.name,
                "columns": list(chunk.columns),
                "values": [chunk.written(one)],
            }
    yield {"end_of_group": group_id}


async def take_in(
    database: Database, lines: Iterable[bytes], *, with_headers: bool = True
) -> Moved:
    """Store what was exported; groups that are there already are left as they are.

    Args:
        database: Where it is stored.
        lines: The lines, from the first on.
        with_headers: Whether headers are taken in, where there are none yet.

    Raises:
        TransferError: It is no export, one of another version, or one that ends too early; or there
            are headers already. What was taken in before stays, and a second try goes on.
        StoreError: The database cannot be used.
    """
    await complete_models()
    reader = _Reader(database, with_headers=with_headers)
    number = 0
    for number, text in enumerate(lines, start=1):
        await reader.take(_parsed(text, number), number)
    if not reader.has_ended:
        raise TransferError(f"the export is cut off after line {number}: make it again")
    return reader.moved


def _parsed(text: bytes, number: int) -> Line:
    try:
        line = json.loads(text) if len(text) <= MAX_LINE_BYTES else None
    except (ValueError, RecursionError):
        line = None
    if isinstance(line, dict):
        return line
    raise TransferError(f"line {number} is no line of an export")


class _Reader:
    """Takes in one line after the other; a group in one transaction."""

    def __init__(self, database: Database, *, with_headers: bool) -> None:
        self.moved = Moved()
        self.has_ended = False
        self._database = database
        self._with_headers = with_headers
        self._begun = False
        self._checked_chain = False
        # The lines of the group that is under way.
        self._group: list[tuple[_Table, list[list[Any]]]] | None = None
        self._group_id = ""

    async def take(self, line: Line, number: int) -> None:
        match line:
            case {"format": kind}:
                if kind != FORMAT:
                    raise TransferError(
                        f"it has the format {kind!r}, and this version reads {FORMAT}"
                    )
                self._begun = True
            case _ if not self._begun or self.has_ended:
                raise TransferError(f"line {number} is no line of an export")
            case {"end": _}:
                self.has_ended = True
            case {"group": str(group_id)}:
                self._group, self._group_id = [], group_id
            case {"end_of_group": _} if self._group is not None:
                await self._store_group(self._group)
                self._group = None
            case {"table": str(name), "columns": list(columns), "values": list(values)}:
                await self._take_rows(name, columns, values, number)
            case _:
                raise TransferError(f"line {number} is no line of an export")

    async def _take_rows(
        self, name: str, columns: list[Any], values: list[Any], number: int
    ) -> None:
        model = MODELS.get(name)
        table = None if model is None else _table(model)
        if table is None or list(table.columns) != columns:
            raise TransferError(
                f"line {number} has a table {name!r} that this version has otherwise: export with "
                "the same version"
            )
        try:
            rows = [table.read(row) for row in values]
        except (ValueError, TypeError):
            raise TransferError(f"line {number} has rows that are none of {name!r}") from None
        if self._group is not None:
            if model in CHAIN:
                raise TransferError(f"line {number} has rows of {name!r} within a group")
            self._group.append((table, rows))
        elif model in CHAIN and self._with_headers:
            await self._store_headers(table, rows)

    async def _store_headers(self, table: _Table, rows: list[list[Any]]) -> None:
        if not self._checked_chain:
            if await self._database.read("SELECT 1 FROM block_header LIMIT 1"):
                raise TransferError(
                    "there are headers already: --no-headers takes in the groups alone"
                )
            await self._database.write("DELETE FROM chain WHERE id >= 0")
            self._checked_chain = True
        async with self._database.transaction() as connection:
            await connection.copy(table.name, table.columns, rows)
        if table.name == "block_header":
            self.moved = Moved(self.moved.groups, self.moved.there, self.moved.headers + len(rows))
        await self._database.let_others_write()

    async def _store_group(self, parts: Sequence[tuple[_Table, list[list[Any]]]]) -> None:
        _require_own(self._group_id, parts)
        groups, there = self.moved.groups, self.moved.there
        async with self._database.transaction() as connection:
            if await _is_there(connection, self._group_id):
                there += 1
            else:
                groups += 1
                for table, rows in parts:
                    await connection.copy(table.name, table.columns, rows)
        self.moved = Moved(groups, there, self.moved.headers)


# What the rows of a group's tables belong to: the table, its column there, and its own.
OWNERS: Mapping[str, tuple[str, str]] = {
    "job": ("group_id", "job_group.id"),
    "dependency": ("job_id", "job.id"),
    "seal": ("job_id", "job.id"),
    "seal_job": ("group_id", "job_group.id"),
    "attempt": ("job_id", "job.id"),
    "attachment": ("job_id", "job.id"),
    "attachment_chunk": ("attachment_id", "attachment.id"),
}


def _require_own(group_id: str, parts: Sequence[tuple[_Table, list[list[Any]]]]) -> None:
    """Require that all rows are of one group: else an export could add to what is there.

    Raises:
        TransferError: Some are not.
    """
    own: dict[str, set[Any]] = {"job_group.id": {group_id}}
    for table, rows in parts:
        column, owner = OWNERS.get(table.name, ("id", "job_group.id"))
        named = [(column, own.get(owner, set())), ("namespace", {namespace_of(group_id)})]
        if any(
            not {row[table.columns.index(name)] for row in rows} <= allowed
            for name, allowed in named
            if name in table.columns
        ):
            raise TransferError(f"group {group_id!r} has rows of {table.name!r} that are not its")
        if "id" in table.columns:
            key = table.columns.index("id")
            own.setdefault(f"{table.name}.id", set()).update(row[key] for row in rows)


async def _is_there(connection: Connection, group_id: str) -> bool:
    return bool(await connection.fetch("SELECT 1 FROM job_group WHERE id = ?", [group_id]))
