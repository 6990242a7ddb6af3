"""The JSON forms: nothing is coerced, every problem has its place, and what goes out comes back."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from typing import Any, Literal, Optional

import attrs
import pytest
from attrs import Attribute, Factory, field, frozen
from attrs.validators import ge, in_, instance_of, le, matches_re
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.errors import MessageError, MessageTooNew, RequestError
from prover_framework.jobs.messages import MESSAGE_VERSION, JobMessage, dump_message, parse_message
from prover_framework.jobs.requests import dump_parameters, parse_group_request, requested_job
from prover_framework.model.inputs import Needs
from prover_framework.model.proofs import JobRequest, ProofType, RangeParameters
from prover_framework.model.series import HourlySeries, SeriesKind, TimeRange
from prover_framework.receipts.documents import MAX_MEMBERS
from prover_framework.serialization.converter import all_parts, form_of, structure, unstructure
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.serialization.objections import MAX_PROBLEMS
from prover_framework.serialization.types import LongInteger, Wei

WITHIN = "within 2^53 - 1, which JSON numbers hold exactly"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Permission(Flag):
    READ = 1
    WRITE = 2


class NoMember(Enum):
    pass


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@frozen(kw_only=True)
class Leaf:
    number: int = field(validator=[ge(0), le(9)])
    name: str = "leaf"


@frozen(kw_only=True)
class Tree:
    leaf: Leaf
    others: tuple[Leaf, ...] = ()
    by_name: dict[str, Leaf] = Factory(dict)
    maybe: Leaf | None = None


def of(annotation: Any, **more: Any) -> type[Any]:
    """Make a class with one field."""
    made = attrs.make_class("Box", {"x": attrs.field(type=annotation, **more)}, frozen=True)
    assert isinstance(made, type)
    return made


def problems(value: Json, cls: type[Any], where: str = "") -> list[str]:
    with pytest.raises(RequestError) as caught:
        structure(value, cls, where)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5),
        (int, -(2**53 - 1)),
        (LongInteger, -(10**30)),
        (Wei, 10**100),
        (float, 5.5),
        (float, -0.0),
        (str, ""),
        (bool, True),
        (None | int, None),
        (int | None, 3),
        (Optional[int], None),  # noqa: UP045 - plugins may write it so
        (tuple[int, ...], (1, 2)),
        (tuple[int, ...], ()),
        (tuple[int, str, bool], (1, "a", False)),
        (list[str], ["a"]),
        (Sequence[int], (1, 2)),
        (frozenset[int], frozenset({1, 2})),
        (AbstractSet[int], frozenset({1})),
        (dict[str, int], {"a": 1}),
        (Mapping[str, tuple[int, ...]], {"a": (1, 2)}),
        (dict[str, Any], {"a": {"b": [1, None]}}),
        (Any, [1, {"a": 2}]),
        (Literal["a", 1], "a"),
        (Literal["a", 1] | None, None),
        (Colour, Colour.RED),
        (Level, Level.HIGH),
        (tuple[Colour | None, ...], (None, Colour.BLUE)),
        (Leaf, Leaf(number=1)),
        (Leaf | None, Leaf(number=1)),
        (tuple[Leaf, ...], (Leaf(number=1), Leaf(number=2))),
        (dict[str, Leaf], {"a": Leaf(number=1)}),
    ],
)
def test_what_goes_out_comes_back_the_same(annotation: Any, value: object) -> None:
    box = of(annotation)
    all_parts(form_of(box))
    form = parse_json(json.dumps(unstructure(box(value)), default=list).encode())
    again = structure(form, box)
    assert again == box(value)
    assert repr(again.x) == repr(value)


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int, "5", "x: must be an integer, got the string '5'"),
        (int, True, "x: must be an integer, got a boolean (true)"),
        (int, 5.0, "x: must be an integer, got the number 5.0"),
        (int, None, "x: must be an integer, got null"),
        (float, "5", "x: must be a number, got the string '5'"),
        (float, False, "x: must be a number, got a boolean (false)"),
        (float, 10**400, f"x: is too large: the integer 1{'0' * 39}... (401 characters)"),
        (str, 5, "x: must be a string, got the integer 5"),
        (str, None, "x: must be a string, got null"),
        (bool, 1, "x: must be true or false, got the integer 1"),
        (bool, "true", "x: must be true or false, got the string 'true'"),
        (int | None, "a", "x: must be an integer, got the string 'a'"),
        (tuple[str, ...], "abc", "x: must be an array, got the string 'abc'"),
        (tuple[str, ...], {"a": 1}, "x: must be an array, got an object"),
        (list[int], 5, "x: must be an array, got the integer 5"),
        (frozenset[int], None, "x: must be an array, got null"),
        (tuple[int, str], [1], "x: must have 2 elements, got 1"),
        (tuple[int, str], [1, "a", 2], "x: must have 2 elements, got 3"),
        (tuple[int, str], ["a", "b"], "x[0]: must be an integer, got the string 'a'"),
        (dict[str, int], [], "x: must be an object, got an array"),
        (dict[str, int], {"k": "v"}, "x['k']: must be an integer, got the string 'v'"),
        (dict[str, int], {"\ud800": 1}, "x: must have keys that are Unicode, got '\\ud800'"),
        (str, "\ud800", "x: must be Unicode, got '\\ud800'"),
        (
            int,
            2**53,
            f"x: must be {WITHIN}, got the integer 9007199254740992",
        ),
        (Literal["a", "b"], "c", 'x: must be one of "a", "b", got the string \'c\''),
        (Literal["a"], ["a"], 'x: must be one of "a", got an array'),
        (Literal[1], True, "x: must be one of 1, got a boolean (true)"),
        (Literal[1], 1.0, "x: must be one of 1, got the number 1.0"),
        (Colour, "green", 'x: must be one of "red", "blue", got the string \'green\''),
        (Colour, "RED", 'x: must be one of "red", "blue", got the string \'RED\''),
        (Level, True, "x: must be one of 1, 2, got a boolean (true)"),
        (Leaf, [], "x: must be an object, got an array"),
        (Leaf, {"number": 10}, "x.number: must be <= 9, got the integer 10"),
        (Leaf | None, {"number": -1}, "x.number: must be >= 0, got the integer -1"),
    ],
)
def test_nothing_is_coerced(annotation: Any, value: Json, problem: str) -> None:
    assert problems({"x": value}, of(annotation)) == [problem]


def test_every_problem_is_reported_with_its_path() -> None:
    value: Json = {
        "leaf": {"number": "1", "name": 2, "colour": 3},
        "others": [{"number": 1}, {"number": 10}, 5, {}],
        "by_name": {"a b": {"number": -1}, "c": {"number": 3, "name": None}},
        "maybe": [],
        "more": None,
    }
    assert problems(value, Tree, "tree") == [
        "tree.'more': is unknown (known: leaf, others, by_name, maybe)",
        "tree.leaf.'colour': is unknown (known: number, name)",
        "tree.leaf.number: must be an integer, got the string '1'",
        "tree.leaf.name: must be a string, got the integer 2",
        "tree.others[1].number: must be <= 9, got the integer 10",
        "tree.others[2]: must be an object, got the integer 5",
        "tree.others[3].number: is required",
        "tree.by_name['a b'].number: must be >= 0, got the integer -1",
        "tree.by_name['c'].name: must be a string, got null",
        "tree.maybe: must be an object, got an array",
    ]
    assert problems([], Tree, "tree") == ["tree: must be an object, got an array"]
    assert problems({}, Tree) == ["leaf: is required"]


def test_the_number_of_problems_is_bounded_and_told() -> None:
    types = {"box": proof_type("box", of(list[int]))}
    body = {"job_group_id": "g", "box": {"x": ["no"] * 1000}}
    with pytest.raises(RequestError) as caught:
        parse_group_request(json.dumps(body).encode(), types)
    places = [problem.where for problem in caught.value.problems]
    assert places == [*(f"box.x[{index}]" for index in range(MAX_PROBLEMS)), ""]
    assert caught.value.problems[-1].what == "and more"


def test_nobody_looks_for_more_problems_than_are_shown() -> None:
    """A body is read between the requests of others, and each problem costs more than its bytes."""
    looked_at = []

    def refuse(_: Any, __: "Attribute[int]", value: int) -> None:
        looked_at.append(value)
        raise ValueError("is not wanted")

    @frozen(kw_only=True)
    class Refused:
        number: int = field(validator=refuse)

    @frozen(kw_only=True)
    class Row:
        cells: tuple[Refused, ...]

    @frozen(kw_only=True)
    class Table:
        rows: tuple[Row, ...]
        names: dict[str, Refused]

    cell: Json = {"number": 1}
    row: Json = {"cells": [cell] * 100}
    with pytest.raises(RequestError) as caught:
        structure({"rows": [row] * 100, "names": {f"n{n}": cell for n in range(100)}}, Table)
    # Of both lists, each cell by its constructor and again for its problem.
    assert len(looked_at) == 2 * 2 * (MAX_PROBLEMS + 1)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    with pytest.raises(RequestError) as caught:
        structure({f"unknown{n}": 1 for n in range(100_000)}, Table)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1


def test_keys_beyond_those_that_are_shown_are_not_looked_at() -> None:
    class Types(dict[str, Any]):
        asked = 0

        def get(self, key: str, default: Any = None) -> Any:
            self.asked += 1
            return super().get(key, default)

    types = Types(box=proof_type("box", of(int)))
    body = {"job_group_id": "g", **{f"k{n}": 1 for n in range(MAX_MEMBERS)}}
    with pytest.raises(RequestError, match=r"and more$"):
        parse_group_request(json.dumps(body).encode(), types)
    assert types.asked == MAX_PROBLEMS + 1


# Validators


def test_defaults_are_validated_by_the_class_and_seen_by_other_validators() -> None:
    def below_limit(instance: Any, _: "Attribute[int]", value: int) -> None:
        if value >= instance.limit:
            raise ValueError(f"must be below {instance.limit}, got {value}")

    @frozen(kw_only=True)
    class LimitedBefore:
        limit: int = 10
        number: int = field(validator=below_limit)

    @frozen(kw_only=True)
    class LimitedAfter:
        number: int = field(validator=below_limit)
        limit: int = field(default=10)
        made: list[int] = Factory(list)

    classes: tuple[type[Any], ...] = (LimitedBefore, LimitedAfter)
    for cls in classes:
        assert structure({"number": 9}, cls).limit == 10
        assert structure({"number": 19, "limit": 20}, cls).number == 19
        assert problems({"number": 10}, cls) == ["number: must be below 10, got 10"]
        assert problems({"number": 30, "limit": 20}, cls) == ["number: must be below 20, got 30"]
        # What cannot be compared for another problem's sake is not a problem of its own.
        assert problems({"number": 10, "limit": "a"}, cls) == [
            "limit: must be an integer, got the string 'a'"
        ]


def test_a_validator_that_looks_at_what_the_constructor_makes() -> None:
    @frozen(kw_only=True)
    class Doubled:
        number: int = field()
        double: int = field(init=False, default=Factory(lambda self: 2 * self.number, True))  # noqa: FBT003

        @number.validator
        def _check(self, _: "Attribute[int]", value: int) -> None:
            if self.double != 2 * value:
                raise ValueError("must have a double")
            if value > 5:
                raise ValueError("must be at most 5")

    assert structure({"number": 5}, Doubled).double == 10
    assert problems({"number": 6}, Doubled) == ["must be at most 5"]
    assert problems({"number": 1, "double": 2}, Doubled) == ["'double': is unknown (known: number)"]


def test_an_objection_of_the_constructor_has_its_field() -> None:
    @frozen(kw_only=True)
    class Converted:
        number: int = field(converter=abs, validator=le(5))

    def stripped(text: str) -> str:
        return text.strip()

    @frozen(kw_only=True)
    class Parsed:
        number: str = field(converter=stripped, validator=matches_re("a"))

    assert structure({"number": " a "}, Parsed).number == "a"
    assert structure({"number": -5}, Converted).number == 5
    assert problems({"number": -6}, Converted, "twap") == ["twap.number: must be <= 5: 6"]


def test_an_objection_of_the_whole_has_the_place_of_the_whole() -> None:
    @frozen(kw_only=True)
    class Pair:
        a: int
        b: int

        def __attrs_post_init__(self) -> None:
            if self.a == self.b:
                raise ValueError("a and b must differ")

    assert problems({"a": 1, "b": 1}, Pair, "pair") == ["pair: a and b must differ"]


@pytest.mark.parametrize("validator", [in_(["a"]), matches_re("a"), instance_of(int)])
def test_a_validator_that_repeats_its_value_gives_a_bounded_message(validator: Any) -> None:
    box = of(str, validator=validator)
    for value in ("b" * 60_000, "\ud800" * 60_000, "\n"):
        [problem] = problems({"x": value}, box)
        assert problem.startswith("x: must ")
        assert len(problem) < 400
        assert problem.encode()


def test_a_message_can_be_encoded_whatever_a_validator_says() -> None:
    def repeat(_: object, __: "Attribute[str]", value: str) -> None:
        raise ValueError(f"no {value}\ud800")

    assert problems({"x": ""}, of(str, validator=repeat)) == ["x: no \\ud800"]


def test_names_on_the_wire_are_those_of_the_constructor() -> None:
    @frozen
    class Private:
        _number: int
        renamed: int = field(default=1, alias="other")

    assert structure({"number": 1, "other": 2}, Private) == Private(1, other=2)
    assert problems({"_number": 1}, Private) == [
        "'_number': is unknown (known: number, other)",
        "number: is required",
    ]


# What a plugin's classes may be made of


@frozen
class Recursive:
    children: "tuple[Recursive, ...]"


@frozen
class Misspelled:
    number: "Intger"  # type: ignore[name-defined] # noqa: F821


@frozen
class Untyped:
    number = field()  # type: ignore[var-annotated]


def test_a_class_may_contain_itself() -> None:
    all_parts(form_of(Recursive))
    assert structure({"children": [{"children": []}]}, Recursive) == Recursive((Recursive(()),))


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Misspelled, "the types of Misspelled cannot be resolved"),
        (Untyped, "Untyped.number has the type None"),
        (of(complex), "Box.x has the type <class 'complex'>"),
        (of(Fraction), "Box.x has the type <class 'fractions.Fraction'>"),
        (of(Permission), "Box.x has the type <flag 'Permission'>: flags have no JSON form here"),
        (of(Literal[b"a"]), "Box.x has the type typing.Literal[b'a']: b'a' is no text"),
        (of(NoMember), "Box.x has the type <enum 'NoMember'>, which has no member"),
        (of(Leaf | Recursive), "Box.x has the type "),
        (of(int | str), "Box.x has the type int | str"),
        (of(tuple[complex, ...]), "Box.x has the type <class 'complex'>"),
        (of(dict[str, complex]), "Box.x has the type <class 'complex'>"),
        (of(dict[int, str]), "Box.x has keys that are not strings"),
        (of(complex | None), "Box.x has the type <class 'complex'>"),
        (of(of(object)), "Box.x has the type <class 'object'>"),
    ],
)
def test_a_class_without_a_json_form_is_found_before_it_is_used(
    cls: type[Any], complaint: str
) -> None:
    with pytest.raises(TypeError) as caught:
        all_parts(form_of(cls))
    assert str(caught.value).startswith(complaint)


# Parameters, series and messages

timestamps = st.integers(0, 2**63 - 1)
ranges = (
    st.tuples(timestamps, timestamps)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: RangeParameters(start_timestamp=min(pair), end_timestamp=max(pair)))
)


@given(ranges)
def test_range_parameters_survive_the_way_to_json_and_back(parameters: RangeParameters) -> None:
    text = dump_parameters(parameters)
    assert structure(parse_json(text.encode()), RangeParameters) == parameters
    assert text == (
        f'{{"end_timestamp":{parameters.end_timestamp},'
        f'"start_timestamp":{parameters.start_timestamp}}}'
    )


@given(st.integers() | st.none() | st.text(), st.integers() | st.floats() | st.booleans())
def test_range_parameters_take_two_ordered_integers_and_nothing_else(
    start: Json, end: Json
) -> None:
    value: Json = {"start_timestamp": start, "end_timestamp": end}
    sound = type(start) is int and type(end) is int and 0 <= start < end < 2**63
    if sound:
        assert unstructure(structure(value, RangeParameters)) == value
    else:
        assert problems(value, RangeParameters)


def test_hours_survive_the_way_to_a_compute_process() -> None:
    series = HourlySeries(
        chain_id=1,
        simulated=False,
        kind=SeriesKind.HOURLY,
        first_hour=3600,
        sums_wei=(10**30, 1),
        counts=(300, 1),
        first_block=5,
        last_block=6,
    )
    form = parse_json(dump_json(unstructure(series)).encode())
    again = structure(form, HourlySeries)
    assert again == series
    assert again.kind is SeriesKind.HOURLY


def test_the_shared_types_have_json_forms() -> None:
    for cls in (RangeParameters, HourlySeries, Needs, TimeRange, JobMessage):
        all_parts(form_of(cls))


json_texts = st.dictionaries(st.text(), st.integers() | st.text(), max_size=3)
shared_fields: dict[str, Any] = {
    "job_id": st.text(st.characters(codec="utf-8")),
    "job_group_id": st.text(st.characters(codec="utf-8")),
    "start_timestamp": st.none() | st.integers(),
    "end_timestamp": st.none() | st.integers(),
}
our_fields: dict[str, Any] = {
    "id": st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True),
    "version": st.just(MESSAGE_VERSION),
    "params": st.none() | json_texts,
}


@given(
    st.builds(JobMessage, **shared_fields) | st.builds(JobMessage, **shared_fields, **our_fields)
)
def test_messages_survive_the_way_to_json_and_back(message: JobMessage) -> None:
    text = dump_message(message)
    assert parse_message(text) == message
    assert None not in json.loads(text).values()


def test_a_message_begins_with_the_four_fields_that_others_read() -> None:
    message = JobMessage(job_id="twap", job_group_id="g", start_timestamp=1, end_timestamp=2)
    assert dump_message(message) == (
        '{"job_id":"twap","job_group_id":"g","start_timestamp":1,"end_timestamp":2,"version":1}'
    )


def test_a_message_of_another_sender_is_understood() -> None:
    text = (
        '{"job_id": "twap", "job_group_id": "job_123", "start_timestamp": 1234567890,'
        ' "end_timestamp": 1234567891'
    )
    expected = JobMessage(
        job_id="twap",
        job_group_id="job_123",
        start_timestamp=1234567890,
        end_timestamp=1234567891,
    )
    assert parse_message(text + "}") == expected
    # Whatever else they have is theirs, be it called as a field of ours.
    for more in (
        '"priority": 5, "twap": {"x": [1.5]}, "ID": null',
        '"id": 7, "version": "2.0", "params": []',
        '"id": "their-own-id"',
        '"version": 3, "id": null',
    ):
        assert parse_message(f"{text}, {more}}}") == expected
    assert expected.id is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the body is not JSON"),
        ("hello", "the body is not JSON"),
        ("null", "the message must be an object, got null"),
        ("[]", "the message must be an object, got an array"),
        ("{}", "job_id: is required; job_group_id: is required"),
        ('{"job_id": "twap"}', "job_group_id: is required"),
        ('{"job_id": 5, "job_group_id": "g"}', "job_id: must be a string, got the integer 5"),
        ('{"job_id": "twap", "job_group_id": null}', "job_group_id: must be a string, got null"),
        (
            '{"job_id": "a", "job_group_id": "g", "start_timestamp": "1", "end_timestamp": 1.0}',
            (
                "start_timestamp: must be an integer, got the string '1'; "
                "end_timestamp: must be an integer, got the number 1.0"
            ),
        ),
        (
            '{"job_id": "a", "job_group_id": "g", "id": "x", "version": 1, "params": []}',
            "params: must be an object, got an",
        ),
        *(
            (
                f'{{"job_id": "a", "job_group_id": "g", "id": "{id_}", "version": 1}}',
                "id: must be the unique id of a job, got the string",
            )
            for id_ in ("", "a b", "\\u0000", "x" * 33)
        ),
        ('{"job_id": "a", "job_group_id": "g", "x": NaN}', "NaN is not a JSON number"),
        ('{"job_id": "a", "job_id": "a", "job_group_id": "g"}', "the key 'job_id' appears twice"),
        ("[" * 100_000, "the body is nested too deep"),
        ('{"job_id": "\ud800"}', "the body is not UTF-8"),
        ("\ufeff{}", "the body is not JSON"),
        ('{"start_timestamp": ' + "9" * 5000 + "}", "a number has 5000 digits"),
    ],
)
def test_a_message_that_can_not_be_understood_says_why(text: str, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(text)
    assert str(caught.value).startswith(reason)


@given(version=st.integers(MESSAGE_VERSION + 1, 2**70), more=st.dictionaries(st.text(), json_texts))
def test_a_message_of_a_later_version_is_not_read_as_if_it_were_known(
    version: int, more: dict[str, Any]
) -> None:
    text = json.dumps({**more, "id": "a", "version": version})
    with pytest.raises(MessageTooNew, match="update it, or let a newer worker have the message"):
        parse_message(text)


@pytest.mark.parametrize("version", [0, -1])
def test_a_message_of_a_version_that_never_was_is_refused(version: int) -> None:
    text = json.dumps({"job_id": "a", "job_group_id": "g", "id": "a", "version": version})
    with pytest.raises(MessageError, match="version: must be 1 or more") as caught:
        parse_message(text)
    assert not isinstance(caught.value, MessageTooNew)


@given(st.text(st.characters(codec=None)))
def test_any_text_is_a_message_or_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        parse_message(text)


@frozen(kw_only=True)
class Window(RangeParameters):
    hours: int = 720


@frozen(kw_only=True)
class Wanting(RangeParameters):
    strike: int


REQUESTABLE: dict[str, ProofType[Any, Any]] = {
    "window": ProofType(name="window", title="T", version="1", parameters=Window, result=Window),
    "wanting": ProofType(name="wanting", title="T", version="1", parameters=Wanting, result=Window),
}


def test_a_message_of_another_sender_asks_for_a_proof() -> None:
    message = JobMessage(job_id="window", job_group_id="g:1", start_timestamp=1, end_timestamp=2)
    expected = JobRequest("window", Window(start_timestamp=1, end_timestamp=2))
    assert requested_job(message, REQUESTABLE) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"job_id": "nothing"},
            "job_id: 'nothing' is not an installed proof type (installed: wanting, window)",
        ),
        ({"job_group_id": ""}, "job_group_id: must be 1 to 128 letters, digits"),
        ({"job_group_id": "a/b"}, "job_group_id: must be 1 to 128 letters, digits"),
        ({"job_group_id": "x" * 129}, "job_group_id: must be 1 to 128 letters, digits"),
        ({"start_timestamp": None}, "start_timestamp: is required"),
        ({"end_timestamp": None}, "end_timestamp: is required"),
        ({"start_timestamp": 2}, "end_timestamp: must be after start_timestamp (2), got"),
        ({"start_timestamp": -1}, "start_timestamp: must be >= 0, got the integer -1"),
        ({"end_timestamp": 2**63}, "end_timestamp: must be <= 9223372036854775807, got"),
        ({"job_id": "wanting"}, "strike: is required"),
        (
            {"job_group_id": "a b", "start_timestamp": None, "end_timestamp": -1},
            (
                "job_group_id: must be 1 to 128 letters, digits, '.', '_', ':' or '-', got the "
                "string 'a b'; start_timestamp: is required; end_timestamp: must be >= 0, got the "
                "integer -1"
            ),
        ),
    ],
)
def test_a_message_that_asks_for_nothing_that_is_here_says_why(
    changes: dict[str, Any], reason: str
) -> None:
    message = JobMessage(job_id="window", job_group_id="g", start_timestamp=1, end_timestamp=2)
    with pytest.raises(MessageError) as caught:
        requested_job(attrs.evolve(message, **changes), REQUESTABLE)
    assert str(caught.value).startswith(reason)


# Requests, for what the installed proof types do not show


def proof_type(
    name: str, parameters: type[Any] = Leaf, *, required: bool = False
) -> ProofType[Any, Leaf]:
    return ProofType(
        name=name, title=name, version="1", parameters=parameters, result=Leaf, required=required
    )


def test_proof_types_that_are_not_required_may_be_asked_for() -> None:
    types = {"a": proof_type("a"), "b": proof_type("b")}
    request = parse_group_request(b'{"b": {"number": 1}, "job_group_id": "g"}', types)
    assert [(job.proof_type, job.parameters) for job in request.jobs] == [("b", Leaf(number=1))]
    with pytest.raises(RequestError, match=r"^the request asks for no proof \(installed: a, b\)$"):
        parse_group_request(b'{"job_group_id": "g"}', types)
    with pytest.raises(RequestError, match=r"\(installed: none\)$"):
        parse_group_request(b'{"job_group_id": "g"}', {})


def test_jobs_have_the_order_of_the_request() -> None:
    types = {name: proof_type(name) for name in "abc"}
    body = {"c": {"number": 1}, "job_group_id": "g", "a": {"number": 1}, "b": {"number": 1}}
    request = parse_group_request(json.dumps(body).encode(), types)
    assert [job.proof_type for job in request.jobs] == ["c", "a", "b"]


def test_the_group_id_is_known_only_if_it_is_one() -> None:
    types = {"a": proof_type("a", required=True)}
    for text, known in (
        ('{"job_group_id": "g"}', "g"),
        ('{"job_group_id": "g g"}', None),
        ('{"job_group_id": 5}', None),
        ("{}", None),
        ("[]", None),
    ):
        with pytest.raises(RequestError) as caught:
            parse_group_request(text.encode(), types)
        assert caught.value.group_id == known
