"""``prover dead``: messages that nobody could understand, and what becomes of them."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click
from attrs import frozen
from rich.table import Column, Table

from prover_framework.cli.common import console, run, stored_queue
from prover_framework.errors import DeadLetterNotFound
from prover_framework.model.names import DEFAULT_QUEUE
from prover_framework.queues.base import HeldLetters, Letter, LetterFailure
from prover_framework.queues.opening import open_dead_letters
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.text import iso_utc, shorten

T = TypeVar("T")

# More are held and shown at a time by none of the commands: what they say has to fit into memory,
# and what they hold into the time for which SQS hides it.
MAX_LETTERS = 1000

_queue = click.option(
    "--queue", default=DEFAULT_QUEUE, show_default=True, help="Name of the queue they come from."
)
_ids = click.argument("ids", nargs=-1)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@frozen(kw_only=True)
class LetterView:
    """A dead letter as it is shown to people and programs."""

    id: str
    queue: str
    died_at: str
    reason: str | None
    body: str


@click.group()
def dead() -> None:
    """See to dead letters: messages that nobody could understand.

    On SQS a message can be seen only by receiving it. While one of these commands runs, it holds
    the letters that it has seen, so that another one does not see them, and gives them back at its
    end; should it be killed, SQS shows them again after two minutes.
    """


@dead.command("list")
@_queue
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LETTERS),
    default=100,
    show_default=True,
    help="How many at the most.",
)
@_as_json
def list_(queue: str, limit: int, *, as_json: bool) -> None:
    """List dead letters, oldest first, with the reasons why they are dead."""

    async def read(held: HeldLetters) -> list[LetterView]:
        return [_view(letter) for letter in held.letters]

    letters = _with_letters(queue, limit, read)
    if as_json:
        click.echo(dump_json(unstructure(letters)))
        return
    table = Table(
        Column("id", no_wrap=True),
        Column("died", no_wrap=True),
        "queue",
        Column("reason", overflow="fold"),
        Column("message", overflow="fold"),
    )
    for letter in letters:
        table.add_row(
            letter.id,
            letter.died_at,
            letter.queue,
            _printable(letter.reason or ""),
            _printable(shorten(letter.body)),
        )
    console().print(table)
    if len(letters) == limit:
        click.echo(f"these are {limit}, there may be more: --limit", err=True)


@dead.command()
@click.argument("letter_id")
@_queue
@_as_json
def show(letter_id: str, queue: str, *, as_json: bool) -> None:
    """Show the dead letter LETTER_ID whole."""

    async def read(held: HeldLetters) -> LetterView:
        (letter,) = _chosen(held, queue, [letter_id])
        return _view(letter)

    letter = _with_letters(queue, MAX_LETTERS, read)
    if as_json:
        click.echo(dump_json(unstructure(letter)))
        return
    table = Table(Column(), Column(overflow="fold"), show_header=False)
    table.add_row("id", letter.id)
    table.add_row("died", letter.died_at)
    table.add_row("queue", letter.queue)
    reason = letter.reason or "none was given: it was received too often"
    table.add_row("reason", _printable(reason))
    table.add_row("message", _printable(letter.body))
    console().print(table)


@dead.command()
@_ids
@click.option("--all", "every", is_flag=True, help="All that are there, 1,000 at the most.")
@_queue
@_as_json
def redrive(ids: Sequence[str], queue: str, *, every: bool, as_json: bool) -> None:
    """Send the dead letters IDS back to the queue they came from, or all of them.

    Each is removed only once its queue has confirmed that it has the message. One that still can
    not be understood comes back under another id.
    """
    _require_choice(ids, every=every)

    async def send(held: HeldLetters) -> tuple[Sequence[Letter], list[LetterFailure]]:
        letters = held.letters if every else _chosen(held, queue, ids)
        return letters, await held.redrive(letters)

    _tell("redriven", *_with_letters(queue, MAX_LETTERS, send), as_json=as_json)


@dead.command()
@_ids
@click.option("--all", "every", is_flag=True, help="All that are there, 1,000 at the most.")
@_queue
@_as_json
@click.confirmation_option("--yes", prompt="Remove them for good?", help="Do not ask.")
def drop(ids: Sequence[str], queue: str, *, every: bool, as_json: bool) -> None:
    """Remove the dead letters IDS for good, or all of them."""
    _require_choice(ids, every=every)

    async def remove(held: HeldLetters) -> tuple[Sequence[Letter], list[LetterFailure]]:
        letters = held.letters if every else _chosen(held, queue, ids)
        return letters, await held.drop(letters)

    _tell("dropped", *_with_letters(queue, MAX_LETTERS, remove), as_json=as_json)


def _with_letters(
    queue: str, limit: int, use: Callable[[HeldLetters], Coroutine[Any, Any, T]]
) -> T:
    async def work() -> T:
        async with open_dead_letters(stored_queue()) as dead, dead.hold(queue, limit=limit) as held:
            return await use(held)

    return run(work())


def _require_choice(ids: Sequence[str], *, every: bool) -> None:
    if bool(ids) == every:
        raise click.UsageError("give either the IDS of dead letters or --all")


def _chosen(held: HeldLetters, queue: str, ids: Sequence[str]) -> list[Letter]:
    by_id = {letter.id: letter for letter in held.letters}
    if unknown := [id_ for id_ in dict.fromkeys(ids) if id_ not in by_id]:
        raise DeadLetterNotFound(unknown, queue)
    return [by_id[id_] for id_ in dict.fromkeys(ids)]


def _tell(
    done: str, letters: Sequence[Letter], failures: Sequence[LetterFailure], *, as_json: bool
) -> None:
    failed = {failure.letter_id: failure.reason for failure in failures}
    succeeded = [letter.id for letter in letters if letter.id not in failed]
    if as_json:
        document: dict[str, Json] = {done: list(succeeded), "failed": dict(failed)}
        click.echo(dump_json(document))
    else:
        click.echo(f"{len(succeeded)} dead letters {done}")
        for id_, reason in failed.items():
            click.echo(f"{id_}: {reason}", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _printable(text: str) -> str:
    """Escape what a terminal might obey: anybody may have written it."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def _view(letter: Letter) -> LetterView:
    return LetterView(
        id=letter.id,
        queue=letter.queue,
        died_at=iso_utc(letter.died_at_ms),
        reason=letter.reason,
        body=letter.body,
    )


COMMANDS = (dead,)
