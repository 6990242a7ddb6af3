"""Fields of a form from the JSON Schema of a class, and back to the JSON that is asked for."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import frozen

from prover_framework.errors import RequestError
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.text import LAST_DATED_SECOND, iso_utc
from prover_framework.web.pages.rendering import object_of

# A whole number of a field with such a name is a time in Unix seconds.
TIME_ENDING = "_timestamp"


class FieldKind(StrEnum):
    """How a value is asked for."""

    TIME = "time"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    TEXT = "text"
    JSON = "json"


@frozen(kw_only=True)
class Field:
    """A parameter, or a value of a result, as a form or a table shows it.

    Args:
        name: Its key.
        kind: How it is asked for.
        type_text: Its type in words.
        required: Whether it has to be given.
        note: What its class says of it.
        minimum: The least value, where there is one.
        maximum: The greatest.
        default: What is taken where nothing is given; empty where there is no default.
        choices: What there is to choose from.
    """

    name: str
    kind: FieldKind
    type_text: str
    required: bool
    note: str = ""
    minimum: float | None = None
    maximum: float | None = None
    default: str = ""
    choices: tuple[str, ...] = ()


def fields_of(schema: object) -> tuple[Field, ...]:
    """Return the fields of an object by its JSON Schema."""
    root = object_of(schema)
    required = root.get("required", ())
    return tuple(
        _field(name, object_of(each), required=name in required)
        for name, each in object_of(root.get("properties")).items()
    )


def _field(name: str, schema: Mapping[str, Any], *, required: bool) -> Field:
    own = schema
    if options := [object_of(each) for each in schema.get("anyOf", ())]:
        # A value or null: an empty field means that there is none.
        without_null = [each for each in options if each.get("type") != "null"]
        own = without_null[0] if len(without_null) == 1 else {}
    default = schema.get("default")
    return Field(
        name=name,
        kind=_kind(name, own),
        type_text=_type_text(schema),
        required=required,
        note=str(schema.get("description", "")),
        minimum=own.get("minimum"),
        maximum=own.get("maximum"),
        default="" if default is None else _text(default),
        choices=tuple(map(_text, own.get("enum", ()))),
    )


def _kind(name: str, schema: Mapping[str, Any]) -> FieldKind:
    if "enum" in schema:
        return FieldKind.CHOICE
    match schema.get("type"):
        case "integer" if name.endswith(TIME_ENDING):
            return FieldKind.TIME
        case "integer":
            return FieldKind.INTEGER
        case "number":
            return FieldKind.NUMBER
        case "boolean":
            return FieldKind.BOOLEAN
        case "string":
            return FieldKind.TEXT
        case _:
            return FieldKind.JSON


def _type_text(schema: Mapping[str, Any]) -> str:
    if options := schema.get("anyOf"):
        return " or ".join(_type_text(object_of(each)) for each in options)
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    text = str(schema.get("type", "any"))
    return f"{text} of {_type_text(object_of(schema.get('items')))}" if text == "array" else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def value_of(field: Field, text: str) -> Json:
    """Return the JSON value that somebody has filled in; what is wrong with it stays a text.

    A wrong value is told by the API's own words, which name its place.
    """
    match field.kind:
        case FieldKind.TIME:
            return _seconds(text)
        case FieldKind.BOOLEAN:
            return text == "true"
        case FieldKind.TEXT:
            return text
        case FieldKind.CHOICE if text in field.choices:
            return text
    try:
        return parse_json(text.encode())
    except RequestError:
        return text


def _seconds(text: str) -> Json:
    """Return the Unix seconds of a date and time in UTC, or of a number of seconds."""
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    return int(seconds) if seconds.is_integer() else text


def date_text(seconds: int) -> str:
    """Return Unix seconds as the value of a field for date and time."""
    return iso_utc(seconds * 1000)[:19] if 0 <= seconds <= LAST_DATED_SECOND else str(seconds)
