"""JSON is read strictly, written canonically and described in words that go anywhere."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prover_framework.errors import RequestError
from prover_framework.serialization.json_text import (
    MAX_DIGITS,
    MAX_NESTING,
    Json,
    dump_json,
    parse_json,
)
from prover_framework.text import describe, quote, shorten

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=5)
    ),
    max_leaves=20,
)


def refusal(text: str | bytes) -> str:
    with pytest.raises(RequestError) as caught:
        parse_json(text if isinstance(text, bytes) else text.encode())
    return str(caught.value)


@given(documents)
def test_what_is_written_is_read_again(document: Json) -> None:
    text = dump_json(document)
    assert parse_json(text.encode()) == document
    assert dump_json(parse_json(text.encode())) == text
    assert text.isascii()


@given(st.dictionaries(st.text(), st.integers()))
def test_equal_documents_have_equal_text(document: dict[str, int]) -> None:
    turned = dict(reversed(document.items()))
    assert dump_json(dict(turned)) == dump_json(dict(document))


@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"":' * 100_000)
@example(b'"\\ud800"')
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        document = parse_json(text)
    except RequestError:
        return
    assert document == json.loads(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json(text: str) -> None:
    assert refusal(f'{{"a": [{text}]}}') == f"{text} is not a JSON number"


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1" + "0" * 400 + ".0"])
def test_numbers_that_a_double_can_not_hold(text: str) -> None:
    assert refusal(text) == f"the number {shorten(text)} is too large"


def test_integers_are_exact_up_to_the_limit_of_digits() -> None:
    for sign in ("", "-"):
        longest = sign + "9" * MAX_DIGITS
        assert parse_json(longest.encode()) == int(longest)
        assert refusal(longest + "9") == f"a number has {MAX_DIGITS + 1} digits"
    assert refusal("9" * 60_000) == "a number has 60000 digits"


def test_integers_and_other_numbers_keep_their_kind() -> None:
    numbers = parse_json(b"[1, 1.0, 1e2, -0, -0.0, true]")
    assert isinstance(numbers, list)
    assert [type(number) for number in numbers] == [int, float, float, int, float, bool]
    assert math.copysign(1, float(str(numbers[4]))) == -1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 1}', "'a'"),
        ('[{"b": {"a": 1, "c": 2, "a": 3}}]', "'a'"),
        ('{"a": 1, "\\u0061": 2}', "'a'"),
        ('{"\\ud800": 1, "\\ud800": 2}', "'\\ud800'"),
        ('{"": 1, "": 2}', "''"),
    ],
)
def test_a_key_that_appears_twice_is_refused(text: str, key: str) -> None:
    assert refusal(text) == f"the key {key} appears twice in one object"


def test_keys_are_compared_letter_by_letter() -> None:
    assert parse_json(b'{"a": 1, "A": 2, "a ": 3, "\xc3\xa4": 4, "a\xcc\x88": 5}') == {
        "a": 1,
        "A": 2,
        "a ": 3,
        "\u00e4": 4,
        "a\u0308": 5,
    }


def test_syntax_errors_say_where() -> None:
    assert refusal('{"a": 1,\n "b" 2}') == (
        "the body is not JSON: Expecting ':' delimiter at line 2, column 6"
    )
    assert refusal(b"\xef\xbb\xbf{}").endswith("begins with a byte order mark")
    assert refusal(b'{"a\xff": 1}') == "the body is not UTF-8: byte 3 cannot be decoded"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_can_not_hold_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"a": [value]})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "a boolean (true)"),
        (False, "a boolean (false)"),
        (0, "the integer 0"),
        (-7, "the integer -7"),
        (10**400, f"the integer 1{'0' * 39}... (401 characters)"),
        (1.0, "the number 1.0"),
        ("", "the string ''"),
        ("it's", 'the string "it\'s"'),
        ("\n\u00e4\ud800", "the string '\\n\\xe4\\ud800'"),
        ("x" * 41, f"the string '{'x' * 40}... (41 characters)'"),
        ("x" * 40, f"the string '{'x' * 40}'"),
        ([1], "an array"),
        ({}, "an object"),
        (b"x", "a bytes"),
    ],
)
def test_values_are_named_with_their_kind(value: object, words: str) -> None:
    assert describe(value) == words


@given(st.text(st.characters(codec=None)))
def test_foreign_text_in_a_message_is_short_ascii_on_one_line(text: str) -> None:
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) <= 450


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}"), ('[{"a [":', "}]")])
def test_what_is_read_can_be_written_again(before: str, after: str) -> None:
    """Python reads what is nested nearly as deep as its stack, and then fails to write it."""
    levels = MAX_NESTING // len(after)

    def nested(times: int) -> bytes:
        return (before * times + "1" + after * times).encode()

    assert dump_json(parse_json(nested(levels))).encode() == nested(levels)
    for times in (levels + 1, 8 * levels, 100_000):
        assert refusal(nested(times)) == "the body is nested too deep"
    wide = b"[" + b"[]," * 10_000 + b"{}]"
    assert parse_json(wide) == [[]] * 10_000 + [{}]
