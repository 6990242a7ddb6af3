"""The JSON form of a value without what has its default: stating a default states nothing more."""

from functools import cache
from typing import Any, cast

from attrs import frozen

from prover_framework.serialization.converter import form_of, unstructure_as
from prover_framework.serialization.forms import (
    ArrayForm,
    FieldForm,
    FixedForm,
    Form,
    MappingForm,
    ObjectForm,
    OptionalForm,
    UnionForm,
)
from prover_framework.serialization.json_text import Json

# What may hold fields that have their defaults.
NESTED = (ObjectForm, UnionForm, OptionalForm, ArrayForm, FixedForm, MappingForm)


def unstructure_given(value: object) -> dict[str, Json]:
    """Turn an instance of an attrs class into its JSON form, without fields at their defaults.

    What is left out is the same for every instance that is equal, and reading it again gives an
    equal one. Fields of classes within it are left out likewise.

    Raises:
        NoJsonForm: It holds what its type does not declare, and where.
    """
    form = form_of(type(value))
    return cast(dict[str, Json], _given(form, unstructure_as(form, value)))


@frozen
class _Part:
    """What is known of a field, whichever instance it is of.

    Args:
        key: Its name in JSON.
        nested: Its form, where that may hold fields of its own.
        defaults: The JSON form of its default, where that is left out; nothing where it is not.
    """

    key: str
    nested: Form | None
    defaults: tuple[Json, ...]


@cache
def _parts(form: ObjectForm) -> tuple[_Part, ...]:
    return tuple(_part(key, field) for key, field in form.fields.items())


def _part(key: str, field: FieldForm) -> _Part:
    return _Part(
        key,
        field.form if isinstance(field.form, NESTED) else None,
        (field.form.write(field.default()),) if field.shows_default else (),
    )


def _given(form: Form, written: Json) -> Json:
    match form, written:
        case ObjectForm(), dict():
            return _given_fields(form, written)
        case UnionForm(), dict():
            return _given_tagged(form, written)
        case OptionalForm(), _ if written is not None:
            return _given(form.inner, written)
        case ArrayForm(), list():
            return [_given(form.element, item) for item in written]
        case FixedForm(), list():
            return [_given(each, item) for each, item in zip(form.places, written, strict=True)]
        case MappingForm(), dict():
            return {key: _given(form.value, item) for key, item in written.items()}
    return written


def _given_fields(form: ObjectForm, written: dict[str, Any]) -> Json:
    given: dict[str, Json] = {}
    for part in _parts(form):
        item = written[part.key]
        if part.defaults and _same(part.defaults[0], item):
            continue
        given[part.key] = item if part.nested is None else _given(part.nested, item)
    return given


def _given_tagged(form: UnionForm, written: dict[str, Any]) -> Json:
    tag = written[form.tag]
    given = cast(dict[str, Json], _given(form.classes[tag], written))
    # The tag says what the rest is, default or not.
    return {form.tag: tag, **given}


def _same(one: Json, other: Json) -> bool:
    """Compare as canonical JSON does: 0, 0.0 and -0.0 are one number, and true is none."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        case ((list() | tuple()), (list() | tuple())):
            return len(one) == len(other) and all(map(_same, one, other))
        case bool(), _:
            return one is other
        case _, bool():
            return False
    return one == other
