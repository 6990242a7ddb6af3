"""JSON Schemas say what the converter takes, and are what others' tools expect."""

import re
from enum import StrEnum
from typing import Any, Literal

import pytest
from attrs import Factory, field, fields, frozen
from attrs.validators import (
    deep_iterable,
    ge,
    gt,
    in_,
    instance_of,
    le,
    lt,
    matches_re,
    max_len,
    min_len,
    optional,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from prover_framework import RangeParameters
from prover_framework.errors import RequestError
from prover_framework.plugins import loading as plugins
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_schema import descriptions_of, schema_of
from prover_framework.serialization.json_text import Json


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Inner:
    """A part.

    Args:
        depth: How deep.
        label: What it is called.
    """

    depth: int = field(validator=ge(0))
    label: str = "none"


@frozen(kw_only=True)
class Tree:
    """A tree.

    Args:
        branches: More of them.
    """

    branches: tuple["Tree", ...] = ()


@frozen(kw_only=True)
class Everything(RangeParameters):
    """All that a class of parameters can be made of.

    A second paragraph is for those who read the code.

    Args:
        count: How many,
            at most ten.
        ratio (float): Part of a whole.
        colour: One of ``Colour``.

    Raises:
        Nothing: at all.
    """

    count: int = field(validator=[ge(1), le(10), ge(0)])
    ratio: float = field(default=0.5, validator=[gt(0), lt(1)])
    name: str = field(default="a", validator=[instance_of(str), matches_re(r"[a-z]|[A-Z]{1,3}")])
    begins: str = field(default="ab", validator=matches_re(r"a|b", func=re.match))
    holds: str = field(default="ab", validator=matches_re(r"a", func=re.search))
    text: str = field(default="a", validator=[min_len(1), max_len(4), max_len(6)])
    flag: bool = False
    nothing: None = None
    maybe: int | None = field(default=None, validator=optional([ge(5), lt(9)]))
    never_null: int | None = field(default=1, validator=ge(0))
    colour: Colour = Colour.RED
    one_colour: Colour = field(default=Colour.BLUE, validator=in_([Colour.BLUE]))
    literal: Literal["a", 2, True] = "a"
    choice: str = field(default="x", validator=in_(["y", "x"]))
    choice_or_null: str | None = field(default=None, validator=optional(in_(["y", "x"])))
    choice_with_null: str | None = field(default=None, validator=in_(["y", None]))
    number_choice: float = field(default=1.5, validator=in_((1.5, 2)))
    items: tuple[int, ...] = field(default=(), validator=deep_iterable(ge(0), max_len(3)))
    some: list[str] = field(factory=lambda: ["a"], validator=min_len(1))
    pair: tuple[int, str] = (1, "a")
    names: frozenset[str] = frozenset()
    table: dict[str, float] = field(factory=dict, validator=max_len(2))
    anything: Any = None
    things: list[Any] = field(factory=list)
    inner: Inner = Inner(depth=0)
    inners: tuple[Inner, ...] = ()
    inner_or_null: Inner | None = None
    tree: Tree = Tree()


SCHEMA = schema_of(Everything)
EXACT = {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1}
VALID: dict[str, Json] = {"start_timestamp": 0, "end_timestamp": 2**63 - 1, "count": 1}

# A line's end is where Python's patterns and those of JSON Schema differ, and 1.0 is an integer
# for JSON Schema.
texts = st.text("abcxyzAB1é😀", max_size=7) | st.sampled_from(["red", "blue", "aA"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0.5, -0.5, 1.5, 9.25, 1e-300])
    | texts
)
inners = st.fixed_dictionaries(
    {}, optional={"depth": st.integers(-1, 3) | texts, "label": texts, "more": st.none()}
)
trees: st.SearchStrategy[Json] = st.recursive(
    st.just({}) | scalars,
    lambda inner: st.fixed_dictionaries({}, optional={"branches": st.lists(inner, max_size=2)}),
    max_leaves=4,
)
values = (
    scalars
    | inners
    | trees
    | st.lists(scalars | inners, max_size=4)
    | st.dictionaries(texts, scalars, max_size=3)
)
# That a range begins before it ends is no rule of a schema.
keys = st.sampled_from(
    [field.name for field in fields(Everything) if not field.name.endswith("_timestamp")]
)


def takes(cls: type[Any], document: Json) -> bool:
    try:
        structure(document, cls)
    except RequestError:
        return False
    return True


@given(st.dictionaries(keys, values, max_size=3), keys)
def test_schema_and_converter_agree(changes: dict[str, Json], gone: str) -> None:
    document = {**VALID, **changes}
    if gone not in changes and gone != "count":
        document.pop(gone, None)
    assert Draft202012Validator(SCHEMA).is_valid(document) == takes(Everything, document)


@given(keys, values)
def test_schema_and_converter_agree_on_each_value(key: str, value: Json) -> None:
    document = {**VALID, key: value}
    assert Draft202012Validator(SCHEMA).is_valid(document) == takes(Everything, document)


@given(st.sampled_from(Colour) | values, st.sampled_from(["unknown", "Count", "count "]))
def test_neither_takes_a_key_that_is_unknown(value: Json, key: str) -> None:
    document = {**VALID, key: value}
    assert not Draft202012Validator(SCHEMA).is_valid(document)
    assert not takes(Everything, document)


def test_each_validator_has_its_word() -> None:
    properties = SCHEMA["properties"]
    assert isinstance(properties, dict)

    def of(key: str) -> Json:
        schema = properties[key]
        assert isinstance(schema, dict)
        return {word: part for word, part in schema.items() if word != "description"}

    assert of("start_timestamp") == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    assert of("count") == {"type": "integer", "minimum": 1, "maximum": 10}
    assert of("ratio") == {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "default": 0.5,
    }
    assert of("name") == {"type": "string", "pattern": "^(?:[a-z]|[A-Z]{1,3})$", "default": "a"}
    assert of("begins") == {"type": "string", "pattern": "^(?:a|b)", "default": "ab"}
    assert of("holds") == {"type": "string", "pattern": "a", "default": "ab"}
    assert of("text") == {"type": "string", "minLength": 1, "maxLength": 4, "default": "a"}
    assert of("maybe") == {
        "anyOf": [
            {"type": "integer", "minimum": 5, "exclusiveMaximum": 9},
            {"type": "null"},
        ],
        "default": None,
    }
    assert of("never_null") == {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**53 - 1,
        "default": 1,
    }
    assert of("colour") == {"type": "string", "enum": ["red", "blue"], "default": "red"}
    assert of("one_colour") == {"type": "string", "enum": ["blue"], "default": "blue"}
    assert of("literal") == {"enum": ["a", 2, True], "default": "a"}
    assert of("choice") == {"type": "string", "enum": ["y", "x"], "default": "x"}
    assert of("choice_with_null") == {"enum": ["y", None], "default": None}
    assert of("number_choice") == {"enum": [1.5, 2], "default": 1.5}
    assert of("items") == {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        "maxItems": 3,
        "default": [],
    }
    assert of("some") == {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "default": ["a"],
    }
    assert of("anything") == {"default": None}
    assert of("inner") == {"$ref": "#/$defs/Inner", "default": {"depth": 0, "label": "none"}}
    assert SCHEMA["required"] == ["start_timestamp", "end_timestamp", "count"]


def test_descriptions_are_those_of_the_docstrings() -> None:
    assert SCHEMA["description"] == "All that a class of parameters can be made of."
    assert descriptions_of(Everything) == {
        **descriptions_of(RangeParameters),
        "count": "How many, at most ten.",
        "ratio": "Part of a whole.",
        "colour": "One of `Colour`.",
    }
    assert descriptions_of(RangeParameters)["start_timestamp"].startswith("Unix seconds")


def test_a_class_within_itself_is_a_reference() -> None:
    schema = schema_of(Tree)
    assert schema["properties"]["branches"]["items"] == {"$ref": "#"}  # type: ignore[index,call-overload]
    assert Draft202012Validator(schema).is_valid({"branches": [{"branches": []}]})
    assert not Draft202012Validator(schema).is_valid({"branches": [{"leaves": []}]})


def test_two_classes_of_one_name_are_two_definitions() -> None:
    def named(kind: Any) -> type[Any]:
        return frozen(type("Part", (), {"__annotations__": {"x": kind}}))

    whole = frozen(type("Whole", (), {"__annotations__": {"a": named(int), "b": named(str)}}))
    validator = Draft202012Validator(schema_of(whole))
    assert validator.is_valid({"a": {"x": 1}, "b": {"x": "1"}})
    assert not validator.is_valid({"a": {"x": "1"}, "b": {"x": "1"}})


@pytest.mark.parametrize(
    "pattern", [r"(?i)a", r"(?P<x>a)", r"\Aa", r"a\Z", r"a++", r"a{,2}", r"(?>a)", r"(?#note)a"]
)
def test_a_pattern_that_only_python_understands_is_left_out(pattern: str) -> None:
    re.compile(pattern)
    cls = frozen(
        type(
            "Odd",
            (),
            {"__annotations__": {"x": str}, "x": field(validator=matches_re(pattern))},
        )
    )
    assert schema_of(cls)["properties"] == {"x": {"type": "string"}}


def test_what_can_not_be_said_is_left_out() -> None:
    def odd(instance: object, attribute: object, value: object) -> None: ...

    @frozen(kw_only=True)
    class Odd:
        a: int = field(default=1, validator=odd)
        b: int = Factory(lambda self: self.a, takes_self=True)
        c: str = field(default="x", validator=in_("xyz"))
        d: int = field(init=False, default=1)
        e: str = field(default="x", converter=str, validator=in_(["x"]))

    assert schema_of(Odd)["properties"] == {
        "a": {**EXACT, "default": 1},
        "b": EXACT,
        "c": {"type": "string", "default": "x"},
        "e": {"type": "string", "default": "x"},
    }


@pytest.mark.parametrize("name", sorted(plugins.load(plugins.installed()).proof_types))
def test_the_schemas_of_installed_proof_types_are_schemas(name: str) -> None:
    proof_type = plugins.load(plugins.installed()).proof_types[name]
    for cls in (proof_type.parameters, proof_type.result):
        schema = schema_of(cls)
        Draft202012Validator.check_schema(schema)
        properties = schema["properties"]
        assert isinstance(properties, dict)
        for key, part in properties.items():
            assert isinstance(part, dict)
            assert part.get("description"), f"{cls.__name__}.{key} is not described"
