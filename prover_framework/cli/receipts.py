"""``prover receipt``, ``prover verify`` and ``prover key``: evidence, and what it is worth."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import click
from rich.table import Column, Table
from rich.text import Text

from prover_framework.chain.csv_file import read_headers
from prover_framework.cli.common import console, run, settings, with_runtime
from prover_framework.errors import NoExactForm, ReceiptError
from prover_framework.header_sync import HeaderSync, SyncRange
from prover_framework.jobs import RetryPolicy
from prover_framework.jsontext import dump_json
from prover_framework.model import MAX_INT64
from prover_framework.receipts.checks import Check, CheckName, Outcome, Report
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES, dump_receipt
from prover_framework.receipts.keys import KeyDirectory, PublicKey, pinned_key
from prover_framework.receipts.model import BLOCK_HASH
from prover_framework.receipts.verification import Verifier, hours_wanted
from prover_framework.runtime import Runtime, load_plugins, open_database, open_node
from prover_framework.settings import Settings
from prover_framework.store.database import Database
from prover_framework.store.headers import ChainFacts, HeaderStore
from prover_framework.store.jobs import JobStore
from prover_framework.wire import unstructure

# Ethereum mainnet.
DEFAULT_CHAIN_ID = 1

STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.NOT_POSSIBLE: "yellow",
}


@click.command()
@click.argument("group_id")
@click.argument("proof_type", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file instead of standard output.",
)
def receipt(group_id: str, proof_type: str | None, output: Path | None) -> None:
    """Write the receipt of the group GROUP_ID, or of its proof PROOF_TYPE alone.

    The receipt of a group holds those of its proofs. It is there once all jobs have ended.
    """

    async def read(runtime: Runtime) -> bytes:
        desk = runtime.receipts
        if proof_type is not None:
            return dump_receipt(await desk.of_proof(group_id, proof_type))
        return dump_receipt(await desk.of_group(group_id))

    document = with_runtime(load_plugins(settings()), read)
    if output is None:
        click.echo(document.decode())
    else:
        output.write_bytes(document + b"\n")


@click.command()
@click.argument("target")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="HEX|FILE",
    help="A public key that a signature counts under. May be repeated. Default: those of "
    "PROVER_TRUSTED_KEYS.",
)
@click.option(
    "--headers",
    "headers_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with the headers of this CSV file instead of those of the database.",
)
@click.option(
    "--chain-id",
    type=click.IntRange(1, MAX_INT64),
    default=DEFAULT_CHAIN_ID,
    show_default=True,
    help="Chain that the headers of the file belong to.",
)
@click.option(
    "--rpc-url",
    help="Compare with the headers of this Ethereum node instead of those of the database.",
)
@click.option(
    "--trusted-hash",
    help="Hash of a block after the last hour that you know to be real; headers must lead to it.",
)
@click.option(
    "--only",
    "only",
    multiple=True,
    type=click.Choice([name.value for name in CheckName]),
    help="Ask for this check alone to pass. May be repeated. Default: all that can be made with "
    "what is given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def verify(
    target: str,
    keys: tuple[str, ...],
    headers_file: Path | None,
    chain_id: int,
    rpc_url: str | None,
    trusted_hash: str | None,
    only: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Check the receipt TARGET: a file, or the id of a job group of this service.

    Nothing that the receipt says of itself counts for it: a signature counts under the keys that
    you name, data is compared with your headers, results are computed again with the plugins that
    are installed. The exit status is 0 only when all that was asked for passed and nothing failed.
    """
    if trusted_hash is not None and not _is_hash(trusted_hash):
        raise click.BadParameter(
            f"{trusted_hash!r} is not 0x and 64 hex digits", param_hint="--trusted-hash"
        )
    if headers_file is not None and rpc_url is not None:
        raise click.UsageError("give either --headers or --rpc-url, not both")
    chosen = settings()
    plugins = load_plugins(chosen)
    pinned = tuple(pinned_key(key) for key in keys or chosen.trusted_keys)
    asked = frozenset(map(CheckName, only)) or None
    trusted = trusted_hash.lower() if trusted_hash else None

    async def check(runtime: Runtime | None, body: bytes) -> Report:
        if headers_file is not None:
            opened = _headers_of_file(chosen, headers_file, chain_id)
        elif rpc_url is not None:
            asked_node = attrs.evolve(chosen, rpc_url=rpc_url)
            opened = _headers_of_node(asked_node, body, trusted)
        else:
            opened = _headers_of_runtime(runtime)
        async with opened as (headers, source):
            verifier = Verifier(
                settings=chosen,
                plugins=plugins,
                headers=headers,
                source=source,
                pinned=pinned,
                trusted_hash=trusted,
                processes=os.cpu_count() or 1,
            )
            return await verifier.verify(body, asked)

    body = _read(Path(target)) if Path(target).is_file() else None

    async def check_here(runtime: Runtime) -> Report:
        if body is not None:
            return await check(runtime, body)
        return await check(runtime, dump_receipt(await runtime.receipts.of_group(target)))

    if body is not None and (headers_file is not None or rpc_url is not None):
        # Nothing of this service is needed, so nothing of it is opened.
        report = run(check(None, body))
    else:
        report = with_runtime(plugins, check_here)
    _show(report, as_json=as_json)
    if not report.accepted:
        raise click.exceptions.Exit(1)


@click.group()
def key() -> None:
    """Manage the keys that sign receipts.

    They are files in PROVER_KEY_DIR. The private key is used by worker and API of this machine;
    back it up nowhere, and rotate it when in doubt.
    """


@key.command()
def create() -> None:
    """Make the first key. From now on new receipts are signed."""
    _show_key(_keys().create())


@key.command()
def rotate() -> None:
    """Make a new key that signs from now on; the old public key stays, to check old receipts."""
    _show_key(_keys().rotate())


@key.command("list")
def list_() -> None:
    """List the public keys, the oldest first."""
    table = Table(Column("key", no_wrap=True), "created", "retired")
    for public in _keys().public_keys():
        table.add_row(public.id, public.created_at, public.retired_at or "")
    console().print(table)


@key.command()
@click.argument("key_id", required=False)
def show(key_id: str | None) -> None:
    """Print the public key KEY_ID, or the newest, for those who check receipts."""
    keys = _keys().public_keys()
    found = [public for public in keys if key_id in (None, public.id)]
    if not found:
        raise click.UsageError(
            f"there is no key {key_id}"
            if key_id
            else 'there is no key; "prover key create" makes one'
        )
    _show_key(found[-1])


def _keys() -> KeyDirectory:
    return KeyDirectory(settings().key_path)


def _show_key(public: PublicKey) -> None:
    click.echo(dump_json(unstructure(public)))


def _is_hash(text: str) -> bool:
    return re.fullmatch(BLOCK_HASH, text.lower()) is not None


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        # One byte more than is read shows that there is too much.
        return stream.read(MAX_RECEIPT_BYTES + 1)


Opened = tuple[HeaderStore | None, str]


@asynccontextmanager
async def _headers_of_runtime(runtime: Runtime | None) -> AsyncIterator[Opened]:
    yield (runtime.headers if runtime else None), "this database"


@asynccontextmanager
async def _headers_of_file(chosen: Settings, file: Path, chain_id: int) -> AsyncIterator[Opened]:
    async with _database_aside(chosen) as database:
        headers = HeaderStore(database)
        facts = ChainFacts(chain_id, simulated=False, source=f"file {file.name}")
        await headers.import_headers(read_headers(file), facts)
        yield headers, file.name


@asynccontextmanager
async def _headers_of_node(
    chosen: Settings, body: bytes, trusted: str | None
) -> AsyncIterator[Opened]:
    """Fetch the hours that a receipt is about, a block at each of their ends, and the trusted one.

    The node is asked for hours, not for the blocks that the receipt names.
    """
    try:
        hours = hours_wanted(body)
    except (NoExactForm, ReceiptError):
        # It will be refused for its form, and nobody need be asked for its headers.
        yield None, "the node"
        return
    async with _database_aside(chosen) as database, open_node(chosen) as node:
        headers = HeaderStore(database)
        wanted = SyncRange(from_time=hours.start_timestamp, to_time=hours.end_timestamp)
        sync = HeaderSync(node, headers, JobStore(database, RetryPolicy()))
        await sync.run(wanted)
        number = None if trusted is None else await node.number_of(trusted)
        newest = await headers.newest()
        if number is not None and newest is not None and number > newest.number:
            await sync.run(SyncRange(to_block=number))
        yield headers, "the node"


@asynccontextmanager
async def _database_aside(chosen: Settings) -> AsyncIterator[Database]:
    """Open a database that nobody keeps: headers are read from it as from any other."""
    with TemporaryDirectory(prefix="prover-verify-") as directory:
        aside = attrs.evolve(chosen, data_dir=Path(directory), database_url=None)
        async with open_database(aside) as database:
            yield database


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(dump_json(unstructure(report)))
        return
    table = Table(
        Column("check", no_wrap=True),
        Column("of", overflow="fold"),
        Column("outcome", no_wrap=True),
        Column("reason", overflow="fold"),
    )
    for check in report.checks:
        table.add_row(
            f"{check.check} {check.detail}".strip(),
            check.subject,
            Text(check.outcome.value, STYLES[check.outcome]),
            Text(_reason(check)),
        )
    console().print(table)
    console().print(report.strength)


def _reason(check: Check) -> str:
    return check.reason if check.asked else f"(not asked for) {check.reason}"


COMMANDS = (receipt, verify, key)
