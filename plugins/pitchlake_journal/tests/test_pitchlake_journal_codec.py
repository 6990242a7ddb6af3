"""A journal and its bytes determine each other; what is no journal is refused with its place."""

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from journal_samples import VECTOR, VECTOR_BYTES
from prover_pitchlake_journal.errors import MalformedJournal
from prover_pitchlake_journal.journal import (
    FELTS,
    JOURNAL_BYTES,
    MAX_TIMESTAMP,
    Journal,
    content,
    decode,
    encode,
)

from prover_framework import MAX_FELT, felt_from_float, float_from_felt

JOURNAL = decode(VECTOR_BYTES)

words = st.integers(0, 2**32 - 1)
felts = st.integers(0, MAX_FELT) | st.integers(0, 2**64)


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    start = draw(st.integers(0, MAX_TIMESTAMP - 1))
    return Journal(
        data_8_months_hash=draw(st.tuples(*[words] * 8)),
        start_timestamp=start,
        end_timestamp=draw(st.integers(start + 1, MAX_TIMESTAMP)),
        **{name: draw(felts) for name in FELTS},
    )


def test_the_vector_decodes_to_its_values() -> None:
    assert content(JOURNAL) == VECTOR
    assert list(content(JOURNAL)) == list(VECTOR)


def test_the_vector_s_values_encode_to_its_bytes() -> None:
    made = Journal(
        data_8_months_hash=tuple(VECTOR["data_8_months_hash"]),
        start_timestamp=VECTOR["start_timestamp"],
        end_timestamp=VECTOR["end_timestamp"],
        **{name: felt_from_float(VECTOR[name]) for name in FELTS},
    )
    assert made == JOURNAL
    assert encode(made) == VECTOR_BYTES
    assert len(VECTOR_BYTES) == JOURNAL_BYTES == 552


def test_the_literal_is_the_recorded_vector() -> None:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    recorded = json.loads((Path(folder) / "journal.json").read_text())
    assert recorded["hex"] == VECTOR_BYTES.hex()
    assert recorded["decoded"] == VECTOR


@given(journals())
def test_what_is_encoded_decodes_to_itself(journal: Journal) -> None:
    data = encode(journal)
    assert decode(data) == journal
    assert encode(decode(data)) == data


@given(journals())
def test_the_bytes_are_those_of_the_layout(journal: Journal) -> None:
    # Written out by hand, field after field.
    expected = b"".join(word.to_bytes(4, "little") for word in journal.data_8_months_hash)
    expected += journal.start_timestamp.to_bytes(8, "little", signed=True)
    expected += journal.end_timestamp.to_bytes(8, "little", signed=True)
    for felt in (
        journal.reserve_price,
        journal.floating_point_tolerance,
        journal.reserve_price_tolerance,
        journal.twap_tolerance,
        journal.gradient_tolerance,
        journal.twap_result,
        journal.max_return,
    ):
        text = ("0x" + format(felt, "x").zfill(64)).encode()
        expected += (66).to_bytes(4, "little") + text + b"\0" * (-len(text) % 4)
    assert encode(journal) == expected


def attempt(data: bytes) -> Journal | MalformedJournal:
    try:
        return decode(data)
    except MalformedJournal as error:
        return error


@given(journals(), st.integers(0, JOURNAL_BYTES * 8 - 1))
@example(JOURNAL, 48 * 8)
def test_another_bit_is_another_journal_or_none(journal: Journal, bit: int) -> None:
    data = bytearray(encode(journal))
    data[bit // 8] ^= 1 << bit % 8
    other = attempt(bytes(data))
    assert other != journal
    if isinstance(other, MalformedJournal):
        # A later start shows at the end that it is not before.
        assert other.offset <= bit // 8 or (32 <= bit // 8 < 40 and other.offset == 40)
    else:
        assert encode(other) == data


@given(st.binary(max_size=600) | st.binary(min_size=JOURNAL_BYTES, max_size=JOURNAL_BYTES))
def test_bytes_are_a_journal_or_malformed(data: bytes) -> None:
    made = attempt(data)
    if isinstance(made, MalformedJournal):
        assert 0 <= made.offset <= JOURNAL_BYTES
        assert str(made).startswith(f"{made.where}, at byte {made.offset}: ")
    else:
        assert encode(made) == data


@given(st.floats(min_value=2**-75, max_value=2.0**123, exclude_max=True) | st.just(0.0))
@example(0.1)
@example(float(2**-75))
def test_a_double_comes_back_as_it_was(number: float) -> None:
    journal = attrs.evolve(JOURNAL, twap_result=felt_from_float(number))
    assert content(decode(encode(journal)))["twap_result"] == number


def test_what_a_felt_can_not_hold_of_a_double_is_cut_off() -> None:
    journal = attrs.evolve(JOURNAL, max_return=felt_from_float(2**-129))
    assert content(journal)["max_return"] == 0.0
    assert float_from_felt(journal.max_return) == 0.0


def altered(offset: int, *bytes_there: int) -> bytes:
    return VECTOR_BYTES[:offset] + bytes(bytes_there) + VECTOR_BYTES[offset + len(bytes_there) :]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "data_8_months_hash, at byte 0: the bytes end here and a journal has 552"),
        (VECTOR_BYTES[:31], "data_8_months_hash, at byte 31: the bytes end here"),
        (VECTOR_BYTES[:32], "start_timestamp, at byte 32: the bytes end here"),
        (VECTOR_BYTES[:47], "end_timestamp, at byte 47: the bytes end here"),
        (VECTOR_BYTES[:48], "reserve_price, at byte 48: the bytes end here"),
        (VECTOR_BYTES[:407], "gradient_tolerance, at byte 407: the bytes end here"),
        (VECTOR_BYTES[:-1], "max_return, at byte 551: the bytes end here"),
        (VECTOR_BYTES + b"\0", "the end, at byte 552: a journal ends here and 1 bytes follow"),
        (VECTOR_BYTES * 2, "the end, at byte 552: a journal ends here and 552 bytes follow"),
        (altered(39, 0x80), "start_timestamp, at byte 32: it is negative: -9223372035182244608"),
        (altered(47, 0x80), r"end_timestamp, at byte 40: it is not after start_timestamp \(16725"),
        (
            altered(40, *VECTOR_BYTES[32:40]),
            r"end_timestamp, at byte 40: it is not after start_timestamp \(1672531200\): 16725",
        ),
        (altered(48, 65), "reserve_price, at byte 48: the string's length is 65 and has to be 66"),
        (altered(51, 1), "reserve_price, at byte 48: the string's length is 16777282 and has"),
        (altered(52, 0x31), "reserve_price, at byte 52: the string does not begin with 0x"),
        (altered(53, 0x58), "reserve_price, at byte 52: the string does not begin with 0x"),
        (altered(54, 0x20), "reserve_price, at byte 54: the byte 0x20 is no lower-case hex digit"),
        (altered(190 - 3, 0x41), "floating_point_tolerance, at byte 187: the byte 0x41 is no low"),
        (altered(551 - 2, 0x67), "max_return, at byte 549: the byte 0x67 is no lower-case hex"),
        (altered(60, 0x5F), "reserve_price, at byte 60: the byte 0x5f is no lower-case hex digit"),
        (altered(54, 0x30, 0x38), r"reserve_price, at byte 52: the number is more than a felt"),
        (altered(118, 1), "reserve_price, at byte 118: the padding is 0x0100 and has to be zero"),
        (altered(551, 9), "max_return, at byte 550: the padding is 0x0009 and has to be zero"),
    ],
)
def test_malformed_bytes_are_refused_and_their_place_named(data: bytes, said: str) -> None:
    with pytest.raises(MalformedJournal, match=f"^{said}") as caught:
        decode(data)
    assert caught.value.where == said.split(",")[0]


def test_the_largest_felt_is_one() -> None:
    largest = attrs.evolve(JOURNAL, reserve_price=MAX_FELT)
    assert decode(encode(largest)) == largest
    digits = f"{MAX_FELT + 1:064x}".encode()
    with pytest.raises(MalformedJournal, match="more than a felt holds"):
        decode(altered(54, *digits))


def test_every_string_is_checked() -> None:
    for place, name in enumerate(FELTS):
        for within in (0, 4, 6, 69, 71):
            with pytest.raises(MalformedJournal, match=f"^{name}, at byte"):
                decode(altered(48 + 72 * place + within, 0xFF))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_8_months_hash", (1, 2, 3)),
        ("data_8_months_hash", (0,) * 9),
        ("data_8_months_hash", (0,) * 7 + (2**32,)),
        ("data_8_months_hash", (0,) * 7 + (-1,)),
        ("start_timestamp", -1),
        ("start_timestamp", VECTOR["end_timestamp"]),
        ("end_timestamp", VECTOR["start_timestamp"]),
        ("end_timestamp", MAX_TIMESTAMP + 1),
        *((name, value) for name in FELTS for value in (-1, MAX_FELT + 1)),
    ],
)
def test_a_journal_that_has_no_bytes_can_not_be_made(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        attrs.evolve(JOURNAL, **{name: value})
