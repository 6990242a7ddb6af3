"""The OpenAPI document of a service, from the table of operations and what is installed."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from prover_framework.model.names import GROUP_ID_KEY, LABEL
from prover_framework.model.series import HOUR_SECONDS
from prover_framework.plugins.catalogue import Catalogue, ProofTypeView
from prover_framework.receipts.documents import GroupDocument, ReceiptDocument
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import Json
from prover_framework.web.openapi.operations import (
    GROUP_ID_PATTERN,
    GROUP_REQUEST,
    JSON_TYPE,
    NOT_MODIFIED,
    OPERATIONS,
    PATH_PARAMETERS,
    Answer,
    ErrorAnswer,
    Operation,
    Parameter,
    ProblemAnswer,
)

OPENAPI_VERSION = "3.1.1"

PROBLEM_TYPE = "application/problem+json"

DEFINITIONS, COMPONENTS = "#/$defs/", "#/components/schemas/"

IN_PATH = re.compile(r"\{([a-z_]+)\}")

# Errors that any request can be answered with, and those of bodies.
ALWAYS = (400, 503)
OF_BODIES = (413, 415)

# The end of the range of an example, 2024-01-01T00:00Z, and its hours: enough for each of ours.
EXAMPLE_END = 1_704_067_200
EXAMPLE_HOURS = 2160

RANGE = ("start_timestamp", "end_timestamp")


def openapi_document(catalogue: Catalogue, version: str) -> dict[str, Json]:
    """Return the document.

    Args:
        catalogue: What is installed.
        version: The version of this package.
    """
    schemas = _Schemas()
    schemas.add_request(catalogue.proof_types)
    receipts = [schemas.reference(cls) for cls in (GroupDocument, ReceiptDocument)]
    schemas.components["AnyReceipt"] = {
        "description": "The receipt of a result or of a group. Whatever else is sent is no "
        "receipt, which is what the checks come to then.",
        "anyOf": [*receipts, {}],
    }
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        described = _described(operation, schemas, catalogue)
        paths.setdefault(operation.path, {})[operation.method] = described
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "prover-framework",
            "version": version,
            "description": "Job groups in, checked numbers out. Every error has one form; with "
            f"Accept: {PROBLEM_TYPE} it comes with a stable code and the place of each problem. "
            "What can be read with GET can be read with HEAD.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.components.items()))},
    }


def example_request(proof_types: Iterable[ProofTypeView]) -> dict[str, Json]:
    """Return a request for the proof types that a group must have, as an example."""
    request: dict[str, Json] = {GROUP_ID_KEY: "job_123"}
    for each in proof_types:
        if each.required:
            request[each.name] = _example_parameters(each.parameters)
    return request


def _example_parameters(schema: Any) -> dict[str, Json]:
    """Return parameters that a schema takes, as far as it says; a range where it has one."""
    start = EXAMPLE_END - EXAMPLE_HOURS * HOUR_SECONDS
    known: dict[str, Json] = dict(zip(RANGE, (start, EXAMPLE_END), strict=True))
    found: dict[str, Json] = {}
    for name in schema.get("required", ()):
        part = schema["properties"][name]
        found[name] = known.get(name, part.get("default", part.get("minimum", part.get("enum"))))
    return found


class _Schemas:
    """The schemas of a document, each under one name."""

    def __init__(self) -> None:
        self.components: dict[str, Json] = {}

    def reference(self, cls: type[Any]) -> dict[str, Json]:
        """Return a reference to the schema of a class."""
        if cls.__name__ not in self.components:
            self._add(cls.__name__, schema_of(cls))
        return {"$ref": f"{COMPONENTS}{cls.__name__}"}

    def add_request(self, proof_types: Iterable[ProofTypeView]) -> None:
        """Add the schema of a request for a group, and those of its parameters."""
        properties: dict[str, Json] = {
            GROUP_ID_KEY: {
                "type": "string",
                "pattern": GROUP_ID_PATTERN,
                "description": "The group, chosen by the sender: an idempotency key.",
            }
        }
        labelled: dict[str, Json] = {}
        required: list[Json] = [GROUP_ID_KEY]
        for each in proof_types:
            name = f"{each.name}.parameters"
            self._add(name, each.parameters)
            reference: Json = {"$ref": f"{COMPONENTS}{name}"}
            properties[each.name] = reference
            labelled[f"^{each.name}@{LABEL}$"] = reference
            if each.required:
                required.append(each.name)
        self.components[GROUP_REQUEST] = {
            "type": "object",
            "description": "Proofs that are asked for together.",
            "properties": properties,
            "patternProperties": labelled,
            "additionalProperties": False,
            "required": required,
        }

    def _add(self, name: str, schema: Any) -> None:
        own = {key: part for key, part in schema.items() if key not in ("$schema", "$defs")}
        self.components[name] = _moved(own)
        for inner, part in schema.get("$defs", {}).items():
            self.components.setdefault(inner, _moved(part))


def _moved(schema: Any) -> Any:
    """Point the references of a schema to the components of a document."""
    if isinstance(schema, list):
        return [_moved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part.replace(DEFINITIONS, COMPONENTS) if key == "$ref" else _moved(part)
        for key, part in schema.items()
    }


def _described(operation: Operation, schemas: _Schemas, catalogue: Catalogue) -> dict[str, Json]:
    in_path = [PATH_PARAMETERS[name] for name in IN_PATH.findall(operation.path)]
    described: dict[str, Json] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_parameter(each) for each in (*in_path, *operation.parameters)],
        "responses": _responses(operation, schemas),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        content: dict[str, Json] = {
            "schema": {"$ref": f"{COMPONENTS}{operation.body}"}
            if isinstance(operation.body, str)
            else schemas.reference(operation.body)
        }
        if operation.body == GROUP_REQUEST:
            example: dict[str, Json] = {"value": example_request(catalogue.proof_types)}
            content["examples"] = {"required": example}
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON_TYPE: content},
        }
    return described


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.meaning,
        "schema": dict(parameter.schema),
    }


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Json]:
    found: dict[str, Json] = {
        str(status): _response(answer, schemas) for status, answer in operation.answers.items()
    }
    of_body = OF_BODIES if operation.method == "post" else ()
    for status in sorted({*ALWAYS, *of_body, *operation.errors}):
        found.setdefault(str(status), _error(status, schemas))
    return found


def _response(answer: Answer, schemas: _Schemas) -> dict[str, Json]:
    shapes = answer.shape if isinstance(answer.shape, tuple) else (answer.shape,)
    references: list[Json] = [schemas.reference(each) for each in shapes if each is not None]
    response: dict[str, Json] = {"description": answer.meaning}
    if references:
        schema: Json = references[0] if len(references) == 1 else {"anyOf": references}
        response["content"] = {answer.media_type: {"schema": schema}}
    elif answer is not NOT_MODIFIED:
        response["content"] = {answer.media_type: {}}
    return response


def _error(status: int, schemas: _Schemas) -> dict[str, Json]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {
            JSON_TYPE: {"schema": schemas.reference(ErrorAnswer)},
            PROBLEM_TYPE: {"schema": schemas.reference(ProblemAnswer)},
        },
    }
