"""The JSON form of a value without what has its default: stating a default states nothing more."""

from typing import Any, cast

from prover_framework.serialization.converter import form_of, unstructure
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


def unstructure_given(value: object) -> dict[str, Json]:
    """Turn an instance of an attrs class into its JSON form, without fields at their defaults.

    What is left out is the same for every instance that is equal, and reading it again gives an
    equal one. Fields of classes within it are left out likewise.

    Raises:
        NoJsonForm: It holds what its type does not declare, and where.
    """
    return cast(dict[str, Json], _given(form_of(type(value)), unstructure(value)))


def _given(form: Form, written: Json) -> Json:
    match form, written:
        case ObjectForm(), dict():
            return {
                key: _given(part.form, written[key])
                for key, part in form.fields.items()
                if not _is_default(part, written[key])
            }
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


def _given_tagged(form: UnionForm, written: dict[str, Any]) -> Json:
    tag = written[form.tag]
    given = cast(dict[str, Json], _given(form.classes[tag], written))
    # The tag says what the rest is, default or not.
    return {form.tag: tag, **given}


def _is_default(part: FieldForm, written: Json) -> bool:
    if not part.shows_default:
        return False
    return _same(part.form.write(part.default()), written)


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
