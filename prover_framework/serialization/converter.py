"""Between the framework's and plugins' types and JSON: the one converter.

It is a `cattrs.Converter` of which every hook comes from the type's `Form`.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

import cattrs

from prover_framework.errors import Problem, RequestError
from prover_framework.serialization.forms import OBJECTIONS, Form, Forms, ObjectForm, problems_at
from prover_framework.serialization.json_text import Json
from prover_framework.serialization.types import OWN_TYPES

T = TypeVar("T")


class NoJsonForm(ValueError):
    """A value that is not what its type declares, and so has no JSON form."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


def structure(value: Json, cls: type[T], where: str = "") -> T:
    """Turn a JSON value into an instance of ``cls``.

    Raises:
        RequestError: The value does not fit; every problem carries its path below ``where``.
    """
    try:
        return _converter.structure(value, cls)
    except (RequestError, *OBJECTIONS) as error:
        raise RequestError(problems_at(where, error)) from None
    except RecursionError:
        raise RequestError([Problem(where, "is nested too deep")]) from None


def unstructure(value: object) -> Json:
    """Turn an instance of one of the framework's or a plugin's types into its JSON form.

    Raises:
        NoJsonForm: It holds what its type does not declare, and where.
    """
    return _unstructured(_converter.unstructure, value)


def unstructure_as(form: Form, value: object) -> Json:
    """Turn an instance of a type into its JSON form, where the type's form is known.

    Raises:
        NoJsonForm: It holds what its type does not declare, and where.
    """
    return _unstructured(form.write, value)


def _unstructured(write: Callable[[Any], Any], value: object) -> Json:
    try:
        return cast(Json, write(value))
    except (RequestError, *OBJECTIONS) as error:
        raise NoJsonForm(problems_at("", error)) from None
    except RecursionError:
        raise NoJsonForm([Problem("", "is nested too deep")]) from None


def unstructure_object(value: object) -> dict[str, Json]:
    """Turn an instance of an attrs class into its JSON form, an object.

    Raises:
        NoJsonForm: It holds what its type does not declare, and where; or it is no object.
    """
    form = unstructure(value)
    if not isinstance(form, dict):
        raise NoJsonForm([Problem("", "is no object")])
    return form


def form_of(cls: Any) -> Form:
    """Return the form of a type.

    Raises:
        TypeError: It has none, and why.
    """
    return _forms.of(cls, getattr(cls, "__name__", repr(cls)))


def class_form(cls: type[Any]) -> ObjectForm:
    """Return the form of an attrs class.

    Raises:
        TypeError: It is none, or has none.
    """
    form = form_of(cls)
    if not isinstance(form, ObjectForm):
        raise TypeError(f"{cls!r} is not an attrs class")
    return form


def all_parts(form: Form) -> list[Form]:
    """Return a form and all that it is made of, each once.

    Raises:
        TypeError: A field of a class has no form.
    """
    found: list[Form] = [form]
    seen = {id(form)}
    for part in found:
        for inner in part.parts():
            if id(inner) not in seen:
                seen.add(id(inner))
                found.append(inner)
    return found


def _build_converter(forms: Forms) -> cattrs.Converter:
    converter = cattrs.Converter()

    write = forms.of(Any).write

    def read(value: Json, cls: Any) -> Any:
        return forms.of(cls, getattr(cls, "__name__", repr(cls))).read(value)

    # cattrs looks at the classes that it has hooks for first, and takes a StrEnum for a str.
    for cls in (object, str, bytes, int, float, bool, Enum):
        converter.register_structure_hook(cls, read)
        converter.register_unstructure_hook(cls, write)
    converter.register_structure_hook_func(lambda _: True, read)
    converter.register_unstructure_hook_func(lambda _: True, write)
    return converter


_forms = Forms(OWN_TYPES)
_converter = _build_converter(_forms)
