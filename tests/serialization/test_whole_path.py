"""Whatever a parameter or a result may be of goes the whole way and comes back the same."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import click
import echo_plugin
import httpx
import pytest
from echo_plugin import Call, Colour, Level, Mixed, Node, Parameters, Put, Result, Values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from prover_framework.cli.parameters import _PLUGINS, ParametersCommand, _loaded
from prover_framework.cli.parameters import given as given_values
from prover_framework.jobs.requests import dump_parameters
from prover_framework.model.receipts import GroupReceipt
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.catalogue import catalogue
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import read_receipt
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.testing import Box, series_of, service_in_a_box

SERIES = series_of([(10, 1), (20, 2)])
MAX_EXACT = 2**53 - 1
numbers = count()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["null", "true", "1", "0x", '"', "[]", "-1", "red"]
)
exact = st.integers(-MAX_EXACT, MAX_EXACT)
finite = st.floats(allow_nan=False, allow_infinity=False)
weis = st.integers(-(2**256), 2**256)
decimals = st.decimals(-(10**30), 10**30, allow_nan=False, allow_infinity=False, places=6)
calls = st.builds(Call, strike=weis)
puts = st.builds(Put, strikes=st.lists(decimals, max_size=2).map(tuple))
options = calls | puts
nodes: st.SearchStrategy[Node] = st.recursive(
    st.builds(Node, weight=finite),
    lambda inner: st.builds(Node, weight=finite, children=st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)
anything = st.recursive(
    st.none() | st.booleans() | exact | finite | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "yes": st.booleans(),
    "whole": exact,
    "bounded": st.integers(1, 9),
    "ratio": finite,
    "text": texts,
    "nothing": st.none(),
    "whole_or_not": st.none() | exact,
    "text_or_not": st.none() | texts,
    "wei_or_not": st.none() | weis,
    "colour": st.sampled_from(Colour),
    "level": st.sampled_from(Level),
    "mixed": st.sampled_from(list(Mixed)),
    "literal": st.sampled_from(["a", 2, True]),
    "items": st.lists(exact, max_size=3),
    "many": st.lists(finite, max_size=3).map(tuple),
    "pair": st.tuples(exact, texts),
    "sequence": st.lists(texts, max_size=3).map(tuple),
    "names": st.frozensets(texts, max_size=4),
    "colours": st.frozensets(st.sampled_from(Colour)),
    "table": st.dictionaries(texts, exact, max_size=3),
    "tables": st.dictionaries(texts, st.lists(weis, max_size=2).map(tuple), max_size=2),
    "anything": anything,
    "node": nodes,
    "wei": weis,
    "payload": st.binary(max_size=40),
    "price": decimals,
    "moment": st.datetimes(timezones=st.just(UTC)),
    "day": st.dates(),
    "blocks": exact,
    "fraction": st.fractions(),
    "option": options,
    "options": st.lists(options, max_size=2).map(tuple),
    "option_or_not": st.none() | options,
}
parameters = st.builds(
    Parameters, start_timestamp=st.just(0), end_timestamp=st.just(7200), **fields
)


def test_every_field_is_drawn() -> None:
    assert set(fields) == {attribute.name for attribute in attrs.fields(Values)}


@given(parameters)
def test_parameters_and_results_go_to_json_and_back(wanted: Parameters) -> None:
    text = dump_parameters(wanted)
    again = structure(parse_json(text.encode()), Parameters)
    assert again == wanted
    assert repr(again.mixed) == repr(wanted.mixed)
    assert dump_parameters(again) == text
    # Plain JSON: no enumeration, no subclass that only looks like it.
    given = json.loads(text)
    whole: Any = unstructure(wanted)
    assert {**whole, **given}.keys() == whole.keys()
    assert all(type(key) is str for key in given)
    # What is left out is what is read as the same without it.
    assert unstructure(structure(given, Parameters)) == whole


@given(parameters)
def test_the_json_schema_takes_what_is_written(wanted: Parameters) -> None:
    Draft202012Validator(schema_of(Parameters)).validate(unstructure(wanted))


@pytest.fixture(scope="module")
def echo() -> Plugins:
    """The plugin, loaded."""
    module = echo_plugin.__name__
    return load([Candidate("echo", module, module, "1")], strict=True)


@given(wanted=parameters)
def test_the_command_line_takes_each_value(echo: Plugins, wanted: Parameters) -> None:
    form: Any = unstructure(wanted)
    strings = {name for name in form if isinstance(form[name], str)}
    argv = [
        f"--echo.{name}={_written(name, form[name], strings)}"
        for name in form
        if not name.endswith("_timestamp")
    ]
    seen: list[Any] = []

    @click.command(cls=ParametersCommand)
    def command() -> None:
        seen.append(given_values().values["echo"])

    with click.Context(command) as ctx:
        ctx.meta[_PLUGINS] = _loaded(echo)
        with command.make_context("submit", list(argv), parent=ctx) as made:
            command.invoke(made)
    [given_form] = seen
    span = {"start_timestamp": 0, "end_timestamp": 7200}
    assert structure({**given_form, **span}, Parameters) == wanted


def _written(name: str, value: Any, strings: set[str]) -> str:
    """Write a value as a person does: a text bare, where it cannot be taken for something else."""
    ambiguous = name in ("text_or_not", "wei_or_not", "anything", "mixed", "literal")
    return value if name in strings and not ambiguous else dump_json(value)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with service_in_a_box(echo_plugin, series=SERIES) as started:
        yield started


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wanted=parameters)
def test_a_job_takes_every_value_through_http_database_process_result_and_receipt(
    wanted: Parameters, box: Box
) -> None:
    group_id = f"echo-{next(numbers)}"
    body = dump_json({"job_group_id": group_id, "echo": unstructure(wanted)})
    with httpx.Client(base_url=box.url, timeout=60) as client:
        headers = {"content-type": "application/json"}
        for _ in range(2):
            # The same again is the same: what was stored is read as what was asked for.
            answer = client.post("/api/job", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
        group = box.submit({"job_group_id": group_id, "echo": unstructure(wanted)})
        assert group.jobs[0].error is None
        shown = client.get(f"/api/job/{group_id}").json()["jobs"][0]["result"]
    shown.pop("evidence")
    expected = Result(echo=2**200, **{name: getattr(wanted, name) for name in fields})
    assert structure(shown, Result) == expected
    receipt = box.receipt(group_id)
    statement = receipt.receipts[0].statement
    assert structure(statement.result, Result) == expected
    span = {"start_timestamp": 0, "end_timestamp": 7200}
    assert structure({**statement.parameters, **span}, Parameters) == wanted
    report = box.verify(group_id)
    assert report.accepted, report.checks


def test_a_receipt_can_be_read_from_its_file(box: Box) -> None:
    from prover_framework.receipts.documents import dump_receipt

    group = box.prove("echo", Parameters(start_timestamp=0, end_timestamp=7200, ratio=1e17))
    receipt = box.receipt(group.job_group_id)
    read = read_receipt(dump_receipt(receipt))
    assert isinstance(read, GroupReceipt)
    assert dump_receipt(read) == dump_receipt(receipt)


def test_the_plugin_is_shown_with_all_its_types() -> None:
    module = echo_plugin.__name__
    view = catalogue(load([Candidate("echo", module, module, "1")], strict=True))
    [shown] = view.proof_types
    Draft202012Validator.check_schema(shown.parameters)  # type: ignore[arg-type]
    properties: Any = shown.parameters["properties"]  # type: ignore[index,call-overload]
    assert properties["wei"]["type"] == "string"
    assert properties["wei"]["default"] == "0"
    assert properties["payload"]["default"] == "0x"
    assert properties["moment"]["format"] == "date-time"
    assert properties["names"]["uniqueItems"] is True
    assert properties["whole"]["maximum"] == MAX_EXACT
    assert json.loads(dump_json(unstructure(view)))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("wei", 5, "wei: must be a string, got the integer 5"),
        ("wei", "05", "wei: must be an integer as decimal digits, such as '1000000000', got '05'"),
        ("wei", "1e18", "wei: must be an integer as decimal digits"),
        ("payload", "0xabc", "payload: must be 0x and an even number of hex digits, got '0xabc'"),
        ("payload", "ab", "payload: must be 0x"),
        ("price", "1e5", "price: must be a decimal number without exponent"),
        ("price", "NaN", "price: must be a decimal number without exponent"),
        ("price", 0.5, "price: must be a string, got the number 0.5"),
        ("moment", "2024-05-31T12:00:00", "moment: must be a time in UTC such as"),
        ("moment", "2024-05-31T12:00:00+00:00", "moment: must be a time in UTC such as"),
        ("moment", "2024-02-30T12:00:00Z", "moment: day is out of range for month"),
        ("day", "2024-13-01", "day: must be a date such as '2024-05-31', got '2024-13-01'"),
        ("fraction", "1/0", "fraction: cannot be read: ZeroDivisionError"),
        ("names", ["a", "a"], "names: must not have an element twice"),
        ("whole", 2**53, "whole: must be within 2^53 - 1"),
        ("colour", "green", 'colour: must be one of "red", "blue", got the string \'green\''),
        ("mixed", 1.0, 'mixed: must be one of 1, "1", 0.5, 2.0, got the number 1.0'),
        ("option", {"strike": "1"}, 'option.kind: is required, one of "call", "put"'),
        ("option", {"kind": "x"}, 'option.kind: must be one of "call", "put", got'),
        ("option", {"kind": "call"}, "option.strike: is required"),
        ("option", {"kind": "put", "strike": "1"}, "option.'strike': is unknown"),
        ("anything", {"a": [2**60]}, "echo.anything.a[0] is an integer beyond 2^53 - 1"),
        ("text", "\ud800", "text: must be Unicode"),
    ],
)
def test_what_is_not_of_the_type_is_a_problem_with_its_place(
    box: Box, field: str, value: object, problem: str
) -> None:
    span = {"start_timestamp": 0, "end_timestamp": 7200}
    body = {"job_group_id": "wrong", "echo": {**span, field: value}}
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{box.url}/api/job", content=json.dumps(body), headers=headers)
    assert answer.status_code == 400
    assert problem in answer.json()["message"]


def test_equal_values_have_one_text() -> None:
    one = Parameters(
        start_timestamp=0,
        end_timestamp=7200,
        price=Decimal("1.50"),
        moment=datetime.fromisoformat("2024-05-31T14:30:00+02:00"),
        names=frozenset(f"name{number}" for number in range(50)),
    )
    other = Parameters(
        start_timestamp=0,
        end_timestamp=7200,
        price=Decimal("1.5"),
        moment=datetime(2024, 5, 31, 12, 30, tzinfo=UTC),
        names=frozenset(f"name{number}" for number in reversed(range(50))),
    )
    assert one == other
    assert dump_parameters(one) == dump_parameters(other)
    form = json.loads(dump_parameters(one))
    assert form["price"] == "1.5"
    assert form["moment"] == "2024-05-31T12:30:00Z"
    assert form["names"] == sorted(form["names"])


@pytest.mark.parametrize(
    "value", [Decimal("1e1000000"), Decimal("1e-1000000"), Decimal("NaN"), Decimal("Infinity")]
)
def test_a_decimal_without_a_short_text_has_no_form(value: Decimal) -> None:
    with pytest.raises(ValueError, match="price: must "):
        unstructure(Parameters(start_timestamp=0, end_timestamp=7200, price=value))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("whole", "a", "whole: must be an integer, got the string 'a'"),
        ("whole", True, "whole: must be an integer, got a boolean"),
        ("ratio", float("nan"), "ratio: must be finite, got nan"),
        ("day", datetime(2024, 1, 1, tzinfo=UTC), "day: cannot be written: TypeError: must be a"),
        ("moment", datetime(2024, 1, 1), "moment: must have a time zone"),  # noqa: DTZ001
        ("wei", True, "wei: must be an integer of at most"),
        ("node", Call(strike=1), "node: must be of type Node, got a Call"),
        ("option", Node(), "option: must be one of Call, Put, got a Node"),
        ("names", ["a"], "names: must be a frozenset, got an array"),
        ("level", 1, "level: must be one of 1, 2, got the integer 1"),
        ("anything", Path("a"), "anything: must be JSON, got a PosixPath"),
        ("table", {1: 1}, "table: must have keys that are strings, got the integer 1"),
        ("fraction", 0.5, "fraction: must be of type Fraction, got the number 0.5"),
    ],
)
def test_what_the_type_does_not_declare_is_not_written(
    field: str, value: object, problem: str
) -> None:
    changed: dict[str, Any] = {field: value}
    wrong = attrs.evolve(Parameters(start_timestamp=0, end_timestamp=1), **changed)
    with pytest.raises(ValueError, match="must") as caught:
        unstructure(wrong)
    assert str(caught.value).startswith(problem)


def test_dates_and_fractions_of_a_plugins_own_type_come_back() -> None:
    wanted = Parameters(
        start_timestamp=0, end_timestamp=1, fraction=Fraction(-7, 3), day=date(1, 1, 1)
    )
    assert structure(unstructure(wanted), Parameters) == wanted
