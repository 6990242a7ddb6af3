"""JSON Schema (draft 2020-12) of attrs classes, for whoever writes requests or reads results.

A schema says what `prover_framework.serialization.converter.structure` takes: types, bounds,
patterns, choices, lengths and defaults, with the descriptions of the class's docstring. What JSON
Schema has no words for is left to the converter: rules between fields, validators that are
functions, what texts that are no Unicode and integers beyond 2^53 - 1 do inside ``Any``, and the
difference between ``1`` and ``1.0``, which the converter does not take for an integer.
"""

import inspect
import re
from collections.abc import Mapping
from enum import Enum
from math import isfinite
from typing import Any

from attrs import validators

from prover_framework.serialization.converter import class_form
from prover_framework.serialization.forms import (
    MAX_EXACT_INTEGER,
    SCALAR_TYPES,
    FieldForm,
    Form,
    ObjectForm,
    OwnSchema,
    Schema,
    choices,
)
from prover_framework.serialization.json_text import Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# attrs makes its validators with functions and keeps the classes to itself.
_AND: type[Any] = type(validators.and_(validators.ge(0), validators.le(0)))
_NUMBER: type[Any] = type(validators.ge(0))
_CHOICE: type[Any] = type(validators.in_(()))
_PATTERN: type[Any] = type(validators.matches_re(""))
_OPTIONAL: type[Any] = type(validators.optional(validators.ge(0)))
_MIN_LENGTH: type[Any] = type(validators.min_len(0))
_MAX_LENGTH: type[Any] = type(validators.max_len(0))
_MEMBERS: type[Any] = type(validators.deep_iterable(validators.ge(0)))

BOUNDS: Mapping[str, str] = {
    ">=": "minimum",
    ">": "exclusiveMinimum",
    "<=": "maximum",
    "<": "exclusiveMaximum",
}
LENGTHS: Mapping[str, tuple[str, str]] = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}

# The bounds that an integer has without any validator.
OWN = (-MAX_EXACT_INTEGER, MAX_EXACT_INTEGER)

# What Python's patterns have and those of JSON Schema (ECMA 262) have not, or mean otherwise.
ONLY_PYTHON = re.compile(r"\(\?(?![:=!]|<[=!])|\\[AZN]|[*+?}]\+|\{,")


def schema_of(cls: type[Any]) -> Schema:
    """Return the schema of the JSON form of an attrs class.

    Args:
        cls: A class, each of whose fields has a JSON form.

    Raises:
        RequestError: A default is not what its field declares.
        ValueError: The same.
    """
    root = class_form(cls)
    classes = _Classes(root)
    schema: Schema = {"$schema": DIALECT, "title": cls.__name__, **classes.of_class(root)}
    if definitions := classes.definitions():
        schema["$defs"] = definitions
    return schema


def descriptions_of(cls: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say about their fields, by name."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(_arguments(base.__doc__ or ""))
    return found


def field_schema(part: FieldForm) -> Schema:
    """Return the schema of one field, without its default, as far as it names no other class."""
    return _Classes(None).of_field(part)


class _Classes:
    """The classes that one schema is made of. Those inside the first are definitions beside it."""

    def __init__(self, root: ObjectForm | None) -> None:
        self._root = root
        self._names: dict[ObjectForm, str] = {}
        self._schemas: dict[str, Json] = {}

    def definitions(self) -> dict[str, Json]:
        return self._schemas

    def of_class(self, form: ObjectForm) -> Schema:
        descriptions = descriptions_of(form.cls)
        properties: dict[str, Json] = {}
        required: list[Json] = []
        for key, part in form.fields.items():
            schema = self.of_field(part)
            if part.shows_default:
                schema["default"] = part.form.write(part.default())
            if described := descriptions.get(part.attribute.name):
                schema["description"] = described
            properties[key] = schema
            if part.required:
                required.append(key)
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            schema["required"] = required
        if summary := _summary(form.cls.__doc__ or ""):
            schema["description"] = summary
        return schema

    def of_field(self, part: FieldForm) -> Schema:
        schema = self.of(part.form)
        # A validator sees what the field's converter made of the value.
        if part.attribute.validator is not None and part.attribute.converter is None:
            schema = _constrained(schema, part.attribute.validator)
        return schema

    def of(self, form: Form) -> Schema:
        return self._reference(form) if isinstance(form, ObjectForm) else form.schema(self.of)

    def _reference(self, form: ObjectForm) -> Schema:
        if form is self._root:
            return {"$ref": "#"}
        if form not in self._names:
            name = form.cls.__name__
            while name in self._schemas:
                name += "_"
            self._names[form] = name
            self._schemas[name] = None
            self._schemas[name] = self.of_class(form)
        return {"$ref": f"#/$defs/{self._names[form]}"}


def _constrained(schema: Schema, validator: Any) -> Schema:
    """Add to a schema what a validator requires, as far as it can be said."""
    if isinstance(schema, OwnSchema):
        # A validator sees the value, and the schema is of what carries it.
        return schema
    if isinstance(validator, _AND):
        for part in validator._validators:  # noqa: SLF001 - attrs has no other way to read it
            schema = _constrained(schema, part)
        return schema
    if isinstance(validator, _CHOICE):
        return _chosen(schema, validator)
    if (inner := _not_null(schema)) is not None:
        if isinstance(validator, _OPTIONAL):
            return _nullable(_constrained(inner, validator.validator))
        # attrs' other validators fail on None.
        narrower = _constrained(inner, validator)
        return schema if narrower == inner else narrower
    if isinstance(validator, _OPTIONAL):
        return _constrained(schema, validator.validator)
    kind = schema.get("type")
    if isinstance(validator, _NUMBER) and kind in ("integer", "number"):
        return _bounded(schema, BOUNDS[validator.compare_op], validator.bound)
    if isinstance(validator, _PATTERN) and kind == "string":
        pattern = _pattern(validator)
        return schema if pattern is None else {**schema, "pattern": pattern}
    if isinstance(validator, _MIN_LENGTH | _MAX_LENGTH) and kind in LENGTHS:
        at_least, at_most = LENGTHS[str(kind)]
        if isinstance(validator, _MIN_LENGTH):
            return _bounded(schema, at_least, validator.min_length)
        return _bounded(schema, at_most, validator.max_length)
    if isinstance(validator, _MEMBERS):
        if validator.iterable_validator is not None:
            schema = _constrained(schema, validator.iterable_validator)
        members = schema.get("items")
        if isinstance(members, dict):
            return {**schema, "items": _constrained(members, validator.member_validator)}
    return schema


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _not_null(schema: Schema) -> Schema | None:
    """Return what `_nullable` was given."""
    match schema:
        case {"anyOf": [dict(inner), {"type": "null"}]}:
            return inner
    return None


def _bounded(schema: Schema, key: str, bound: Any) -> Schema:
    if type(bound) not in (int, float) or not isfinite(bound):
        return schema
    known = schema.get(key)
    if isinstance(known, int | float):
        bound = min(known, bound) if "max" in key.lower() else max(known, bound)
    # The type's own bound says nothing more beside a narrower one.
    wider = {"exclusiveMaximum": "maximum", "exclusiveMinimum": "minimum"}.get(key)
    if wider is not None and abs(bound) <= MAX_EXACT_INTEGER:
        schema = {word: part for word, part in schema.items() if word != wider or part not in OWN}
    return {**schema, key: bound}


def _chosen(schema: Schema, validator: Any) -> Schema:
    """Narrow a schema to the options of ``in_`` that it allows."""
    # attrs makes a set of them; what it was given has the order.
    options = getattr(validator, "_original_options", validator.options)
    if isinstance(options, str):
        return schema
    values = [option.value if isinstance(option, Enum) else option for option in options]
    inner = _not_null(schema)
    parts: list[Schema] = [schema] if inner is None else [inner, {"type": "null"}]
    return choices([value for value in values if any(_allows(part, value) for part in parts)])


def _allows(schema: Schema, value: object) -> bool:
    kind = SCALAR_TYPES.get(type(value))
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return False
    return kind is not None and (kind, schema.get("type")) in {(kind, kind), ("integer", "number")}


def _pattern(validator: Any) -> str | None:
    """Return the pattern of ``matches_re`` in JSON Schema's dialect, if it can be said there."""
    pattern: re.Pattern[str] = validator.pattern
    text = pattern.pattern
    if pattern.flags != re.UNICODE or ONLY_PYTHON.search(text):
        return None
    if validator.match_func == pattern.fullmatch:
        return f"^(?:{text})$"
    return f"^(?:{text})" if validator.match_func == pattern.match else text


def _summary(doc: str) -> str:
    return _line(inspect.cleandoc(doc).partition("\n\n")[0])


def _arguments(doc: str) -> dict[str, str]:
    """Return the descriptions in the section ``Args:`` of a docstring, by name."""
    _, _, section = inspect.cleandoc(doc).partition("Args:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        if entry := re.match(r"    (\w+)(?: \([^)]*\))?:(?: (.*))?$", line):
            name, found[entry[1]] = entry[1], entry[2] or ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}"
    return {name: _line(text) for name, text in found.items()}


def _line(text: str) -> str:
    plain = text.encode("utf-8", "backslashreplace").decode()
    return " ".join(plain.split()).replace("``", "`")
