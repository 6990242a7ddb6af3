"""``prover key``: the keys that sign receipts."""

import click
from rich.table import Column, Table

from prover_framework.cli.api_keys import api
from prover_framework.cli.common import console, settings
from prover_framework.seals.keys import KeyDirectory, PublicKey
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json


@click.group()
def key() -> None:
    """Manage the keys that sign receipts, and those of the API ("prover key api").

    Keys that sign are files in PROVER_KEY_DIR. The private key is used by worker and API of this
    machine; back it up nowhere, and rotate it when in doubt.
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


key.add_command(api)


def _keys() -> KeyDirectory:
    keys = KeyDirectory(settings().key_path)
    keys.remove_drafts()
    return keys


def _show_key(public: PublicKey) -> None:
    click.echo(dump_json(unstructure(public)))


COMMANDS = (key,)
