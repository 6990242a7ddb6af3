"""``prover receipt``, ``seal`` and ``verify``: evidence, and what it is worth."""

import asyncio
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs
import click
from rich.table import Column, Table
from rich.text import Text

from prover_framework.cli.attachments import attached_in, export, files_of
from prover_framework.cli.common import console, run, settings, stored, with_runtime
from prover_framework.cli.operating import (
    chosen_settings,
    installed_plugins,
    namespace_option,
    stored_group,
    url_option,
    with_operations,
)
from prover_framework.model.findings import Outcome
from prover_framework.model.names import MAX_INT64
from prover_framework.model.receipts import BLOCK_HASH
from prover_framework.operations import Operations
from prover_framework.plugins.registry import NO_PLUGINS
from prover_framework.proofs.service import RequestedSeals
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES, dump_receipt, read_receipt
from prover_framework.sandbox.loading import load_plugins
from prover_framework.seals.keys import pinned_key
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.settings import VERIFY_WITH_NODE
from prover_framework.text import names_in
from prover_framework.verification.checks import Check, CheckName, Report
from prover_framework.verification.expectations import Expected
from prover_framework.verification.sources import (
    DEFAULT_CHAIN_ID,
    open_file,
    open_source,
    verify_with,
)
from prover_framework.verification.verifier import Verifier

if TYPE_CHECKING:
    from prover_framework.app import Runtime

# Seals take seconds or hours: more often than this nobody wants to know.
LOOK_AGAIN_SECONDS = 0.2

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
@click.option(
    "--attachments",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write what is attached to the results into this directory: DIR/JOB_ID/NAME.",
)
@namespace_option
@url_option
def receipt(
    group_id: str,
    proof_type: str | None,
    output: Path | None,
    attachments: Path | None,
) -> None:
    """Write the receipt of the group GROUP_ID, or of its proof PROOF_TYPE alone.

    The receipt of a group holds those of its proofs. It is there once all jobs have ended.
    """

    async def read(operations: Operations) -> bytes:
        document = await operations.receipt(group_id, proof_type)
        if attachments is not None:
            attached = attached_in(read_receipt(document), proof_type)
            await export(operations, group_id, attached, attachments)
        return document

    # The receipt of a group may be made now, to which plugins add; that of a proof is there.
    document = with_operations(
        installed_plugins if proof_type is None else (lambda: NO_PLUGINS), read
    )
    if output is None:
        click.echo(document.decode())
    else:
        output.write_bytes(document + b"\n")


@click.command()
@click.argument("group_id")
@click.option("--kind", required=True, help="The kind of seal, as its plugin names it.")
@click.option(
    "--job",
    "job_id",
    help="Seal the receipt of this job alone. Default: that of the group and those of its jobs.",
)
@click.option("--wait", is_flag=True, help="Wait until no seal of the group is still to be made.")
@namespace_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def seal(group_id: str, kind: str, job_id: str | None, *, wait: bool, as_json: bool) -> None:
    """Ask for seals on the receipts of the group GROUP_ID, which a worker makes then.

    What is made or on its way stays so, and what has failed is tried again. "prover status" shows
    how far they are.
    """
    group = stored_group(group_id)

    async def ask(runtime: "Runtime") -> RequestedSeals:
        asked = await runtime.receipts.ask_for_seals(group, kind, job_id)
        while wait and asked.group.has_open_seals:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            asked = attrs.evolve(asked, group=await runtime.service.status(group))
        return asked

    asked = with_runtime(load_plugins(settings()), ask)
    if as_json:
        click.echo(dump_json(unstructure(asked.group)))
        return
    click.echo(f"{asked.queued} to be made" if asked.queued else "nothing left to be made")
    table = Table(
        Column("receipt", no_wrap=True), "seal", "state", Column("error", overflow="fold")
    )
    receipts = [(job.job_id, job.seals) for job in asked.group.jobs]
    for name, seals in (*receipts, ("(group)", asked.group.seals)):
        for each in seals:
            error = each.error["message"] if each.error else ""
            table.add_row(name, each.kind, each.status.value, error)
    console().print(table)


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
    "--expect-group",
    help="Id of the job group that the receipt must be of.",
)
@click.option(
    "--expect-proofs",
    metavar="NAME,…",
    help="Names of the jobs that must have a result in it, with commas; with their labels, as in "
    "status.",
)
@click.option(
    "--require-seal",
    "require_seals",
    multiple=True,
    metavar="KIND",
    help="Kind of seal of which one that holds must be on the receipt, or on each proof of a "
    "group. May be repeated.",
)
@click.option(
    "--only",
    "only",
    multiple=True,
    type=click.Choice([name.value for name in CheckName]),
    help="Ask for this check alone to pass. May be repeated. Default: all that can be made with "
    "what is given.",
)
@click.option(
    "--attachment",
    "attachments",
    multiple=True,
    metavar="NAME=FILE",
    help='A file of what is attached to a result, as "prover receipt --attachments" wrote it; '
    "JOB_ID/NAME where several results have one of this name. May be repeated.",
)
@namespace_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@url_option
def verify(
    target: str,
    keys: tuple[str, ...],
    headers_file: Path | None,
    chain_id: int,
    rpc_url: str | None,
    trusted_hash: str | None,
    expect_group: str | None,
    expect_proofs: str | None,
    require_seals: tuple[str, ...],
    only: tuple[str, ...],
    attachments: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Check the receipt TARGET: a file, or the id of a job group of this service.

    Nothing that the receipt says of itself counts for it: a signature counts under the keys that
    you name, data is compared with your headers, results are computed again with the plugins that
    are installed. The exit status is 0 only when all that was asked for passed and nothing failed.
    With --url the service checks it, with what it has: that is its word, not yours.
    """
    if chosen_settings().url is not None:
        own = (keys, headers_file, rpc_url, expect_group, expect_proofs)
        if any((*own, require_seals, only, attachments)):
            raise click.UsageError(
                "at a URL the service says what it checks with: only --trusted-hash can be given"
            )
        _finish(_verify_there(target, trusted_hash), as_json=as_json)
        return
    if trusted_hash is not None and not _is_hash(trusted_hash):
        raise click.BadParameter(
            f"{trusted_hash!r} is not 0x and 64 hex digits", param_hint="--trusted-hash"
        )
    if headers_file is not None and rpc_url is not None:
        raise click.UsageError("give either --headers or --rpc-url, not both")
    body = _read_file(target)
    chosen = settings() if body is not None else stored()
    if rpc_url is not None:
        chosen = attrs.evolve(chosen, rpc_url=rpc_url, verify_headers=VERIFY_WITH_NODE)
    plugins = load_plugins(chosen)
    pinned = tuple(pinned_key(key) for key in keys or chosen.trusted_keys)
    asked = frozenset(map(CheckName, only)) or None
    trusted = trusted_hash.lower() if trusted_hash else chosen.trusted_hash

    files = files_of(attachments)

    group = stored_group(target) if body is None else ""

    async def check() -> Report:
        async with AsyncExitStack() as parts:
            found = body
            if found is None:
                # Imported where it is used: who checks a file needs no service.
                from prover_framework.app import open_runtime

                runtime = await parts.enter_async_context(open_runtime(chosen, plugins))
                found = dump_receipt(await runtime.receipts.of_group(group))
            compared = chosen
            if (file := chosen.embedded_file) is not None and not file.exists():
                # Whoever checks a receipt need not have a database, and is not left with one.
                place = parts.enter_context(TemporaryDirectory(prefix="prover-verify-"))
                compared = attrs.evolve(chosen, data_dir=Path(place), database_url=None)
            source = await parts.enter_async_context(
                open_source(compared, "this database")
                if headers_file is None
                else open_file(chosen, headers_file, chain_id)
            )
            verifier = Verifier(
                settings=chosen,
                plugins=plugins,
                headers=None,
                pinned=pinned,
                trusted_hash=trusted,
                processes=os.cpu_count() or 1,
                attachments=files,
                expected=Expected(expect_group, names_in(expect_proofs or ""), require_seals),
            )
            return await verify_with(source, verifier, found, asked)

    _finish(run(check()), as_json=as_json)


def _verify_there(target: str, trusted_hash: str | None) -> Report:
    """Have the service verify a file, or the receipt of one of its own groups."""
    body = _read_file(target)

    async def check(operations: Operations) -> Report:
        found = body if body is not None else await operations.receipt(target)
        return await operations.verify(found, trusted_hash.lower() if trusted_hash else None)

    return with_operations(installed_plugins, check)


def _finish(report: Report, *, as_json: bool) -> None:
    _show(report, as_json=as_json)
    if not report.accepted:
        raise click.exceptions.Exit(1)


def _is_hash(text: str) -> bool:
    return re.fullmatch(BLOCK_HASH, text.lower()) is not None


def _read_file(target: str) -> bytes | None:
    """Return what is in a file; None if there is none of this name.

    Raises:
        OSError: There is one, and it cannot be read.
    """
    try:
        with Path(target).open("rb") as stream:
            # One byte more than is read shows that there is too much.
            return stream.read(MAX_RECEIPT_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None


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


COMMANDS = (receipt, seal, verify)
