"""The reference of the HTTP API as a page, from the same table as its OpenAPI document."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.serialization.json_text import dump_json
from prover_framework.web.openapi.document import (
    COMPONENTS,
    example_request,
    openapi_document,
)
from prover_framework.web.pages.forms import Field, fields_of
from prover_framework.web.pages.parts import Shown
from prover_framework.web.pages.rendering import Renderer, object_of


@frozen(kw_only=True)
class Endpoint:
    """An operation as the page shows it."""

    method: str
    path: str
    anchor: str
    tag: str
    summary: str
    description: str
    parameters: tuple[Mapping[str, Any], ...]
    body: str | None
    answers: tuple[tuple[str, str, tuple[str, ...]], ...]


@frozen(kw_only=True)
class Shape:
    """A schema as the page shows it."""

    name: str
    description: str
    fields: tuple[Field, ...]


@frozen(kw_only=True)
class Reference:
    """All of it."""

    endpoints: tuple[Endpoint, ...]
    shapes: tuple[Shape, ...]
    example: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The subjects, in the order of the table."""
        return tuple(dict.fromkeys(each.tag for each in self.endpoints))


class ReferencePage:
    """The page.

    Args:
        shown: Knows what is installed.
        renderer: Makes pages of views.
    """

    def __init__(self, shown: Shown, renderer: Renderer) -> None:
        self._catalogue = shown.service.catalogue()
        self._renderer = renderer
        self._view: Reference | None = None

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the route."""
        self._renderer.show(app, "/reference", self._show, "reference")

    async def _show(self, request: Request) -> HTTPResponse:
        if self._view is None:
            document = openapi_document(self._catalogue, version("prover-framework"))
            example = dump_json(example_request(self._catalogue.proof_types))
            self._view = _reference(document, example)
        return self._renderer.page(request, "reference.html", self._view)


def _reference(document: Mapping[str, Any], example: str) -> Reference:
    return Reference(
        endpoints=tuple(
            _endpoint(method, path, described)
            for path, methods in document["paths"].items()
            for method, described in methods.items()
        ),
        shapes=tuple(
            Shape(
                name=name,
                description=str(schema.get("description", "")),
                fields=fields_of(schema),
            )
            for name, schema in document["components"]["schemas"].items()
        ),
        example=example,
    )


def _endpoint(method: str, path: str, described: Mapping[str, Any]) -> Endpoint:
    body = object_of(described.get("requestBody"))
    return Endpoint(
        method=method.upper(),
        path=path,
        anchor=described["operationId"],
        tag=described["tags"][0],
        summary=described["summary"],
        description=described.get("description", ""),
        parameters=tuple(described["parameters"]),
        body=next(iter(_names(body)), None),
        answers=tuple(
            (status, answer["description"], _names(answer))
            for status, answer in described["responses"].items()
        ),
    )


def _names(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the schemas that a body or an answer has."""
    found: list[str] = []
    for media in object_of(content.get("content")).values():
        schema = object_of(object_of(media).get("schema"))
        for each in (schema, *map(object_of, schema.get("anyOf", ()))):
            reference = each.get("$ref")
            if isinstance(reference, str):
                found.append(reference.removeprefix(COMPONENTS))
    return tuple(found)
