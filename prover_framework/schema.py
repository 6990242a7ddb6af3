"""JSON Schema (draft 2020-12) of attrs classes, for whoever writes requests or reads results.

A schema says what `prover_framework.wire.structure` takes: types, bounds, patterns, choices,
lengths and defaults, with the descriptions of the class's docstring. What JSON Schema has no words
for is left to the converter: rules between fields, validators that are functions, and the
difference between ``1`` and ``1.0``, which the converter does not take for an integer.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from types import NoneType
from typing import Any, get_args

import attrs
from attrs import validators

from prover_framework.jsontext import Json
from prover_framework.wire import (
    is_array,
    is_choice,
    is_fixed_tuple,
    is_mapping,
    is_optional,
    unstructure,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Json]

SCALAR_TYPES: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
}

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

# What Python's patterns have and those of JSON Schema (ECMA 262) have not, or mean otherwise.
ONLY_PYTHON = re.compile(r"\(\?(?![:=!]|<[=!])|\\[AZN]|[*+?}]\+|\{,")


def schema_of(cls: type[Any]) -> Schema:
    """Return the schema of the JSON form of an attrs class.

    Args:
        cls: A class that `prover_framework.wire.require_form` accepts.
    """
    classes = _Classes(cls)
    schema: Schema = {"$schema": DIALECT, "title": cls.__name__, **classes.of_class(cls)}
    if definitions := classes.definitions():
        schema["$defs"] = definitions
    return schema


def descriptions_of(cls: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say about their fields, by name."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(_arguments(base.__doc__ or ""))
    return found


class _Classes:
    """The classes that one schema is made of. Those inside the first are definitions beside it."""

    def __init__(self, root: type[Any]) -> None:
        self._root = root
        self._names: dict[type[Any], str] = {}
        self._schemas: dict[str, Json] = {}

    def definitions(self) -> dict[str, Json]:
        return self._schemas

    def of_class(self, cls: type[Any]) -> Schema:
        attrs.resolve_types(cls)
        descriptions = descriptions_of(cls)
        properties: dict[str, Json] = {}
        required: list[Json] = []
        for field in attrs.fields(cls):
            if not field.init:
                continue
            key = field.alias or field.name
            schema = self._of_field(field)
            if described := descriptions.get(field.name):
                schema["description"] = described
            properties[key] = schema
            if field.default is attrs.NOTHING:
                required.append(key)
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            schema["required"] = required
        if summary := _summary(cls.__doc__ or ""):
            schema["description"] = summary
        return schema

    def _of_field(self, field: "attrs.Attribute[Any]") -> Schema:
        schema = self._of_type(field.type)
        # A validator sees what the field's converter made of the value.
        if field.validator is not None and field.converter is None:
            schema = _constrained(schema, field.validator)
        with suppress(Exception):
            # A default that depends on others, or has no JSON form, is not shown.
            schema["default"] = _default(field)
        return schema

    def _of_type(self, kind: Any) -> Schema:
        if kind is Any:
            return {}
        if kind in SCALAR_TYPES:
            return {"type": SCALAR_TYPES[kind]}
        if is_choice(kind):
            return _choice(list(kind) if isinstance(kind, type(Enum)) else get_args(kind))
        if is_optional(kind):
            (inner,) = (argument for argument in get_args(kind) if argument is not NoneType)
            return _nullable(self._of_type(inner))
        arguments = get_args(kind)
        if is_fixed_tuple(kind):
            return {
                "type": "array",
                "prefixItems": [self._of_type(argument) for argument in arguments],
                "items": False,
                "minItems": len(arguments),
            }
        if is_array(kind):
            return {"type": "array", "items": self._of_type(arguments[0] if arguments else Any)}
        if is_mapping(kind):
            of = arguments[1] if arguments else Any
            return {"type": "object", "additionalProperties": self._of_type(of)}
        return self._reference(kind)

    def _reference(self, cls: type[Any]) -> Schema:
        if cls is self._root:
            return {"$ref": "#"}
        if cls not in self._names:
            name = cls.__name__
            while name in self._schemas:
                name += "_"
            self._names[cls] = name
            self._schemas[name] = None
            self._schemas[name] = self.of_class(cls)
        return {"$ref": f"#/$defs/{self._names[cls]}"}


def _constrained(schema: Schema, validator: Any) -> Schema:
    """Add to a schema what a validator requires, as far as it can be said."""
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
    if type(bound) not in (int, float):
        return schema
    known = schema.get(key)
    if isinstance(known, int | float):
        bound = min(known, bound) if "max" in key.lower() else max(known, bound)
    return {**schema, key: bound}


def _choice(members: Sequence[Any]) -> Schema:
    values = [member.value if isinstance(member, Enum) else member for member in members]
    schema: Schema = {"enum": values}
    kinds = {SCALAR_TYPES.get(type(value)) for value in values}
    if len(kinds) == 1 and None not in kinds:
        (schema["type"],) = kinds
    return schema


def _chosen(schema: Schema, validator: Any) -> Schema:
    """Narrow a schema to the options of ``in_`` that it allows."""
    # attrs makes a set of them; what it was given has the order.
    options = getattr(validator, "_original_options", validator.options)
    if isinstance(options, str):
        return schema
    values = [option.value if isinstance(option, Enum) else option for option in options]
    inner = _not_null(schema)
    parts: list[Schema] = [schema] if inner is None else [inner, {"type": "null"}]
    return _choice([value for value in values if any(_allows(part, value) for part in parts)])


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


def _default(field: "attrs.Attribute[Any]") -> Json:
    default: Any = field.default
    if default is attrs.NOTHING:
        raise LookupError(field.name)
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    return unstructure(default)


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
    return " ".join(text.split()).replace("``", "`")
