"""``prover prune``: remove what ended long ago."""

from pathlib import Path

import click

from prover_framework.app import Runtime
from prover_framework.cli.common import settings, with_runtime
from prover_framework.database.sizes import DatabaseSize, size_of
from prover_framework.errors import GroupNotFound
from prover_framework.files import whole_file
from prover_framework.jobs.retention import Pruned, prune
from prover_framework.model.moments import parse_duration
from prover_framework.plugins.registry import NO_PLUGINS
from prover_framework.receipts.documents import dump_receipt
from prover_framework.sandbox.loading import load_plugins
from prover_framework.serialization.json_text import dump_json

MIB = 2**20

# What is less than this, or a smaller part, is not worth a copy of the whole file.
WORTH_VACUUM_BYTES = 64 * MIB
WORTH_VACUUM_PART = 4


class _Age(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("prune")
@click.option(
    "--older-than",
    required=True,
    type=_Age(),
    metavar="DURATION",
    help="How long ago a group has to have ended, such as 90d or 12h.",
)
@click.option(
    "--export",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the receipt of each group into this directory before it is removed, as "
    "DIR/GROUP.json.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many groups would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for a confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def prune_(
    older_than: int, folder: Path | None, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove groups that ended long ago, with results, receipts and attachments, and old events.

    It goes a little at a time, and the service may run meanwhile. PROVER_RETENTION_DAYS has workers
    do the same by themselves.
    """

    async def count(runtime: Runtime) -> Pruned:
        before = await runtime.database.now_ms() - older_than * 1000
        return await prune(runtime.database, runtime.jobs.removal, before, dry_run=True)

    async def remove(runtime: Runtime) -> tuple[Pruned, DatabaseSize]:
        async def keep(group_id: str) -> None:
            if folder is not None:
                await _export(runtime, group_id, folder)

        before = await runtime.database.now_ms() - older_than * 1000
        pruned = await prune(runtime.database, runtime.jobs.removal, before, keep=keep)
        return pruned, await size_of(runtime.database)

    if dry_run or not yes:
        found = with_runtime(NO_PLUGINS, count)
        if dry_run:
            _tell(found, as_json=as_json, done="would be removed")
            return
        if found.groups:
            click.confirm(f"remove {found.groups} groups?", abort=True, err=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    # A receipt may be made now, to which plugins add.
    plugins = load_plugins(settings()) if folder is not None else NO_PLUGINS
    pruned, size = with_runtime(plugins, remove)
    _tell(pruned, as_json=as_json, done="removed")
    if advice := vacuum_advice(size):
        click.echo(advice, err=True)


async def _export(runtime: Runtime, group_id: str, folder: Path) -> None:
    try:
        document = dump_receipt(await runtime.receipts.of_group(group_id))
    except GroupNotFound:
        # Somebody else has removed it meanwhile.
        return
    target = folder / f"{group_id}.json"
    # Those of a namespace are in a folder of its name.
    target.parent.mkdir(exist_ok=True)
    with whole_file(target) as file:
        file.write(document + b"\n")


def _tell(pruned: Pruned, *, as_json: bool, done: str) -> None:
    if as_json:
        click.echo(dump_json({"groups": pruned.groups, "events": pruned.events}))
    else:
        events = f", and {pruned.events} events" if pruned.events else ""
        click.echo(f"{pruned.groups} groups {done}{events}")


def vacuum_advice(size: DatabaseSize) -> str | None:
    """Say what gives the room of what was removed back to the disk, where it is worth it."""
    if size.reusable is None or size.reusable < max(
        WORTH_VACUUM_BYTES, size.used // WORTH_VACUUM_PART
    ):
        return None
    return (
        f"{size.reusable // MIB} of {size.used // MIB} MiB of the file hold nothing and are used "
        'again as it grows; "VACUUM" in sqlite3 gives them back to the disk, while the service is '
        "stopped, and needs as much free space as the rest"
    )


COMMANDS = (prune_,)
