"""Whatever single field of a receipt is altered, it fails, and the message names what was wrong.

A field can be altered with the seal left as it is, or by somebody who signs what he has made of it
with a key of his own. Then the signature says so. Whoever looks at no signature at all is told by
the checks on the content, for all that the result follows from.
"""

import copy
import json
import re
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipt_bench import Document, ReceiptBench, told

from prover_framework.seals.ed25519 import SigningKey
from prover_framework.verification.checks import CheckName

Path = tuple[str | int, ...]

# What a signature is checked by; none of these computes anything.
SIGNED = (CheckName.FORM, CheckName.MEMBERS, CheckName.SEAL)

STRANGER = SigningKey.generate()

# Which files computed it. Others of the same method come to the same, and those here decide.
BUILDS = ("plugin_digest", "kind_digest")

PROOFS = (None, "twap", "max_return", "reserve_price")


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value inside of a document, of objects and arrays too."""
    if path:
        yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from paths(item, (*path, key))


def at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def put(document: Document, path: Path, value: Any) -> Document:
    """Return a document with one value replaced."""
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def without(document: Document, path: Path) -> Document:
    changed = copy.deepcopy(document)
    del at(changed, path[:-1])[path[-1]]
    return changed


def other_values(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same kind that are not the same, and values of other kinds."""
    others: dict[type, st.SearchStrategy[Any]] = {
        bool: st.just(not value),
        int: st.one_of(
            st.integers(-(2**53) + 1, 2**53 - 1), st.sampled_from([-1, 1]).map(lambda d: value + d)
        )
        if isinstance(value, int)
        else st.nothing(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.one_of(
            st.text(string.printable, max_size=20),
            st.integers(0, max(len(value) - 1, 0)).flatmap(
                lambda i: st.sampled_from("0123456789abcdefx").map(
                    lambda c: f"{value[:i]}{c}{value[i + 1 :]}"
                )
            ),
        )
        if isinstance(value, str)
        else st.nothing(),
        list: st.permutations(value) if isinstance(value, list) else st.nothing(),
    }
    kinds = st.sampled_from([None, True, 0, 1.5, "", [], {}, {"a": 1}, [0]])
    same = others.get(type(value), st.nothing())
    return st.one_of(same, kinds).filter(
        lambda v: json.dumps(v) != json.dumps(value) and v != value
    )


@st.composite
def mutations(draw: st.DrawFn, document: Document) -> tuple[Path, Document]:
    """Alter one value, take one away, or put one in."""
    path = draw(st.sampled_from(list(paths(document))))
    how = draw(st.sampled_from(["alter", "alter", "remove", "add"]))
    value = at(document, path)
    if how == "remove":
        return path, without(document, path)
    if how == "add" and isinstance(value, dict):
        return path, put(document, path, {**value, "added": draw(st.sampled_from([None, 1, "x"]))})
    if how == "add" and isinstance(value, list) and value:
        return path, put(document, path, [*value, draw(st.sampled_from(value))])
    return path, put(document, path, draw(other_values(value)))


@pytest.mark.parametrize("proof_type", PROOFS)
@settings(max_examples=150)
@given(data=st.data())
def test_altered_under_the_seal(
    bench: ReceiptBench, proof_type: str | None, data: st.DataObject
) -> None:
    path, document = data.draw(mutations(bench.document(proof_type)))
    report = bench.verify(document, *SIGNED)
    assert not report.accepted, path
    assert report.strength.startswith("Worth nothing") or "seals" in path


@pytest.mark.parametrize("proof_type", PROOFS)
@settings(max_examples=50)
@given(data=st.data())
def test_altered_and_signed_by_a_stranger(
    bench: ReceiptBench, proof_type: str | None, data: st.DataObject
) -> None:
    path, document = data.draw(mutations(bench.document(proof_type)))
    try:
        document = bench.sign(document, STRANGER)
    except Exception:
        # What has no form cannot be signed, and is refused for its form.
        assert "form" in {row.check for row in bench.verify(document, *SIGNED).checks}
    report = bench.verify(document, *SIGNED)
    assert not report.accepted, path


def leaves(document: Document, *inside: str) -> list[Path]:
    return [
        (*inside, *path)
        for path in paths(at(document, inside))
        if not isinstance(at(document, (*inside, *path)), dict | list)
    ]


def altered(value: Any) -> Any:
    """Return a value of the same form that differs by as little as matters."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            # Ten times what two machines may differ in: 1e-9 of a number, 1e-6 of a gradient.
            return value * (1 + 1e-8) + (1e-5 if abs(value) < 1e-5 else 1e-8)
        case str() if value.startswith("0x"):
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case str() if set(value) <= set(string.hexdigits) and len(value) > 8:
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case str():
            return f"{value}1"
        case None:
            return "something"
    raise AssertionError(value)


@pytest.mark.parametrize("proof_type", ["twap", "max_return", "reserve_price"])
def test_each_single_field_of_a_statement_is_checked_without_any_seal(
    bench: ReceiptBench, proof_type: str
) -> None:
    """Each leaf altered a little: refused, and the reason names the field."""
    document = bench.document(proof_type)
    unnoticed: list[Path] = []
    unnamed: list[tuple[Path, str]] = []
    for path in leaves(document, "statement"):
        if path[-1] in BUILDS:
            continue
        changed = put(document, path, altered(at(document, path)))
        report = bench.verify(changed, pinned=())
        if report.accepted:
            unnoticed.append(path)
        elif not named(path, told(report)):
            unnamed.append((path, told(report)))
    assert not unnoticed
    assert not unnamed


def named(path: Path, message: str) -> bool:
    """Tell whether a message names a field, or the object of it that no longer fits together."""
    names = [key for key in path if isinstance(key, str)]
    return any(re.search(rf"\b{name}\b", message) for name in names[1:])


@pytest.mark.parametrize("name", ["first_block", "last_block", "blocks"])
def test_a_range_of_blocks_that_is_not_the_verifiers(bench: ReceiptBench, name: str) -> None:
    document = bench.document("twap")
    document["provenance"]["inputs"]["hourly_base_fee"][name] += 1
    report = bench.verify(document, CheckName.PROVENANCE, pinned=())
    assert not report.accepted
    assert name in told(report)
