"""``prover backup``, ``export`` and ``import``: copies, and moves to another database."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from prover_framework.app import Runtime
from prover_framework.cli.common import settings, with_runtime
from prover_framework.database.backup import back_up
from prover_framework.errors import SettingsError, TransferError
from prover_framework.files import whole_file
from prover_framework.jobs.transfer import MAX_LINE_BYTES, Moved, export, take_in
from prover_framework.plugins.registry import NO_PLUGINS
from prover_framework.seals.keys import KeyDirectory, PublicKey
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.settings import SQLITE_SCHEME, Settings

GZIP_SUFFIX = ".gz"


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Copy the embedded database to FILE, while the service runs.

    The copy is one file, as the database was at one moment. Keys are not in it: they are files in
    PROVER_KEY_DIR. PostgreSQL has tools of its own, such as pg_dump.
    """
    chosen = settings()
    source = _embedded(chosen)
    size = back_up(source, file)
    click.echo(f"{file}: {size:,} bytes; the keys in {chosen.key_path} are not in it")


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--no-headers", is_flag=True, help="Leave out the headers.")
def export_(file: Path, *, no_headers: bool) -> None:
    """Write groups, receipts, attachments, headers and public keys to FILE, for "prover import".

    FILE is compressed where its name ends in .gz. Stop the workers, or pause their queues, so that
    nothing changes meanwhile. No private key is in it.
    """
    keys = KeyDirectory(settings().key_path).public_keys()

    async def write(runtime: Runtime) -> Moved:
        moved = Moved()
        with whole_file(file) as raw, _compressed(file, raw) as out:
            async for line, so_far in export(runtime.database, with_headers=not no_headers):
                if "end" in line:
                    for key in keys:
                        out.write(_text({"public_key": unstructure(key)}))
                out.write(_text(line))
                moved = so_far
        return moved

    moved = with_runtime(NO_PLUGINS, write)
    click.echo(f"{moved.groups} groups, {moved.headers} headers, {len(keys)} public keys")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--no-headers", is_flag=True, help="Leave out the headers.")
def import_(file: Path, *, no_headers: bool) -> None:
    """Take in FILE, which "prover export" of the same version has written.

    Groups that are there already are left as they are, so a second try goes on where the first
    ended. Headers are taken in where there are none yet. Jobs that have not ended go on here.
    """
    keys = KeyDirectory(settings().key_path)
    found: list[PublicKey] = []

    async def read(runtime: Runtime) -> Moved:
        with file.open("rb") as raw, _decompressed(file, raw) as lines:
            return await take_in(
                runtime.database, _without_keys(lines, found), with_headers=not no_headers
            )

    moved = with_runtime(NO_PLUGINS, read, stores=True)
    new = sum(keys.keep(key) for key in found)
    there = f" ({moved.there} were there already)" if moved.there else ""
    click.echo(f"{moved.groups} groups{there}, {moved.headers} headers, {new} public keys")


def _embedded(chosen: Settings) -> Path:
    if chosen.database_url is None:
        return chosen.sqlite_path
    if chosen.database_url.startswith(SQLITE_SCHEME):
        return Path(chosen.database_url.removeprefix(SQLITE_SCHEME))
    raise SettingsError(
        'DATABASE_URL names a server, which has tools of its own: "pg_dump --format=custom", or a '
        "base backup"
    )


def _text(line: object) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


@contextmanager
def _compressed(file: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    if file.suffix != GZIP_SUFFIX:
        yield raw
        return
    with gzip.open(raw, "wb", compresslevel=6) as out:
        yield out  # type: ignore[misc]


@contextmanager
def _decompressed(file: Path, raw: IO[bytes]) -> Iterator[Iterator[bytes]]:
    try:
        if file.suffix == GZIP_SUFFIX:
            with gzip.open(raw, "rb") as lines:
                yield _lines(lines)  # type: ignore[arg-type]
        else:
            yield _lines(raw)
    except (EOFError, gzip.BadGzipFile) as error:
        raise TransferError(f"{file} is cut off or no file of gzip: {error}") from None


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Read lines, none of them longer than one may be."""
    while text := stream.readline(MAX_LINE_BYTES + 1):
        yield text


def _without_keys(lines: Iterator[bytes], found: list[PublicKey]) -> Iterator[bytes]:
    """Take out the lines with public keys, which are for the directory of keys."""
    for number, text in enumerate(lines, start=1):
        if text.startswith(b'{"public_key":'):
            try:
                found.append(structure(json.loads(text)["public_key"], PublicKey))
            except ValueError:
                raise TransferError(f"line {number} is no public key") from None
        else:
            yield text


COMMANDS = (backup, export_, import_)
