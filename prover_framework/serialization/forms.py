"""What a type is in JSON: how it is read, how it is written, its JSON Schema, values to try.

Each supported type has one `Form`, and all four come from it, so that they cannot disagree. What a
form writes is exactly JSON: plain objects of the seven kinds, finite numbers, strings that are
Unicode, the same for equal values in every process. Nothing is coerced on the way in: ``"5"`` and
``true`` are not integers.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, Flag
from functools import cached_property
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import attrs
from attrs import field, frozen

from prover_framework.errors import Problem, RequestError
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.serialization.objections import (
    MAX_PROBLEMS,
    constructor_problem,
    enough,
    refused,
    validator_problem,
)
from prover_framework.text import describe, describe_error, quote

T = TypeVar("T")

Schema = dict[str, Json]


class OwnSchema(Schema):
    """The schema of what carries a value of a type of its own; validators see the value itself."""


MAX_EXACT_INTEGER = 2**53 - 1
"""RFC 8785 writes numbers as doubles, which hold no further integers one by one."""

# Samples only have to show each kind of value once; a class of many fields is tried at every start.
MAX_SAMPLES = 8

# How deep samples of classes within classes go: a class within itself would go on for ever.
SAMPLE_DEPTH = 3

# What a converter, a validator or a type of a plugin's own may raise to say that a value is wrong.
OBJECTIONS = (ValueError, TypeError, ArithmeticError)


# What makes instances of a class, which nest to a depth: it is given to `Form.samples`.
Instances = Callable[["ObjectForm", int], Sequence[Any]]


@frozen(eq=False)
class JsonType(Generic[T]):
    """How values of a type travel as JSON, for a type that has no form of its own here.

    It stands in the annotation, ``Annotated[Fraction, JsonType(...)]``, so it goes wherever the
    class with that field goes.

    Args:
        via: The supported type whose JSON form carries the values, ``str`` for example.
        read: Makes a value from one of ``via``. It raises ValueError, TypeError or ArithmeticError
            with the rest of a sentence ("must be a fraction") where that is none.
        write: Makes a value of ``via`` from a value. Equal values must give equal ones.
        samples: Values that are tried when a plugin is loaded; at least one.
        schema: Added to the JSON Schema of ``via``, for example ``{"pattern": "..."}``.
    """

    via: Any
    read: Callable[[Any], T]
    write: Callable[[T], Any]
    samples: Sequence[T]
    schema: Mapping[str, Json] = field(factory=dict)


class Form(ABC):
    """What one type is in JSON."""

    @abstractmethod
    def read(self, value: Json) -> Any:
        """Make an instance from JSON.

        Raises:
            RequestError: It does not fit; all problems with their places.
            ValueError: It does not fit; the one problem as the rest of a sentence.
        """

    @abstractmethod
    def write(self, value: Any) -> Json:
        """Make JSON from an instance.

        Raises:
            RequestError: It is no instance of the type; all problems with their places.
            ValueError, TypeError: It is none; the one problem as the rest of a sentence.
        """

    @abstractmethod
    def schema(self, of: Callable[["Form"], Schema]) -> Schema:
        """Return the JSON Schema; ``of`` gives that of a part."""

    @abstractmethod
    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return some instances, always the same; ``of`` makes those of classes within it."""

    def parts(self) -> Sequence["Form"]:
        """Return the forms that this one is made of."""
        return ()

    def are_plain(self, values: Sequence[Any]) -> bool:
        """Tell whether all of some values are in JSON what they are here, if that is quick.

        Thousands of numbers are then not read or written one by one.
        """
        del values
        return False


@frozen
class NullForm(Form):
    """None."""

    def read(self, value: Json) -> None:
        """Read null."""
        if value is not None:
            raise ValueError(f"must be null, got {describe(value)}")

    def write(self, value: Any) -> Json:
        """Write null."""
        self.read(value)
        return None

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the type."""
        return {"type": "null"}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return the one value."""
        return (None,)


@frozen
class BooleanForm(Form):
    """A bool."""

    def read(self, value: Json) -> bool:
        """Read true or false."""
        if type(value) is not bool:
            raise ValueError(f"must be true or false, got {describe(value)}")
        return value

    def write(self, value: Any) -> Json:
        """Write true or false."""
        return self.read(value)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the type."""
        return {"type": "boolean"}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return both values."""
        return (False, True)


@frozen
class IntegerForm(Form):
    """An int as a JSON number.

    Args:
        exact: Whether it ends where doubles stop to hold each integer. What is stated in a receipt
            has to.
    """

    exact: bool = True

    def are_plain(self, values: Sequence[Any]) -> bool:
        """Tell whether they are integers within the bounds."""
        if set(map(type, values)) != {int}:
            return False
        return not self.exact or -MAX_EXACT_INTEGER <= min(values) <= max(values) <= (
            MAX_EXACT_INTEGER
        )

    def read(self, value: Json) -> int:
        """Read an integer; ``1.0`` is none."""
        if type(value) is not int:
            raise ValueError(f"must be an integer, got {describe(value)}")
        if self.exact and not -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
            raise ValueError(
                f"must be within 2^53 - 1, which JSON numbers hold exactly, got {describe(value)}"
            )
        return value

    def write(self, value: Any) -> Json:
        """Write an integer; a member of an IntEnum is one, too."""
        if type(value) is not int and isinstance(value, int) and not isinstance(value, bool):
            value = int(value)
        return self.read(value)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the type, and the bounds."""
        if not self.exact:
            return {"type": "integer"}
        return {"type": "integer", "minimum": -MAX_EXACT_INTEGER, "maximum": MAX_EXACT_INTEGER}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return small ones and the ends."""
        return (0, 1, -1, 7, 1_000_000_007, MAX_EXACT_INTEGER, -MAX_EXACT_INTEGER)


@frozen
class NumberForm(Form):
    """A finite float."""

    def are_plain(self, values: Sequence[Any]) -> bool:
        """Tell whether they are finite floats."""
        return set(map(type, values)) == {float} and all(map(math.isfinite, values))

    def read(self, value: Json) -> float:
        """Read a number."""
        if type(value) is not int and type(value) is not float:
            raise ValueError(f"must be a number, got {describe(value)}")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"is too large: {describe(value)}") from None
        if not math.isfinite(number):
            raise ValueError(f"must be finite, got {number}")
        return number

    def write(self, value: Any) -> Json:
        """Write a float, numpy's too, or an integer that is one."""
        if isinstance(value, float):
            return self.read(float(value))
        number = self.read(value)
        if number != value:
            raise ValueError(f"must be a double, got {describe(value)}")
        return number

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the type."""
        return {"type": "number"}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return ones that are written in each of the ways there are, and the ends."""
        return (0.0, 1.0, 0.1, -1.5, 1e-7, 1e17, 1e21, 1.7976931348623157e308)


@frozen
class TextForm(Form):
    """A str."""

    def read(self, value: Json) -> str:
        """Read a string."""
        if type(value) is not str:
            raise ValueError(f"must be a string, got {describe(value)}")
        return _unicode(value)

    def write(self, value: Any) -> Json:
        """Write a string; a member of a StrEnum is one, too."""
        if type(value) is str:
            return _unicode(value)
        return self.read(str.__str__(value) if isinstance(value, str) else value)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the type."""
        return {"type": "string"}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return ones that are easily taken for something else."""
        return ("a", "", "null", "1", "Two words", 'é€😀"\\', "\0\n", "x" * 40)


@frozen
class AnyForm(Form):
    """Whatever JSON can say; an instance is written by its own type."""

    forms: "Forms" = field(repr=False, eq=False)

    def read(self, value: Json) -> Any:
        """Read a value as it is."""
        if type(value) is str:
            return _unicode(value)
        match value:
            case None | bool() | int():
                return value
            case float():
                return NumberForm().read(value)
            case str():
                return _unicode(value)
            case list():
                return _elements(value, self.read)
            case dict():
                return _members(value, self.read)
        raise ValueError(f"must be JSON, got {describe(value)}")

    def write(self, value: Any) -> Json:
        """Write a value by its own type."""
        kind = type(value)
        if kind is str:
            return _unicode(value)
        if kind is int:
            return int(value)
        if kind is dict:
            return _members(value, self.write)
        match value:
            case None | bool():
                return value
            case Enum():
                return self.forms.of(type(value)).write(value)
            case int():
                return int(value)
            case float():
                return NumberForm().write(value)
            case str():
                return TextForm().write(value)
            case list() | tuple():
                return _elements(value, self.write)
            case set() | frozenset():
                return _sorted(_elements(list(value), self.write))
            case dict():
                return _members(value, self.write)
        if not attrs.has(kind) and kind not in self.forms.own:
            raise ValueError(f"must be JSON, got {describe(value)}")
        return self.forms.of(kind).write(value)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the schema that takes all."""
        return {}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return one of each kind."""
        return (None, True, 1, 0.5, "a", [1, "a"], {"a": [None]})


@frozen
class ChoiceForm(Form):
    """An enumeration or a ``Literal``: one of its values, of the same type.

    Args:
        members: What a value is in the process.
        values: The same in JSON.
    """

    members: tuple[Any, ...]
    values: tuple[Json, ...]

    def read(self, value: Json) -> Any:
        """Read one of the values."""
        for choice, member in zip(self.values, self.members, strict=True):
            # True equals 1 and is another value all the same.
            if type(choice) is type(value) and choice == value:
                return member
        for choice, member in zip(self.values, self.members, strict=True):
            # The canonical form writes 2.0 as 2.
            if type(choice) is float and type(value) is int and choice == value:
                return member
        raise ValueError(f"must be one of {self._known()}, got {describe(value)}")

    def write(self, value: Any) -> Json:
        """Write the value of a member."""
        for choice, member in zip(self.values, self.members, strict=True):
            if type(member) is type(value) and member == value:
                return choice
        raise ValueError(f"must be one of {self._known()}, got {describe(value)}")

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the values."""
        return choices(self.values)

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return the first members."""
        return self.members[:MAX_SAMPLES]

    def _known(self) -> str:
        return ", ".join(json.dumps(value) for value in self.values)


@frozen
class OptionalForm(Form):
    """Something or None."""

    inner: Form

    def read(self, value: Json) -> Any:
        """Read it or null."""
        return None if value is None else self.inner.read(value)

    def write(self, value: Any) -> Json:
        """Write it or null."""
        return None if value is None else self.inner.write(value)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return both."""
        return {"anyOf": [of(self.inner), {"type": "null"}]}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return None beside the others."""
        return (None, *self.inner.samples(depth, of))

    def parts(self) -> Sequence[Form]:
        """Return what it may be."""
        return (self.inner,)


@frozen
class ArrayForm(Form):
    """A tuple, list or set of elements of one type.

    Args:
        container: Makes it from a list.
        of: What instances are.
        element: The form of the elements.
    """

    container: Callable[[list[Any]], Any]
    of: tuple[type[Any], ...]
    element: Form

    @property
    def is_set(self) -> bool:
        """Whether it has no order and nothing twice."""
        return self.container in (set, frozenset)

    def read(self, value: Json) -> Any:
        """Read an array."""
        if type(value) is not list:
            raise ValueError(f"must be an array, got {describe(value)}")
        plain = self.element.are_plain(value)
        elements = value if plain else _elements(value, self.element.read)
        made = self.container(elements)
        if self.is_set and len(made) != len(elements):
            raise ValueError("must not have an element twice")
        return made

    def write(self, value: Any) -> Json:
        """Write an array; a set's elements are sorted by their text."""
        if not isinstance(value, self.of) or isinstance(value, str | bytes):
            raise TypeError(f"must be a {self.of[0].__name__}, got {describe(value)}")
        elements = list(value)
        if not self.element.are_plain(elements):
            elements = _elements(elements, self.element.write)
        return _sorted(elements) if self.is_set else elements

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the elements' schema."""
        schema: Schema = {"type": "array", "items": of(self.element)}
        return {**schema, "uniqueItems": True} if self.is_set else schema

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return none, one and several."""
        inner = list(self.element.samples(depth, of))[:MAX_SAMPLES]
        return [self.container(inner[:size]) for size in sorted({0, 1, 2, len(inner)})]

    def parts(self) -> Sequence[Form]:
        """Return the elements'."""
        return (self.element,)


@frozen
class FixedForm(Form):
    """A tuple with a type for each place."""

    places: tuple[Form, ...]

    def read(self, value: Json) -> Any:
        """Read an array of that length."""
        if type(value) is not list:
            raise ValueError(f"must be an array, got {describe(value)}")
        return tuple(self._each(value, [form.read for form in self.places]))

    def write(self, value: Any) -> Json:
        """Write an array of that length."""
        if type(value) is not tuple:
            raise ValueError(f"must be a tuple, got {describe(value)}")
        return self._each(value, [form.write for form in self.places])

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the schema of each place."""
        return {
            "type": "array",
            "prefixItems": [of(form) for form in self.places],
            "items": False,
            "minItems": len(self.places),
        }

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return several."""
        return list(
            islice(zip(*(cycled(f.samples(depth, of)) for f in self.places), strict=True), 3)
        )

    def parts(self) -> Sequence[Form]:
        """Return each place's."""
        return self.places

    def _each(self, value: Sequence[Any], convert: Sequence[Callable[[Any], Any]]) -> list[Any]:
        if len(value) != len(self.places):
            raise ValueError(f"must have {len(self.places)} elements, got {len(value)}")
        return gathered(
            (f"[{place}]", element, each)
            for place, (element, each) in enumerate(zip(value, convert, strict=True))
        )


@frozen
class MappingForm(Form):
    """A dictionary of values of one type, by strings."""

    value: Form

    def read(self, value: Json) -> Any:
        """Read an object."""
        if type(value) is not dict:
            raise ValueError(f"must be an object, got {describe(value)}")
        return _members(value, self.value.read)

    def write(self, value: Any) -> Json:
        """Write an object."""
        if not isinstance(value, Mapping):
            raise TypeError(f"must be a dict, got {describe(value)}")
        return _members(value, self.value.write)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the values' schema."""
        return {"type": "object", "additionalProperties": of(self.value)}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return an empty one and one with some keys."""
        inner = list(self.value.samples(depth, of))
        return ({}, dict(zip(("a", "", "Zwei Wörter"), inner, strict=False)))

    def parts(self) -> Sequence[Form]:
        """Return the values'."""
        return (self.value,)


@frozen
class OwnForm(Form):
    """A type with a `JsonType`: one of the framework's, or a plugin's.

    Args:
        cls: The type.
        json_type: How its values travel.
        via: The form that carries them.
    """

    cls: Any
    json_type: JsonType[Any]
    via: Form

    def read(self, value: Json) -> Any:
        """Read what carries the value, then the value."""
        carried = self.via.read(value)
        try:
            return self.json_type.read(carried)
        except OBJECTIONS as error:
            raise ValueError(_objection(error, "cannot be read")) from None

    def write(self, value: Any) -> Json:
        """Write what carries the value."""
        if isinstance(self.cls, type) and not isinstance(value, self.cls):
            raise TypeError(f"must be of type {self.cls.__name__}, got {describe(value)}")
        try:
            carried = self.json_type.write(value)
        except OBJECTIONS as error:
            raise ValueError(_objection(error, "cannot be written")) from None
        return self.via.write(carried)

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the schema of what carries it, and what the type adds."""
        return OwnSchema({**of(self.via), **self.json_type.schema})

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return those that came with the type."""
        return tuple(self.json_type.samples)[:MAX_SAMPLES]

    def parts(self) -> Sequence[Form]:
        """Return what carries it."""
        return (self.via,)


@frozen
class UnionForm(Form):
    """One of several classes, told apart by a field that is a ``Literal`` of another text in each.

    Args:
        tag: Name of that field in JSON.
        classes: The classes by its value.
    """

    tag: str
    classes: Mapping[str, "ObjectForm"]

    def read(self, value: Json) -> Any:
        """Read the class that the tag names."""
        if type(value) is not dict:
            raise ValueError(f"must be an object, got {describe(value)}")
        known = ", ".join(json.dumps(tag) for tag in self.classes)
        if self.tag not in value:
            raise RequestError([Problem(self.tag, f"is required, one of {known}")])
        tag = value[self.tag]
        if not isinstance(tag, str) or tag not in self.classes:
            what = f"must be one of {known}, got {describe(tag)}"
            raise RequestError([Problem(self.tag, what)])
        return self.classes[tag].read(value)

    def write(self, value: Any) -> Json:
        """Write an instance of any of the classes."""
        for form in self.classes.values():
            if type(value) is form.cls:
                return form.write(value)
        names = ", ".join(form.cls.__name__ for form in self.classes.values())
        raise ValueError(f"must be one of {names}, got {describe(value)}")

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the schemas of the classes, of which one holds."""
        return {"oneOf": [{**of(f), "required": [self.tag]} for f in self.classes.values()]}

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return some of each class."""
        each = [form.samples(depth, of)[:3] for form in self.classes.values()]
        return [sample for samples in each for sample in samples]

    def parts(self) -> Sequence[Form]:
        """Return the classes'."""
        return tuple(self.classes.values())


@frozen
class FieldForm:
    """A field of an attrs class.

    Args:
        key: Its name in JSON.
        attribute: What attrs knows of it.
        form: The form of its type.
    """

    key: str
    attribute: "attrs.Attribute[Any]"
    form: Form

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.attribute.default is attrs.NOTHING

    @property
    def shows_default(self) -> bool:
        """Whether it has a default that is the same for each instance."""
        default: Any = self.attribute.default
        if self.required or (isinstance(default, _FACTORY) and default.takes_self):
            return False
        return self.attribute.converter is None or not isinstance(
            self.attribute.converter, attrs.Converter
        )

    def default(self) -> Any:
        """Return the default in the process, as the class's constructor makes it."""
        default: Any = self.attribute.default
        if isinstance(default, _FACTORY):
            default = default.factory()
        converter: Any = self.attribute.converter
        return default if converter is None else converter(default)


_FACTORY: type[Any] = attrs.Factory  # type: ignore[assignment]


@frozen(eq=False)
class ObjectForm(Form):
    """An attrs class, field by field."""

    cls: type[Any]
    forms: "Forms" = field(repr=False)

    @cached_property
    def fields(self) -> dict[str, FieldForm]:
        """The fields that the constructor takes, by their names in JSON.

        Raises:
            TypeError: One has no JSON form, and which.
        """
        cls: Any = self.cls
        try:
            attrs.resolve_types(cls)
        except Exception as error:
            raise TypeError(f"the types of {cls.__name__} cannot be resolved: {error}") from None
        found: dict[str, FieldForm] = {}
        for attribute in attrs.fields(cls):
            if attribute.init:
                key = attribute.alias or attribute.name
                form = self.forms.of(attribute.type, f"{cls.__name__}.{attribute.name}")
                found[key] = FieldForm(key, attribute, form)
        return found

    @cached_property
    def _writers(self) -> tuple[tuple[str, str, Callable[[Any], Json]], ...]:
        """For each field its name in JSON, its name in the process, and what writes it."""
        return tuple(
            (key, part.attribute.name, part.form.write) for key, part in self.fields.items()
        )

    def read(self, value: Json) -> Any:
        """Read an object, and report the problems of all of its fields.

        The class's constructor would stop at the first validator that objects; here each field
        meets its validators alone, so that two bad fields are two problems.
        """
        if not isinstance(value, dict):
            raise RequestError([Problem("", f"must be an object, got {describe(value)}")])
        fields = self.fields
        problems: list[Problem] = []
        if not value.keys() <= fields.keys():
            unknown = islice((key for key in value if key not in fields), MAX_PROBLEMS + 1)
            known = ", ".join(fields)
            problems.extend(Problem(quote(key), f"is unknown (known: {known})") for key in unknown)
        arguments: dict[str, Any] = {}
        for key, part in fields.items():
            if key in value:
                try:
                    arguments[key] = part.form.read(value[key])
                except (RequestError, *OBJECTIONS) as error:
                    problems.extend(problems_at(key, error))
            elif part.required:
                problems.append(Problem(key, "is required"))
        if problems:
            raise refused([*problems, *self._validated(arguments, value)])
        try:
            return self.cls(**arguments)
        except OBJECTIONS as error:
            # It stops at the first validator that objects.
            if problems := list(self._validated(arguments, value)):
                raise refused(problems) from None
            names = {key: part.attribute.name for key, part in fields.items()}
            raise RequestError([constructor_problem(error, names)]) from None

    def write(self, value: Any) -> Json:
        """Write an object; it is an instance of this very class."""
        if type(value) is not self.cls:
            raise TypeError(f"must be of type {self.cls.__name__}, got {describe(value)}")
        written: dict[str, Json] = {}
        problems: list[Problem] = []
        for key, name, write in self._writers:
            try:
                written[key] = write(getattr(value, name))
            except (RequestError, *OBJECTIONS) as error:
                problems.extend(problems_at(key, error))
        if problems:
            raise refused(problems)
        return written

    def schema(self, of: Callable[[Form], Schema]) -> Schema:
        """Return the schema, which is in `prover_framework.serialization.json_schema`."""
        return of(self)

    def samples(self, depth: int, of: Instances) -> Sequence[Any]:
        """Return instances, until the depth is reached."""
        return of(self, depth - 1) if depth else ()

    def parts(self) -> Sequence[Form]:
        """Return the fields'."""
        return tuple(part.form for part in self.fields.values())

    def _validated(
        self, arguments: Mapping[str, Any], given: Mapping[str, Json]
    ) -> Iterable[Problem]:
        """Run the validators of the given fields that are sound, each by itself."""
        # Validators may look at other fields: they see an instance that has those that are sound.
        partial = object.__new__(self.cls)
        for key, part in self.fields.items():
            default: Any = part.attribute.default
            if key in arguments:
                object.__setattr__(partial, part.attribute.name, arguments[key])
            elif key not in given and not part.required and not isinstance(default, _FACTORY):
                object.__setattr__(partial, part.attribute.name, default)
        for key, argument in arguments.items():
            attribute = self.fields[key].attribute
            # A validator sees what the converter made, which only the constructor can tell.
            if attribute.validator is None or attribute.converter is not None:
                continue
            try:
                attribute.validator(partial, attribute, argument)
            except AttributeError:
                # It wanted a field that is not there: one with a problem of its own, or one that
                # the constructor makes; the constructor runs all validators again.
                continue
            except OBJECTIONS as error:
                yield validator_problem(error, key, attribute.name, argument)


# What arrays are in the process: what makes them, and what instances are.
ARRAYS: dict[Any, tuple[Callable[[list[Any]], Any], tuple[type[Any], ...]]] = {
    tuple: (tuple, (tuple,)),
    list: (list, (list,)),
    set: (set, (set,)),
    frozenset: (frozenset, (frozenset,)),
    Sequence: (tuple, (list, tuple)),
    AbstractSet: (frozenset, (frozenset, set)),
}


class Forms:
    """The forms of all types that have been asked for.

    Args:
        own: The `JsonType` of each type that has one without an annotation.
    """

    def __init__(self, own: Mapping[type[Any], JsonType[Any]]) -> None:
        self.own = own
        self._scalars: dict[Any, Form] = {
            bool: BooleanForm(),
            int: IntegerForm(),
            float: NumberForm(),
            str: TextForm(),
            NoneType: NullForm(),
            Any: AnyForm(self),
        }
        self._classes: dict[type[Any], ObjectForm] = {}

    def of(self, cls: Any, where: str = "") -> Form:
        """Return the form of a type.

        Args:
            cls: The type, as annotations have it.
            where: What messages call the place that it stands at.

        Raises:
            TypeError: It has none, and where.
        """
        if isinstance(cls, type) and (made := self._classes.get(cls)) is not None:
            return made
        if hasattr(cls, "__supertype__"):
            return self.of(cls.__supertype__, where)
        if get_origin(cls) is Annotated:
            inner, *notes = get_args(cls)
            for note in reversed(notes):
                if isinstance(note, JsonType):
                    return OwnForm(inner, note, self.of(note.via, where))
                if isinstance(note, Form):
                    return note
            return self.of(inner, where)
        if isinstance(cls, type) and get_origin(cls) is None:
            if attrs.has(cls):
                return self._of_class(cls, where)
            if issubclass(cls, Enum):
                return _choice(cls, list(cls), [member.value for member in cls], where)
            if cls in self.own:
                return OwnForm(cls, self.own[cls], self.of(self.own[cls].via, where))
        if get_origin(cls) is Literal:
            members = list(get_args(cls))
            values = [member.value if isinstance(member, Enum) else member for member in members]
            return _choice(cls, members, values, where)
        if get_origin(cls) in (Union, UnionType):
            return self._of_union(cls, where)
        origin = get_origin(cls) or cls
        if _known(origin, ARRAYS):
            return self._of_array(cls, where)
        if origin in (dict, Mapping):
            key, value = get_args(cls) or (str, Any)
            if self.of(key, where) != TextForm():
                raise TypeError(f"{where} has keys that are not strings")
            return MappingForm(self.of(value, where))
        if _known(cls, self._scalars):
            return self._scalars[cls]
        raise TypeError(f"{where} has the type {cls!r}, which has no JSON form here")

    def _of_class(self, cls: type[Any], where: str) -> ObjectForm:
        if getattr(cls, "__parameters__", ()):
            raise TypeError(f"{where} has the generic type {cls!r}, which has no JSON form here")
        if cls not in self._classes:
            self._classes[cls] = ObjectForm(cls, self)
        return self._classes[cls]

    def _of_array(self, cls: Any, where: str) -> Form:
        origin, arguments = get_origin(cls) or cls, get_args(cls)
        if origin is tuple and get_origin(cls) and arguments[-1:] != (Ellipsis,):
            return FixedForm(tuple(self.of(argument, where) for argument in arguments))
        container, instances = ARRAYS[origin]
        element = self.of(arguments[0] if arguments else Any, where)
        return ArrayForm(container, instances, element)

    def _of_union(self, cls: Any, where: str) -> Form:
        arguments = get_args(cls)
        if set(arguments) >= {bool, int, float, str, NoneType}:
            # The alias `Json` itself.
            return self._scalars[Any]
        members = [argument for argument in arguments if argument is not NoneType]
        if len(members) == 1:
            form = self.of(members[0], where)
        else:
            form = self._tagged(cls, members, where)
        return form if len(members) == len(arguments) else OptionalForm(form)

    def _tagged(self, cls: Any, members: Sequence[Any], where: str) -> UnionForm:
        if not all(isinstance(member, type) and attrs.has(member) for member in members):
            raise TypeError(
                f"{where} has the type {cls!r}, which has no JSON form here: of unions, those of "
                "attrs classes with a tag have one, and those with None"
            )
        forms = [self._of_class(member, where) for member in members]
        for key in forms[0].fields:
            tags = [_tag(form, key) for form in forms]
            if None not in tags and len(set(tags)) == len(tags):
                return UnionForm(
                    key, {str(tag): form for tag, form in zip(tags, forms, strict=True)}
                )
        raise TypeError(
            f"{where} has the type {cls!r}, whose classes cannot be told apart: each needs a "
            "field of one name whose type is a Literal of another text, such as "
            '`kind: Literal["call"] = "call"`'
        )


def _tag(form: ObjectForm, key: str) -> str | None:
    part = form.fields.get(key)
    if part is None or not isinstance(part.form, ChoiceForm):
        return None
    values = part.form.values
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _known(cls: Any, table: Mapping[Any, Any]) -> bool:
    try:
        return cls in table
    except TypeError:
        # It has no hash.
        return False


def _choice(cls: Any, members: list[Any], values: list[Any], where: str) -> ChoiceForm:
    if isinstance(cls, type) and issubclass(cls, Flag):
        raise TypeError(f"{where} has the type {cls!r}: flags have no JSON form here")
    if not members:
        raise TypeError(f"{where} has the type {cls!r}, which has no member")
    plain: list[Json] = []
    for value in values:
        try:
            plain.append(_scalar(value).write(value))
        except ValueError as error:
            raise TypeError(f"{where} has the type {cls!r}: {value!r} {error}") from None
    return ChoiceForm(tuple(members), tuple(plain))


def _scalar(value: object) -> Form:
    match value:
        case None:
            return NullForm()
        case bool():
            return BooleanForm()
        case int():
            return IntegerForm()
        case float():
            return NumberForm()
        case str():
            return TextForm()
    raise ValueError("is no text, number, boolean or None")


def choices(values: Sequence[Json]) -> Schema:
    """Return the schema of one of some values."""
    kinds = {type(value) for value in values}
    schema: Schema = {"enum": list(values)}
    if len(kinds) == 1 and NoneType not in kinds:
        schema["type"] = SCALAR_TYPES[kinds.pop()]
    return schema


SCALAR_TYPES: Mapping[type[Any], str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
}


def problems_at(where: str, error: Exception) -> list[Problem]:
    """Return what an error of a part says, with its place."""
    if isinstance(error, RequestError):
        return [_below(where, problem) for problem in error.problems]
    return [Problem(where, str(error))]


def gathered(
    parts: Iterable[tuple[str, Any, Callable[[Any], Any]]], before: Sequence[Problem] = ()
) -> list[Any]:
    """Convert parts, and report the problems of all of them, or enough of them.

    Args:
        parts: For each its place, itself and what converts it.
        before: Problems that were found already.
    """
    done: list[Any] = []
    problems = list(before)
    for place, value, convert in parts:
        if enough(problems):
            break
        try:
            done.append(convert(value))
        except (RequestError, *OBJECTIONS) as error:
            problems.extend(problems_at(place, error))
    if problems:
        raise refused(problems)
    return done


def cycled(samples: Sequence[Any]) -> Iterable[Any]:
    """Go round samples for ever."""
    while samples:
        yield from samples


def _elements(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    done: list[Any] = []
    try:
        for value in values:
            done.append(convert(value))  # noqa: PERF401 - how far it came is wanted when it fails
    except (RequestError, *OBJECTIONS) as error:
        # Nothing is converted twice: within nested arrays that would double the work at each level.
        problems = problems_at(f"[{len(done)}]", error)
    else:
        return done
    rest = islice(enumerate(values), len(done) + 1, None)
    return gathered(((f"[{place}]", value, convert) for place, value in rest), problems)


def _members(values: Mapping[Any, Any], convert: Callable[[Any], Any]) -> dict[str, Any]:
    for key in values:
        if type(key) is not str:
            raise ValueError(f"must have keys that are strings, got {describe(key)}")
        if not key.isascii():
            _unicode(key, "must have keys that are Unicode")
    done: dict[str, Any] = {}
    try:
        for key, value in values.items():
            done[key] = convert(value)
    except (RequestError, *OBJECTIONS) as error:
        # As above. Places are named for messages alone: most documents have no problem.
        problems = problems_at(f"[{quote(key)}]", error)
    else:
        return done
    rest = islice(values.items(), len(done) + 1, None)
    gathered(((f"[{quote(key)}]", value, convert) for key, value in rest), problems)
    return done


def _sorted(elements: list[Json]) -> list[Json]:
    return sorted(elements, key=dump_json)


def _unicode(text: str, what: str = "must be Unicode") -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what}, got {quote(text)}") from None
    return text


def _objection(error: Exception, otherwise: str) -> str:
    """Return what an exception says as the rest of a sentence."""
    if isinstance(error, ValueError) and error.args:
        return describe_error(ValueError(error.args[0])).removeprefix("ValueError: ")
    return f"{otherwise}: {describe_error(error)}"


def _below(where: str, problem: Problem) -> Problem:
    if not where or not problem.where:
        return Problem(where or problem.where, problem.what)
    joint = "" if problem.where.startswith("[") else "."
    return Problem(f"{where}{joint}{problem.where}", problem.what)
