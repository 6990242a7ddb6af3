"""What a database engine has to offer, and the SQL that both of ours take.

Statements are written once, in PostgreSQL's SQL with some marks of our own:

- ``?`` stands for a value, whatever the engine's own placeholder is,
- ``NOW_MS`` for the time, in milliseconds since the Unix epoch, by the clock that counts; it is
  asked anew for each row, and once for all as ``(SELECT NOW_MS)``, which an index can be searched
  by,
- ``= ANY(?)`` takes a list,
- ``ROWS(?) AS name(column TYPE, ...)`` for a table whose rows come as one value, which
  `rows_value` makes.

An engine rewrites what it says in another way (SQLite locks no rows, so it drops the clauses that
do) and keeps the result, so that a statement costs this once.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from attrs import field, frozen
from attrs.validators import gt

T = TypeVar("T")

MIGRATIONS = "prover_framework.database.migrations"

# Where tortoise's own tool keeps the names of the migrations that were applied.
MIGRATIONS_TABLE = "tortoise_migrations"

# Longer than any statement of a command takes: the sum over eight months of headers takes some
# seconds, and an import on a busy machine waits for another one's lock.
COMMAND_SECONDS = 60.0

# A call of the service is given up after this part of the lease. A sign of life is due after a
# third of it: one that is not answered, and one more on a new connection, take five sixths.
LEASE_PART = 4

# More patience helps no statement of the service, each of which takes milliseconds.
MOST_SECONDS = 10.0

# Less would be too little for a commit on a busy disk. For the shortest lease that the settings
# allow, of one second, it is half of it.
LEAST_SECONDS = 0.5

# What the database is told to give up by itself, as parts of a call's time: a wait for a lock, then
# any statement. What is left is for the way, and only silence lasts to its end.
LOCK_PART = 0.6
STATEMENT_PART = 0.8


@frozen
class Bounds:
    """How long the database may take.

    Args:
        call_seconds: One call, the wait for a connection included. A connection that takes longer
            is thrown away. In a transaction each statement is a call, or all of it.
    """

    call_seconds: float = field(default=COMMAND_SECONDS, validator=gt(0))

    @classmethod
    def below(cls, lease_seconds: float) -> Self:
        """Return the bounds of a service whose workers hold jobs for this long."""
        return cls(max(LEAST_SECONDS, min(MOST_SECONDS, lease_seconds / LEASE_PART)))

    @property
    def lock_seconds(self) -> float:
        """How long the database lets a statement wait for a lock."""
        return self.call_seconds * LOCK_PART

    @property
    def statement_seconds(self) -> float:
        """How long the database lets a statement run."""
        return self.call_seconds * STATEMENT_PART


class Row(Protocol):
    """A row: its values by name or by place, or one after the other."""

    def __getitem__(self, key: str | int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Clock(Protocol):
    """A clock that stands in for the database's own, in tests."""

    @property
    def ms(self) -> int:
        """The time, in milliseconds since the Unix epoch."""
        ...


class Statements(Protocol):
    """Takes statements in the form of this module: a connection, or a part of one."""

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows; see `Connection.fetch`."""
        ...

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values; see `Connection.run_many`."""
        ...


# What is done in one transaction. It awaits its statements, and nothing else.
Body = Callable[[Statements], Coroutine[Any, Any, T]]


class Connection(ABC):
    """A connection that takes statements in the form of this module."""

    @abstractmethod
    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows.

        Raises:
            StoreError: The database refused, and why.
        """

    @abstractmethod
    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values.

        Raises:
            StoreError: The database refused, and why.
        """

    @abstractmethod
    async def copy(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Put many new rows into a table, in the quickest way that the engine has.

        Raises:
            StoreError: The database refused, and why.
        """

    @abstractmethod
    async def lock(self, name: str) -> None:
        """Wait until no other transaction holds this lock; it is let go with the transaction."""


@frozen
class LaneUse:
    """How the connections for one purpose are used.

    Args:
        lane: The purpose.
        used: How many are lent, or being opened.
        idle: How many are open and not lent.
        waiting: How many calls wait for one.
    """

    lane: str
    used: int
    idle: int
    waiting: int


class Engine(Protocol):
    """A kind of database. Everything that only one of them does is behind this."""

    name: str
    """What messages call the database; without a password."""

    writer_name: str
    """The name of the connection that writes."""

    reader_name: str
    """The name of the connection for reads outside of transactions."""

    heartbeat_name: str
    """The name of the connection for signs of life, which wait for nobody."""

    embedded: bool
    """Whether nobody looks after it, so that it makes its tables itself."""

    one_writer: bool
    """Whether transactions that write come one after the other, so that they commit in the order in
    which they have begun."""

    @property
    def where(self) -> Path | str:
        """What it was opened by: a file of SQLite, or a URL with its password."""
        ...

    async def connect(self) -> Mapping[str, Connection]:
        """Connect; return a connection to write, to read and for heartbeats, each by its name."""
        ...

    async def close(self) -> None:
        """Close what was connected, also where only some of it was."""
        ...

    async def write(
        self, client: Connection, statement: str, values: Sequence[object]
    ) -> Sequence[Row]:
        """Run one statement as a transaction of its own."""
        ...

    def transaction(self, client: Connection) -> AbstractAsyncContextManager[Connection]:
        """Begin a transaction; commit it when the body ends, or roll it back if that fails."""
        ...

    async def let_others_write(self, client: Connection) -> bool:
        """Rest between two long transactions where others would not get their turn else.

        Returns:
            Whether it rested.
        """
        ...

    async def transact(self, client: Connection, body: Body[T]) -> T:
        """Run a body in one transaction, as quick as can be; see `Body`."""
        ...

    def give_up(self) -> None:
        """Let every call end at once, now and from now on: nobody waits for them any longer."""
        ...

    def use(self) -> tuple[LaneUse, ...]:
        """Return how its connections are used; none where they are not pooled."""
        ...

    def refusals(self) -> AbstractContextManager[None]:
        """Turn what the database itself is to blame for into a `StoreError` that says why."""
        ...

    async def analyze(self, client: Connection, tables: Sequence[str]) -> None:
        """Look at tables anew after a bulk load, so that queries are planned well."""
        ...

    async def apply_migrations(self, transaction: Connection) -> None:
        """Have the ORM apply all migrations that the schema lacks."""
        ...

    async def has_table(self, connection: Connection, table: str) -> bool:
        """Tell whether there is such a table."""
        ...

    @property
    def log_file(self) -> Path | None:
        """The file that each commit writes to; None where there is none to be seen."""
        ...


def rows_value(values: Sequence[Mapping[str, object]]) -> str:
    """Return rows in the form that ``ROWS(?)`` takes."""
    return json.dumps(values)


def storable(text: str) -> str:
    """Return a text as both engines can keep it: without NUL, and Unicode throughout."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
