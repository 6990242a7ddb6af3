"""A whole header makes the hash that the block has, whatever the fork; what is none is refused."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st
from real_headers import CANCUN, LONDON, OP_STACK, PRAGUE, SHANGHAI, altered, stored
from real_headers import FORKS as REAL_FORKS

from prover_framework.chain import rlp_header
from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import (
    FIELDS,
    FORKS,
    LEGACY_FIELDS,
    MAX_RLP_BYTES,
    HeaderField,
    block_hash,
    decode_fields,
    encode_header,
    read_header,
)
from prover_framework.errors import HeaderInvalid, HeaderRule

LATER = [field.name for field in FIELDS if field.later]


def fork_of(encoded: bytes) -> str:
    """Return the fork that gave a header its fields."""
    count = len(decode_fields(encoded))
    return next(name for name, fields in FORKS.items() if fields == count)


def values(field: HeaderField) -> st.SearchStrategy[Any]:
    if field.maximum is not None:
        return st.integers(0, field.maximum) | st.integers(0, 300)
    size = field.size
    return st.binary(max_size=40) if size is None else st.binary(min_size=size, max_size=size)


@st.composite
def encoded_headers(draw: st.DrawFn) -> EncodedHeader:
    count = draw(st.sampled_from(sorted(FORKS.values())))
    return encode_header({field.name: draw(values(field)) for field in FIELDS[:count]})


# Real headers.


@pytest.mark.parametrize(("fork", "row"), REAL_FORKS.items(), ids=REAL_FORKS)
def test_the_fields_of_a_real_block_make_its_hash(fork: str, row: dict[str, str]) -> None:
    header = encode_header(row)
    assert fork_of(header.rlp) == fork
    assert header.header.block_hash == block_hash(header.rlp) == row["block_hash"]


@pytest.mark.parametrize("row", REAL_FORKS.values(), ids=REAL_FORKS)
def test_what_the_database_keeps_of_a_real_block_is_read_from_its_bytes(
    row: dict[str, str],
) -> None:
    assert read_header(encode_header(row).rlp) == Header(
        number=int(row["number"], 0),
        timestamp=int(row["timestamp"], 0),
        base_fee_wei=int(row["base_fee_per_gas"], 16),
        gas_used=int(row["gas_used"], 0),
        gas_limit=int(row["gas_limit"], 0),
        block_hash=row["block_hash"],
        parent_hash=row["parent_hash"],
    )


@pytest.mark.parametrize("name", ["mainnet_headers.json", "sepolia_headers.json"])
def test_every_golden_header_makes_its_hash(name: str) -> None:
    golden = os.environ.get("PROVER_GOLDEN_DIR")
    if golden is None:
        pytest.skip("PROVER_GOLDEN_DIR names no folder with real headers")
    rows = json.loads(Path(golden, name).read_text("utf-8"))
    assert len(rows) >= 2
    for row in rows:
        assert encode_header(row).header.block_hash == row["block_hash"]


def test_proof_of_work_is_part_of_the_hash() -> None:
    header = stored(LONDON)
    assert decode_fields(header.rlp)["difficulty"] == 0x1B81C1FE05B218
    for other in (altered(header, difficulty=0), altered(header, nonce=bytes(8))):
        assert other.header.block_hash != LONDON["block_hash"]


# Encoding and decoding.


@given(encoded_headers())
def test_bytes_say_what_the_header_said(header: EncodedHeader) -> None:
    assert len(header.rlp) <= MAX_RLP_BYTES
    assert encode_header(decode_fields(header.rlp)) == header
    assert read_header(header.rlp) == header.header


@given(encoded_headers(), st.sampled_from([str, hex, int]))
def test_texts_say_what_the_header_said(
    header: EncodedHeader, write: Callable[[int], object]
) -> None:
    values = {
        name: f"0x{value.hex()}" if isinstance(value, bytes) else write(value)
        for name, value in decode_fields(header.rlp).items()
    }
    assert encode_header({**values, "block_hash": "whatever", "fork": "none"}) == header


odd_values = st.one_of(
    st.sampled_from(
        [
            "", None, "0x", "0x0", "0x00", "0x001", "0X1", "1_0", "0x1_0", "0x 1", " 0x1", "+1",
            "-1", "0xg", "\u0661", "0x\u0661", "00", 0, -1, 2**63, 2**64, 2**70, True, 1.0, b"",
            b"\x01", b"\x80", b"\0" * 32, "0x7f", "0x80", "0xF", "0x" + "ab" * 33, "0x" + "ab" * 40,
        ]
    ),
    st.integers(0, 2**65),
    st.integers(0, 2**65).map(hex),
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda data: f"0x{data.hex()}"),
    st.sampled_from([8, 20, 31, 32, 33, 256]).map(lambda size: "0x" + "1 " * size),
    st.sampled_from([8, 20, 31, 32, 33, 256]).map(lambda size: "0x" + "a7" * size),
)  # fmt: skip


@given(
    encoded_headers(),
    st.dictionaries(st.sampled_from([field.name for field in FIELDS]), odd_values, max_size=2),
    st.sampled_from([str, hex, int]),
)
def test_a_header_is_put_together_in_one_step_as_field_by_field(
    header: EncodedHeader, odd: dict[str, Any], form: Callable[[int], object]
) -> None:
    row = {
        name: form(value) if isinstance(value, int) else f"0x{value.hex()}"
        for name, value in decode_fields(header.rlp).items()
    } | odd

    def told() -> EncodedHeader | str:
        try:
            return encode_header(row)
        except HeaderInvalid as error:
            return str(error)

    at_once = told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlp_header, "_usual_rlp", lambda _: None)
        assert at_once == told()


@pytest.mark.parametrize("form", [hex, str, int])
def test_usual_fields_are_put_together_in_one_step(
    form: Callable[[int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeaderField, "parse", None)
    fields = decode_fields(stored(PRAGUE).rlp)
    row = {n: form(v) if isinstance(v, int) else f"0x{v.hex()}" for n, v in fields.items()}
    assert encode_header(row) == stored(PRAGUE)


@given(encoded_headers(), st.data())
def test_another_value_of_any_field_makes_another_hash(
    header: EncodedHeader, data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(FIELDS[: FORKS[fork_of(header.rlp)]]))
    old = decode_fields(header.rlp)[field.name]
    new = data.draw(values(field).filter(lambda value: value != old))
    assert block_hash(altered(header, **{field.name: new}).rlp) != block_hash(header.rlp)


@given(st.binary(max_size=80) | st.binary(min_size=500, max_size=700))
def test_bytes_that_are_no_header_are_refused(encoded: bytes) -> None:
    for read in (decode_fields, read_header):
        with pytest.raises(HeaderInvalid) as caught:
            read(encoded)
        assert caught.value.rule is HeaderRule.FORM


@given(encoded_headers(), st.data())
def test_a_header_with_a_changed_byte_is_read_in_one_way_or_refused(
    header: EncodedHeader, data: st.DataObject
) -> None:
    encoded = bytearray(header.rlp)
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = encode_header(decode_fields(bytes(encoded)))
    except HeaderInvalid:
        with pytest.raises(HeaderInvalid):
            read_header(bytes(encoded))
    else:
        # There is one form for each header, so no second set of bytes stands for it.
        assert decoded.rlp == encoded
        assert read_header(bytes(encoded)) == decoded.header


def string(data: bytes, *, long: int = 0) -> bytes:
    """Return the RLP of a string, or with so many bytes of length, as RLP does not allow them."""
    if not long:
        return bytes(rlp.encode(data))
    return bytes([0xB7 + long]) + len(data).to_bytes(long) + data


def whole_list(items: list[bytes], *, length: int = 0, behind: bytes = b"") -> bytes:
    """Return the RLP of a list that says of its length so much too much, and what follows it."""
    body = b"".join(items)
    return bytes((0xF9, *(len(body) + length).to_bytes(2))) + body + behind


def distorted(encoded: bytes) -> Iterator[bytes]:
    """Yield what is nearly a header, and some that are rare."""
    values = rlp.decode(encoded)
    items = list(map(string, values))
    for place, value in enumerate(values):
        numbers = [rlp.encode(2**bits - wrong) for bits in (63, 64, 65, 256) for wrong in (0, 1)]
        others = [b"\0" + value, b"\1" + value, value[1:], value[:1], b"\0", b"", bytes(56)]
        for item in [
            *numbers,
            *map(string, others),
            *(string(value, long=size) for size in (1, 2, 3) if len(value) < 256**size),
            *(b"\x81" + value[:1], in_list(items[place]), items[place][:-1], b"\0" + items[place]),
            value,
            b"\x81\5",
            b"\x81\x80",
        ]:
            yield whole_list([*items[:place], item, *items[place + 1 :]])
    for count in range(len(FIELDS) + 2):
        yield whole_list([*items, b"\1", b"\1", b"\1"][:count])
    for length in (-256, -2, -1, 1, 2, 256):
        yield whole_list(items, length=length)
    yield from (whole_list(items, behind=b"\1"), encoded[1:], encoded[:-1], in_list(encoded))


def require_read_alike(encoded: bytes) -> None:
    """Require that bytes are refused as the library refuses them, or read as it reads them."""
    try:
        fields = decode_fields(encoded)
    except HeaderInvalid as refused:
        with pytest.raises(HeaderInvalid, match=f"^{re.escape(str(refused))}$"):
            read_header(encoded)
        return
    assert rlp.encode(rlp.decode(encoded)) == encoded
    header = read_header(encoded)
    for name in ("number", "timestamp", "gas_used", "gas_limit"):
        assert getattr(header, name) == fields[name]
    assert header.base_fee_wei == fields["base_fee_per_gas"]
    assert header.parent_hash == f"0x{bytes(fields['parent_hash']).hex()}"
    assert header.block_hash == block_hash(encoded)


@pytest.mark.parametrize("row", [*REAL_FORKS.values(), OP_STACK], ids=[*REAL_FORKS, "OP Stack"])
def test_what_the_library_refuses_is_refused(row: dict[str, str]) -> None:
    for encoded in distorted(encode_header(row).rlp):
        require_read_alike(encoded)


@given(encoded_headers(), st.data())
def test_what_the_library_reads_is_read_as_it_reads_it(
    header: EncodedHeader, data: st.DataObject
) -> None:
    encoded = header.rlp
    require_read_alike(encoded)
    start = data.draw(st.integers(0, len(encoded)))
    end = data.draw(st.integers(start, min(start + 3, len(encoded))))
    require_read_alike(encoded[:start] + data.draw(st.binary(max_size=3)) + encoded[end:])


@pytest.mark.parametrize("row", [*REAL_FORKS.values(), OP_STACK], ids=[*REAL_FORKS, "OP Stack"])
def test_a_usual_header_is_read_in_one_step(
    row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding it item by item takes three times as long as all the rest of its verification."""
    header = encode_header(row)
    monkeypatch.setattr("rlp.codec.decode_raw", None)
    assert read_header(header.rlp) == header.header


@pytest.mark.parametrize("count", [0, 1, 14, 18, 19, 22])
def test_a_number_of_fields_that_no_fork_has_is_refused(count: int) -> None:
    items = [b"\1"] * count
    with pytest.raises(HeaderInvalid, match=rf"has {count} fields; a header has 16 \(London\)"):
        read_header(rlp.encode(items))


def test_fields_of_a_fork_that_is_not_known_are_refused_by_their_number() -> None:
    items = [b"\1"] * (max(FORKS.values()) + 1)
    with pytest.raises(HeaderInvalid, match=r"24 fields, and Amsterdam, .* use a newer version"):
        read_header(rlp.encode(items))


def test_a_header_from_before_london_is_refused_as_such() -> None:
    items = rlp.decode(stored(LONDON).rlp)[:15]
    with pytest.raises(HeaderInvalid, match="from before the London fork") as caught:
        read_header(rlp.encode(items))
    assert caught.value.field == "base_fee_per_gas"
    row = {name: text for name, text in LONDON.items() if name != "base_fee_per_gas"}
    with pytest.raises(HeaderInvalid, match="from before the London fork"):
        encode_header(row)


def test_deep_nesting_and_great_length_are_refused() -> None:
    nested = b"\xc0"
    for _ in range(1500):
        nested = in_list(nested)
    assert len(nested) <= MAX_RLP_BYTES
    for encoded in (nested, bytes(MAX_RLP_BYTES + 1), rlp.encode([[b"\1"]] * 16)):
        with pytest.raises(HeaderInvalid):
            read_header(encoded)


def in_list(encoded: bytes) -> bytes:
    """Put the RLP of something into a list."""
    size = len(encoded)
    if size < 56:
        return bytes([0xC0 + size]) + encoded
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0xF7 + len(length)]) + length + encoded


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_that_is_out_of_form_is_named(field: HeaderField) -> None:
    items = rlp.decode(stored(PRAGUE).rlp)
    items += [bytes(32), b"\1"]
    place = FIELDS.index(field)
    wrong = [b"\0" + items[place]] if field.maximum else [items[place] + b"\1"]
    if field.maximum:
        wrong += [b"\1" + bytes(32), (field.maximum + 1).to_bytes(33).lstrip(b"\0")]
    if field.name == "extra_data":
        return  # It has no form.
    for value in wrong:
        wrong_bytes = rlp.encode([*items[:place], value, *items[place + 1 :]])
        for read in (decode_fields, read_header):
            with pytest.raises(HeaderInvalid) as caught:
                read(wrong_bytes)
            assert (caught.value.field, caught.value.rule) == (field.name, HeaderRule.FORM)


# Rows of tables.


def test_a_row_without_difficulty_is_of_a_block_after_the_merge() -> None:
    assert "difficulty" not in PRAGUE
    assert decode_fields(encode_header(PRAGUE).rlp)["difficulty"] == 0


@pytest.mark.parametrize("empty", [None, ""])
def test_what_is_empty_in_a_row_is_not_there(empty: str | None) -> None:
    row = {**SHANGHAI, **dict.fromkeys(LATER[1:], empty)}
    assert encode_header(row) == encode_header(SHANGHAI)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_that_a_row_lacks_is_named(field: HeaderField) -> None:
    row = {
        **PRAGUE,
        "difficulty": "0",
        "block_access_list_hash": PRAGUE["requests_hash"],
        "slot_number": "7",
    }
    assert fork_of(encode_header(row).rlp) == "Amsterdam"
    del row[field.name]
    if field.name == "difficulty":
        assert decode_fields(encode_header(row).rlp)["difficulty"] == 0
        return
    with pytest.raises(HeaderInvalid) as caught:
        encode_header(row)
    assert caught.value.field == field.name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "-1"),
        ("number", "1_0"),
        ("number", "\u0661"),
        ("number", "0x"),
        ("number", "1.0"),
        ("number", True),
        ("number", 2**63),
        ("number", -1),
        ("number", "9" * 5000),
        ("gas_used", "ten"),
        ("base_fee_per_gas", "0x8000000000000000"),
        ("base_fee_per_gas", [1]),
        ("state_root", "0x12"),
        ("state_root", PRAGUE["state_root"][2:]),
        ("state_root", PRAGUE["state_root"].replace("1", "g", 1)),
        ("state_root", 7),
        ("miner", PRAGUE["state_root"]),
        ("extra_data", "0x123"),
        ("extra_data", "0x1 2"),
        ("extra_data", "0x" + "00" * 5000),
    ],
)
def test_a_value_that_is_none_of_its_field_is_named_and_shown_shortened(
    name: str, value: object
) -> None:
    with pytest.raises(HeaderInvalid) as caught:
        encode_header({**PRAGUE, name: value})
    assert caught.value.field == name
    assert len(str(caught.value)) < 250


def test_forks_build_on_each_other_and_the_newest_has_all_fields() -> None:
    assert list(FORKS.values()) == sorted(FORKS.values())
    assert max(FORKS.values()) == len(FIELDS)
    assert FORKS["London"] == len([field for field in FIELDS if not field.later])
    assert FORKS["London"] == LEGACY_FIELDS + 1


def test_the_recorded_cancun_header_is_of_cancun() -> None:
    assert fork_of(encode_header(CANCUN).rlp) == "Cancun"
