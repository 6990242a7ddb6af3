"""The form of a receipt: one text for one content, and a clear refusal of everything else."""

import json
import math
import pathlib
import time
from typing import Any

import attrs
import jsonschema
import pytest
import receipt_samples
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from receipt_bench import ReceiptBench, told

from prover_framework.errors import NoExactForm, ReceiptError
from prover_framework.inputs.results import statement_digest
from prover_framework.model.attachments import StatedAttachment
from prover_framework.model.receipts import Receipt, RestedOn, Seal
from prover_framework.receipts.canonical import canonical, digest_of
from prover_framework.receipts.documents import (
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_RECEIPT_BYTES,
    content_of,
    digest,
    document_of,
    dump_content,
    dump_receipt,
    fits,
    read_content,
    read_receipt,
)
from prover_framework.receipts.schemas import FILES, schema_text

HOURS = "statement.inputs.hourly_base_fee"
SAID = "statement.inputs['hourly_base_fee']"

SEAL = Seal("wax", {"colour": "red"})

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def sample(**changes: Any) -> Receipt:
    return receipt_samples.receipt(**changes)


def carrying(*sizes: int) -> Receipt:
    """Return a receipt that carries others, each with a result of some characters."""
    others = tuple(
        RestedOn(
            job_id=f"seconds@{number}", receipt=sample(result={"seconds": 1, "text": "x" * size})
        )
        for number, size in enumerate(sizes)
    )
    return attrs.evolve(sample(), rests_on=others)


def test_a_receipt_carries_others_as_long_as_it_can_be_read_again() -> None:
    half = MAX_RECEIPT_BYTES // 2
    for one in (carrying(), carrying(1, 2), carrying(half), carrying(*[1] * MAX_MEMBERS)):
        assert fits(one)
        assert read_receipt(dump_receipt(one)) == one
    for other in (carrying(half, half), carrying(*[1] * (MAX_MEMBERS + 1))):
        assert not fits(other)
        with pytest.raises(ReceiptError, match=r"no receipt has more than|more than a receipt has"):
            read_receipt(dump_receipt(other))


# One content, one text


@given(json_values.filter(lambda value: _unicode(value)))
def test_a_canonical_text_says_what_it_was_made_from(value: Any) -> None:
    text = canonical(value)
    assert text == rfc8785.dumps(value)
    assert canonical(json.loads(text, parse_int=_number)) == text


def _number(digits: str) -> int | float:
    return int(digits) if abs(int(digits)) < 2**53 else float(digits)


def _unicode(value: Any) -> bool:
    return "\\ud" not in json.dumps(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, {"b": 2**53}]}, r"a\[1\]\.b is an integer beyond 2\^53 - 1"),
        ({"a": -(2**60)}, "a is an integer beyond"),
        ({"a": math.nan}, "a is nan, which is no JSON number"),
        ({"a": [math.inf]}, r"a\[0\] is inf"),
        ({"a": "\ud800"}, "a is '.*ud800', which is not Unicode"),
        ({"\ud800": 1}, "a key of the object is"),
    ],
)
def test_what_has_no_canonical_text_is_named(value: Any, said: str) -> None:
    with pytest.raises(NoExactForm, match=said):
        canonical(value)


def test_a_digest_is_what_the_documentation_says() -> None:
    from hashlib import sha256

    receipt = sample()
    text = json.dumps(content_of(receipt), sort_keys=True, separators=(",", ":"))
    assert digest(receipt) == sha256(b"prover-framework/digest/1\0" + text.encode()).digest()
    assert digest(receipt) == digest_of(text.encode())


def test_digests_do_not_change_from_release_to_release() -> None:
    # Every seal that was ever made stands for these digits.
    assert digest(sample()).hex() == (
        "06cab3ca27faa6a2601646121eb9a9423a6576de3bb10265e538643a3927634d"
    )


def test_seals_do_not_move_the_digest() -> None:
    sealed = Receipt(statement=sample().statement, provenance=sample().provenance, seals=(SEAL,))
    assert digest(sealed) == digest(sample())
    assert dump_receipt(sealed) != dump_receipt(sample())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_of_any_size_come_back(number: float) -> None:
    receipt = sample(result={"seconds": number})
    again = read_receipt(dump_receipt(receipt))
    assert digest(again) == digest(receipt)
    assert isinstance(again, Receipt)
    assert again.statement.result["seconds"] == number


def test_what_is_stored_comes_back_with_its_seals() -> None:
    receipt = sample(result={"seconds": 1e300, "text": "é"})
    again = read_content(dump_content(receipt), (SEAL,))
    assert (again.statement, again.provenance) == (receipt.statement, receipt.provenance)
    assert again.seals == (SEAL,)


def test_a_result_that_is_too_large_has_no_receipt() -> None:
    with pytest.raises(NoExactForm, match="the result is too large"):
        dump_content(sample(result={"seconds": "x" * MAX_RECEIPT_BYTES}))


def test_the_order_and_the_spaces_of_a_text_do_not_matter() -> None:
    document = document_of(sample())
    spaced = json.dumps(dict(reversed(document.items())), indent=3).encode()
    assert read_receipt(spaced) == sample()


# Everything else


def changed(path: str, value: Any) -> bytes:
    document: Any = json.loads(dump_receipt(sample()))
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[key]
    place[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the receipt is not JSON"),
        (b"\xff", "the receipt is not UTF-8"),
        (b"[]", "a receipt is an object, and this is an array"),
        (b"{}", "format: is null, and this version reads prover-framework/receipt/2 and"),
        (b'{"format": "prover-framework/receipt/1"}', "format: is the string 'prover-framework/re"),
        (b'{"format": "prover-framework/receipt/2"}', "statement: is required; provenance: is req"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1e999}', "is too large"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b'{"a": 9007199254740993}', "'a' is the integer 9007199254740993, which JSON numbers can"),
        (b'{"a": ' + b"9" * 400 + b"}", "JSON numbers cannot hold exactly"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, f"nested deeper than {MAX_DEPTH} levels"),
        (b" " * (10 * 2**20), "10,485,760 bytes; no receipt has more than 2,097,152"),
        (changed(f"{HOURS}.chain_id", 1.5), f"{SAID}.chain_id: must be an integer"),
        (changed(f"{HOURS}.chain_id", value=True), f"{SAID}.chain_id: must be an integer"),
        (changed(f"{HOURS}.simulated", 0), f"{SAID}.simulated: must be true or false"),
        (changed(f"{HOURS}.facts", []), f"{SAID}.facts: must be an object"),
        (changed(f"{HOURS}.data_sha256", "0x1"), f"{SAID}.data_sha256: must match"),
        (changed("statement.inputs", {"A b": 1}), "statement.inputs"),
        (changed("statement.proof_type", "T W"), "statement.proof_type: must match"),
        (changed("statement.range", {}), "statement.range.start_timestamp: is required"),
        (changed("statement.result", []), "statement.result: must be an object"),
        (changed("statement.added", 1), "'added': is unknown"),
        (
            changed("provenance.inputs", {"hours": 1}),
            "provenance.inputs['hours']: must be an object",
        ),
        (changed("evidence", 5), "evidence: must be an object"),
        (changed("seals", [{}]), "seals[0].kind: is required"),
        (changed("seals", [{"kind": 5}]), "seals[0].kind: must be a string"),
        (changed("seals", [{"kind": "A"}]), "seals[0].kind: must match"),
        (changed("seals", [{"kind": "a"}, {"kind": "a"}]), "seals: there are two of one kind"),
        (changed("seals", 5), "seals: must be an array"),
    ],
)
def test_what_is_no_receipt_is_refused_with_the_reason(body: bytes, said: str) -> None:
    with pytest.raises(ReceiptError) as refused:
        read_receipt(body)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 10_000


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    with pytest.raises(ReceiptError):
        read_receipt(body)


@given(json_values)
def test_any_json_is_refused_or_read(value: Any) -> None:
    with pytest.raises(ReceiptError):
        read_receipt(json.dumps(value).encode())


def test_hostile_receipts_are_refused_before_any_work(bench: ReceiptBench) -> None:
    crowd = bench.document()
    crowd["receipts"] *= MAX_MEMBERS
    deep = b'{"a":' * 50_000
    cases = (
        (
            json.dumps(crowd).encode(),
            f"receipts: {3 * MAX_MEMBERS} are more than a receipt has ({MAX_MEMBERS})",
        ),
        (deep, "nested too deep"),
        (b"x" * 10 * 2**20, "no receipt has more than"),
        (bench.group.replace(b"1440", b"NaN", 1), "NaN is not a JSON number"),
    )
    for body, said in cases:
        began = time.process_time()
        report = bench.verify(body)
        assert time.process_time() - began < 1.0
        assert not report.accepted
        [row] = report.checks
        assert said in row.reason
        assert report.strength == "Worth nothing: the check form failed."


def test_what_a_stranger_wrote_is_shown_in_plain_ascii_and_short(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    nasty = "\x1b[2J\u202e" + "x" * 100_000
    document["statement"] |= {"method_version": nasty, "generator": nasty, "seed_derivation": nasty}
    shown = told(bench.verify(document))
    assert shown.isascii()
    assert "\x1b" not in shown
    assert len(shown) < 5_000


# The schema in the repository


@pytest.mark.parametrize("name", FILES)
def test_the_schema_files_are_those_of_the_types(name: str) -> None:
    from prover_framework.receipts import schemas

    folder = schemas.__spec__.origin
    assert folder is not None
    written = (pathlib.Path(folder).parent / name).read_text()
    assert written == schema_text(FILES[name]), "make schemas"


@pytest.mark.parametrize("proof_type", ["twap", "max_return", "reserve_price", None])
def test_receipts_obey_the_schema(bench: ReceiptBench, proof_type: str | None) -> None:
    name = "composed-receipt-2.schema.json" if proof_type is None else "receipt-2.schema.json"
    schema = json.loads(schema_text(FILES[name]))
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    document = bench.document(proof_type)
    checker.validate(document)
    del document["seals"][0]["signature"]
    assert not checker.is_valid(document)
    document["seals"] = [{"kind": "wax", "colour": "red"}]
    checker.validate(document)
    document["statement"]["added"] = 1
    assert not checker.is_valid(document)


# Attachments


ATTACHED = {"a.csv": StatedAttachment(media_type="text/csv", size=3, sha256="ab" * 32)}


def test_attachments_are_part_of_what_is_claimed_and_of_the_digest() -> None:
    bare, attached = sample(), sample(attachments=ATTACHED)
    assert read_receipt(dump_receipt(attached)) == attached
    assert digest(attached) != digest(bare)
    assert statement_digest(attached.statement) != statement_digest(bare.statement)
    assert read_content(dump_content(attached), ()) == attached
    schema = json.loads(schema_text(FILES["receipt-2.schema.json"]))
    jsonschema.Draft202012Validator(schema).validate(document_of(attached))


def test_a_statement_without_attachments_has_no_member_for_them() -> None:
    document = document_of(sample())
    assert "attachments" not in document["statement"]  # type: ignore[operator]
    assert content_of(sample(attachments={})) == content_of(sample())


@pytest.mark.parametrize("name", ["", ".a", "-a", "A", "a/b", "a" * 65, "ä"])
def test_no_other_names_are_names_of_attachments(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of an attachment"):
        sample(attachments={name: ATTACHED["a.csv"]})
