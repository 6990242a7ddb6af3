"""``prover key api``: the keys that callers of the API show."""

import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from rich.table import Column, Table

from prover_framework.callers.keys import (
    MAX_NAME,
    MOST,
    OPEN_GROUPS,
    REQUESTS_PER_MINUTE,
    VERIFICATIONS_PER_MINUTE,
    ApiKey,
    KeySpec,
)
from prover_framework.callers.service import KEEP_SECONDS
from prover_framework.callers.store import ApiKeyStore
from prover_framework.cli.common import console, require_namespace, run, settings
from prover_framework.database.opening import open_database
from prover_framework.model.callers import Scope
from prover_framework.model.names import DEFAULT_NAMESPACE
from prover_framework.model.priorities import HIGHEST_PRIORITY, LOWEST_PRIORITY, USUAL_PRIORITY
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.text import iso_utc

T = TypeVar("T")

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

# A hundred years: who wants longer wants no expiry.
MAX_SECONDS = 100 * 365 * UNITS["d"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group()
def api() -> None:
    """Manage the keys that callers of the HTTP API show.

    While no key was ever made, the API asks for none. From the first one on, every request but
    those for health and metrics needs one, in the header "Authorization: Bearer KEY".
    """


@api.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it is for. May be repeated. Default: submit, read and verify.",
)
@click.option(
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    help="Namespace of the group, as API keys have one.",
)
@click.option(
    "--expires",
    metavar="TIME",
    help="For how long it is valid, such as 90d, 12h or 30m. Default: until it is revoked.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(1, MOST),
    default=REQUESTS_PER_MINUTE,
    show_default=True,
    help="How many requests it may make in a minute, of each API process.",
)
@click.option(
    "--verifications-per-minute",
    type=click.IntRange(1, MOST),
    default=VERIFICATIONS_PER_MINUTE,
    show_default=True,
    help="How many of these may verify a receipt.",
)
@click.option(
    "--open-groups",
    type=click.IntRange(1, MOST),
    default=OPEN_GROUPS,
    show_default=True,
    help="How many of its job groups may have jobs that have not ended.",
)
@click.option(
    "--max-priority",
    type=click.IntRange(LOWEST_PRIORITY, HIGHEST_PRIORITY),
    default=USUAL_PRIORITY,
    show_default=True,
    help="The highest priority that it may give a job group; with the scope operate it is any.",
)
@_as_json
def create(
    name: str,
    scopes: tuple[str, ...],
    namespace: str,
    expires: str | None,
    requests_per_minute: int,
    verifications_per_minute: int,
    open_groups: int,
    max_priority: int,
    *,
    as_json: bool,
) -> None:
    """Make a key for the caller NAME, and show it: this once, since only a digest is stored."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise click.BadParameter(f"must be 1 to {MAX_NAME} printable characters", param_hint="NAME")
    wanted = frozenset(map(Scope, scopes)) or {Scope.SUBMIT, Scope.READ, Scope.VERIFY}
    spec = KeySpec(
        name=name,
        scopes=frozenset(wanted),
        namespace=require_namespace(namespace),
        requests_per_minute=requests_per_minute,
        verifications_per_minute=verifications_per_minute,
        open_groups=open_groups,
        max_priority=max_priority,
        seconds=None if expires is None else _seconds(expires),
    )
    secret, key = _with_store(lambda store: store.create(spec))
    if as_json:
        click.echo(dump_json({"key": secret.text, **_document(key, "active")}))
        return
    # Standard output has the key alone, so that it can go into a file.
    click.echo(
        f"API key {key.id} for {key.name}: {_scopes(key)}, namespace {key.namespace}, "
        f"{_expiry(key)}. It is shown this once:",
        err=True,
    )
    click.echo(secret.text)


@api.command("list")
@_as_json
def list_(*, as_json: bool) -> None:
    """List the keys, the newest first, revoked ones included."""
    now, keys = _with_store(lambda store: store.list())
    if as_json:
        click.echo(dump_json([_document(key, key.state(now)) for key in keys]))
        return
    table = Table(
        Column("key", no_wrap=True),
        Column("name", overflow="fold"),
        "state",
        "scopes",
        "namespace",
        "created",
        "expires",
        "last used",
    )
    for key in keys:
        table.add_row(
            key.id,
            key.name,
            key.state(now),
            _scopes(key),
            key.namespace,
            iso_utc(key.created_at),
            _time(key.expires_at) or "never",
            _time(key.last_used_at) or "",
        )
    console().print(table)


@api.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Make the key KEY_ID worthless. What it has submitted stays, and is computed."""
    key = _with_store(lambda store: store.revoke(key_id))
    click.echo(f"{key.id} ({key.name}) is revoked; services refuse it within {KEEP_SECONDS:g} s")


def _with_store(use: Callable[[ApiKeyStore], Coroutine[Any, Any, T]]) -> T:
    async def work() -> T:
        async with open_database(settings()) as database:
            return await use(ApiKeyStore(database))

    return run(work())


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_SECONDS:
        raise click.BadParameter(
            f"{text!r} is not a time such as 90d, 12h, 30m or 60s, a hundred years at the most",
            param_hint="--expires",
        )
    return seconds


def _scopes(key: ApiKey) -> str:
    return ", ".join(scope for scope in Scope if scope in key.scopes)


def _expiry(key: ApiKey) -> str:
    return "no expiry" if key.expires_at is None else f"expires {iso_utc(key.expires_at)}"


def _time(at: int | None) -> str | None:
    return None if at is None else iso_utc(at)


def _document(key: ApiKey, state: str) -> dict[str, Json]:
    return {
        "id": key.id,
        "name": key.name,
        "state": state,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "namespace": key.namespace,
        "requests_per_minute": key.requests_per_minute,
        "verifications_per_minute": key.verifications_per_minute,
        "open_groups": key.open_groups,
        "max_priority": key.max_priority,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
    }
