"""What there is beside groups: proof types and plugins, headers, queues and dead letters."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.chain.store import HeaderStatus
from prover_framework.errors import Problem, RequestError
from prover_framework.model.workers import PauseView, WorkersView
from prover_framework.monitoring.readiness import Readiness
from prover_framework.monitoring.sampling import Sample
from prover_framework.plugins.catalogue import Catalogue, ProofTypeView
from prover_framework.queues.base import HeldLetters, Letter, LetterFailure
from prover_framework.serialization.json_text import dump_json
from prover_framework.text import iso_utc, quote
from prover_framework.web.pages.forms import Field, fields_of
from prover_framework.web.pages.parts import PageMode, Shown
from prover_framework.web.pages.rendering import Renderer, see_other, segment
from prover_framework.web.pages.safety import Form, read_form

# Dead letters that a page shows.
MAX_LETTERS = 50

# To count all headers takes longer the more there are; who looks again soon sees the same.
KEEP_SECONDS = 30.0


NO_MESSAGES = "has no messages, so no dead letters: the table of jobs is the queue"


@frozen(kw_only=True)
class TypeCard:
    """A proof type with its parameters and results."""

    shown: ProofTypeView
    parameters: tuple[Field, ...]
    results: tuple[Field, ...]
    schema: str


@frozen(kw_only=True)
class PluginPage:
    """What is installed."""

    catalogue: Catalogue
    types: tuple[TypeCard, ...]


@frozen(kw_only=True)
class Stretch:
    """A part of the bar of coverage, in thousandths of its length: headers, or a gap."""

    missing: bool
    start: float
    length: float


@frozen(kw_only=True)
class HeaderPage:
    """The headers that there are."""

    status: HeaderStatus | None
    now: float | None
    stretches: tuple[Stretch, ...] = ()

    @property
    def lag_seconds(self) -> float | None:
        """How old the newest header is."""
        if self.status is None or self.now is None:
            return None
        return max(self.now - self.status.last_timestamp, 0)


@frozen(kw_only=True)
class QueuePage:
    """Queues, workers, and what has not ended."""

    sample: Sample
    workers: WorkersView
    readiness: Readiness
    now: float

    @property
    def paused(self) -> Mapping[str, PauseView]:
        """The queues that are paused, by name."""
        return {pause.queue: pause for pause in self.workers.paused}

    def age(self, at: str) -> float:
        """Return how many seconds ago something was, by the clock of the sample."""
        return max(self.now - datetime.fromisoformat(at).timestamp(), 0.0)


@frozen(kw_only=True)
class LetterPage:
    """The dead letters of a queue."""

    queue: str
    letters: tuple[Letter, ...]
    failures: tuple[LetterFailure, ...] = ()
    most: int = MAX_LETTERS

    def died_at(self, letter: Letter) -> str:
        """Return when a letter came here."""
        return iso_utc(letter.died_at_ms)


class SystemPages:
    """The pages about the service itself.

    Args:
        shown: What they show and call.
        renderer: Makes pages of views.
    """

    def __init__(self, shown: Shown, renderer: Renderer) -> None:
        self._shown = shown
        self._renderer = renderer
        catalogue = shown.service.catalogue()
        # What is installed stays so for the life of a process.
        self._plugins = PluginPage(
            catalogue=catalogue,
            types=tuple(
                TypeCard(
                    shown=each,
                    parameters=fields_of(each.parameters),
                    results=fields_of(each.result),
                    schema=dump_json({"parameters": each.parameters, "result": each.result}),
                )
                for each in catalogue.proof_types
            ),
        )
        self._headers: HeaderStatus | None = None
        self._headers_until = 0.0

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes."""
        show, letters = self._renderer.show, "/queues/<queue>/dead-letters"
        show(app, "/plugins", self._show_plugins, "plugins")
        show(app, "/headers", self._show_headers, "headers")
        show(app, "/queues", self._show_queues, "queues")
        show(app, letters, self._show_letters, "letters")
        if self._shown.parts.mode is PageMode.ON:
            self._renderer.take(app, letters, self._decide, "letters_decide")

    async def header_status(self) -> HeaderStatus | None:
        """Return what headers there are, or were some seconds ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._headers_until:
            self._headers = await self._shown.parts.headers.status()
            self._headers_until = now + KEEP_SECONDS
        return self._headers

    async def _show_plugins(self, request: Request) -> HTTPResponse:
        return self._renderer.page(request, "plugins.html", self._plugins)

    async def _show_headers(self, request: Request) -> HTTPResponse:
        status = await self.header_status()
        sample = await self._shown.monitoring.sample()
        view = HeaderPage(status=status, now=sample.at, stretches=_stretches(status))
        return self._renderer.page(request, "headers.html", view)

    async def _show_queues(self, request: Request) -> HTTPResponse:
        monitoring = self._shown.monitoring
        sample = await monitoring.sample()
        view = QueuePage(
            sample=sample,
            workers=await self._shown.service.workers.all(),
            readiness=await monitoring.readiness(),
            now=sample.at or 0.0,
        )
        return self._renderer.page(request, "queues.html", view)

    async def _show_letters(self, request: Request, queue: str) -> HTTPResponse:
        self._require(queue)
        async with self._letters(queue) as held:
            view = LetterPage(queue=queue, letters=tuple(held.letters))
        return self._renderer.page(request, "letters.html", view)

    async def _decide(self, request: Request, queue: str) -> HTTPResponse:
        form = read_form(request)
        self._require(queue)
        async with self._letters(queue) as held:
            failures = await _apply(form, held)
            if failures:
                view = LetterPage(
                    queue=queue, letters=tuple(held.letters), failures=tuple(failures)
                )
                return self._renderer.page(request, "letters.html", view, status=409)
        return see_other(f"/queues/{segment(queue)}/dead-letters")

    @asynccontextmanager
    async def _letters(self, queue: str) -> AsyncIterator[HeldLetters]:
        open_dead_letters = self._shown.parts.open_dead_letters
        if open_dead_letters is None:
            raise RequestError([Problem("queue", NO_MESSAGES)])
        async with (
            open_dead_letters() as letters,
            letters.hold(queue, limit=MAX_LETTERS) as held,
        ):
            yield held

    def _require(self, queue: str) -> None:
        known = self._shown.parts.queue_names
        if queue not in known:
            raise RequestError(
                [Problem("queue", f"there is no {quote(queue)} (there are: {', '.join(known)})")]
            )


async def _apply(form: Form, held: HeldLetters) -> list[LetterFailure]:
    wanted = set(form.fields.get("letter", ()))
    chosen = [letter for letter in held.letters if letter.id in wanted]
    gone = [
        LetterFailure(each, "it is not there any more, or somebody else holds it")
        for each in sorted(wanted - {letter.id for letter in chosen})
    ]
    match form.one("action"):
        case "redrive":
            return [*gone, *await held.redrive(chosen)]
        case "drop":
            return [*gone, *await held.drop(chosen)]
        case other:
            raise RequestError([Problem("action", f"must be redrive or drop, got {quote(other)}")])


def _stretches(status: HeaderStatus | None) -> tuple[Stretch, ...]:
    if status is None:
        return ()
    first = status.first_timestamp
    span = max(status.last_timestamp - first, 1)
    stretches, at = [], first
    for gap in status.gaps:
        stretches.append(_stretch(at, gap.from_timestamp, first, span, missing=False))
        stretches.append(_stretch(gap.from_timestamp, gap.to_timestamp, first, span, missing=True))
        at = gap.to_timestamp
    stretches.append(_stretch(at, status.last_timestamp, first, span, missing=False))
    return tuple(stretches)


def _stretch(start: int, end: int, first: int, span: int, *, missing: bool) -> Stretch:
    length = 1000 * (end - start) / span
    # A gap of an hour in eight months would be thinner than a line.
    return Stretch(
        missing=missing, start=1000 * (start - first) / span, length=max(length, 2 * missing)
    )
