"""The form that asks for a job group, built from what is installed."""

import secrets
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.chain.store import HeaderStatus
from prover_framework.errors import GroupConflict, PluginError, Problem, ProofError, RequestError
from prover_framework.model.callers import Scope
from prover_framework.model.series import HOUR_SECONDS
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.web.auth import caller_of
from prover_framework.web.pages.forms import Field, date_text, fields_of, value_of
from prover_framework.web.pages.parts import PageMode, Shown
from prover_framework.web.pages.rendering import Renderer, address_of, see_other
from prover_framework.web.pages.safety import Form, read_form
from prover_framework.web.pages.system import SystemPages
from prover_framework.web.statuses import status_of

# The range that a form proposes: what the longest of one market's rounds look back on.
PROPOSED_SECONDS = 90 * 24 * HOUR_SECONDS

# The fields of the range that all proof types share unless they have their own.
RANGE = ("start_timestamp", "end_timestamp")
SHARED = "shared"


@frozen(kw_only=True)
class Entry:
    """A field with what stands in it and what is wrong with that."""

    field: Field
    name: str
    value: str
    problems: tuple[str, ...] = ()


@frozen(kw_only=True)
class Section:
    """A proof type in the form."""

    name: str
    title: str
    required: bool
    wanted: bool
    own_range: tuple[Entry, ...]
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()

    @property
    def has_own_range(self) -> bool:
        """Whether something stands in its own range, or is wrong with it."""
        return any(each.value or each.problems for each in self.own_range)


@frozen(kw_only=True)
class SubmitPage:
    """The form."""

    group_id: str
    headers: HeaderStatus | None
    shared: tuple[Entry, ...]
    sections: tuple[Section, ...]
    problems: tuple[str, ...] = ()


@frozen(kw_only=True)
class _Asked:
    name: str
    title: str
    required: bool
    fields: tuple[Field, ...]

    @property
    def has_range(self) -> bool:
        return {each.name for each in self.fields}.issuperset(RANGE)


class SubmitPages:
    """The form, and what is sent with it.

    Args:
        shown: What they show and call.
        renderer: Makes pages of views.
        system: Knows what headers there are.
    """

    def __init__(self, shown: Shown, renderer: Renderer, system: SystemPages) -> None:
        self._shown = shown
        self._renderer = renderer
        self._system = system
        self._types = tuple(
            _Asked(
                name=each.name,
                title=each.title,
                required=each.required,
                fields=fields_of(each.parameters),
            )
            for each in shown.service.catalogue().proof_types
        )

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes."""
        if self._shown.parts.mode is PageMode.ON:
            self._renderer.show(app, "/submit", self._empty, "submit")
            self._renderer.take(app, "/submit", self._submit, "submitted", scope=Scope.SUBMIT)

    async def _empty(self, request: Request) -> HTTPResponse:
        headers = await self._system.header_status()
        filled = {"job_group_id": f"group-{secrets.token_hex(4)}"}
        if headers is not None:
            end = headers.last_timestamp + 1
            end -= end % HOUR_SECONDS
            first = -(-headers.first_timestamp // HOUR_SECONDS) * HOUR_SECONDS
            start = max(first, end - PROPOSED_SECONDS)
            filled |= {
                f"{SHARED}.{RANGE[0]}": date_text(start),
                f"{SHARED}.{RANGE[1]}": date_text(end),
            }
        filled |= {f"{each.name}.wanted": "on" for each in self._types if each.required}
        return self._renderer.page(request, "submit.html", self._view(filled, headers, []))

    async def _submit(self, request: Request) -> HTTPResponse:
        form = read_form(request)
        try:
            wanted = self._shown.service.parse(dump_json(self._document(form)).encode())
            acceptance = await self._shown.service.submit(wanted, caller_of(request))
        except RequestError as error:
            problems, status = list(error.problems), 400
        except (GroupConflict, ProofError, PluginError) as error:
            problems, status = [Problem("", str(error))], status_of(error)
        else:
            return see_other(address_of(acceptance.group_id))
        filled = {name: form.one(name) for name in form.fields}
        view = self._view(filled, await self._system.header_status(), problems)
        return self._renderer.page(request, "submit.html", view, status=status)

    def _document(self, form: Form) -> dict[str, Json]:
        """Return the request that a form stands for, as the API takes it."""
        document: dict[str, Json] = {"job_group_id": form.one("job_group_id")}
        for asked in self._types:
            if not asked.required and form.one(f"{asked.name}.wanted") != "on":
                continue
            parameters: dict[str, Json] = {}
            for field in asked.fields:
                text = form.one(f"{asked.name}.{field.name}")
                if not text and asked.has_range and field.name in RANGE:
                    text = form.one(f"{SHARED}.{field.name}")
                if text:
                    parameters[field.name] = value_of(field, text)
            document[asked.name] = parameters
        return document

    def _view(
        self,
        filled: Mapping[str, str],
        headers: HeaderStatus | None,
        problems: list[Problem],
    ) -> SubmitPage:
        left = list(problems)

        def entry(field: Field, prefix: str) -> Entry:
            name = f"{prefix}.{field.name}"
            return Entry(
                field=field,
                name=name,
                value=filled.get(name, "" if field.name in RANGE else field.default),
                problems=_taken(left, name),
            )

        sections = []
        for asked in self._types:
            own = tuple(entry(field, asked.name) for field in asked.fields)
            is_range = asked.has_range
            sections.append(
                Section(
                    name=asked.name,
                    title=asked.title,
                    required=asked.required,
                    wanted=asked.required or filled.get(f"{asked.name}.wanted") == "on",
                    own_range=tuple(q for q in own if is_range and q.field.name in RANGE),
                    entries=tuple(q for q in own if not (is_range and q.field.name in RANGE)),
                    problems=_taken(left, asked.name),
                )
            )
        ranged = next((asked for asked in self._types if asked.has_range), None)
        shared = tuple(
            entry(field, SHARED)
            for field in (ranged.fields if ranged else ())
            if field.name in RANGE
        )
        return SubmitPage(
            group_id=filled.get("job_group_id", ""),
            headers=headers,
            shared=shared,
            sections=tuple(sections),
            problems=tuple(map(str, left)),
        )


def _taken(problems: list[Problem], name: str) -> tuple[str, ...]:
    """Take the problems of one field out of a list."""
    own = [problem for problem in problems if problem.where == name]
    for problem in own:
        problems.remove(problem)
    return tuple(problem.what for problem in own)
