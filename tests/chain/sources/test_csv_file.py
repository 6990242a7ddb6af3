"""A header file is read exactly, or refused with the place and the value that is wrong."""

import csv
import gzip
import io
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from os import mkfifo
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from prover_framework.chain.headers import EncodedHeader, Header, HeaderColumns
from prover_framework.chain.sources import csv_file
from prover_framework.chain.sources.csv_file import MAX_LINE_CHARACTERS, read_batches, read_headers
from prover_framework.errors import HeaderError

MAX = 2**63 - 1
NAMES = "number,timestamp,base_fee_per_gas"
HASH = "0x" + "1d" * 32
Save = Callable[[str | bytes], Path]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    folder = tmp_path_factory.mktemp("headers")

    def write(content: str | bytes) -> Path:
        path = folder / "headers.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "CHUNK_BYTES", 7)


def refusal(path: Path) -> str:
    with pytest.raises(HeaderError) as caught:
        list(read_headers(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    return message.removeprefix(str(path))


# What is read.


def test_three_columns_in_decimal_and_hexadecimal(save: Save) -> None:
    path = save(f"{NAMES}\n7,100,15000000000\n0x8,0X70,0x37E11d600\n")
    assert list(read_headers(path)) == [Header(7, 100, 15 * 10**9), Header(8, 112, 15 * 10**9)]


def test_all_columns_in_any_order_beside_others(save: Save) -> None:
    path = save(
        " Parent_Hash ,miner,GAS_LIMIT,hash,Base_Fee_Per_Gas,gas_used, TIMESTAMP,number\n"
        f"{HASH.upper().replace('X', 'x')},somebody,30,0x{'0' * 64},9,15,24,2\n"
    )
    assert list(read_headers(path)) == [Header(2, 24, 9, 15, 30, "0x" + "0" * 64, HASH)]


def test_an_optional_value_that_is_missing_is_none(save: Save) -> None:
    path = save(f"{NAMES},gas_used,gas_limit,block_hash\n1,1,1,,30,\n2,2,2,7, ,{HASH}\n")
    assert list(read_headers(path)) == [
        Header(1, 1, 1, None, 30, None),
        Header(2, 2, 2, 7, None, HASH),
    ]


def test_spaces_around_values_and_quotes_do_not_matter(save: Save) -> None:
    path = save('"number",timestamp ,"  base_fee_per_gas"\n1, 2 ," 3"\n')
    assert list(read_headers(path)) == [Header(1, 2, 3)]


def test_the_largest_and_the_smallest_values_fit(save: Save) -> None:
    path = save(f"{NAMES}\n0,0,0\n{MAX},{MAX:#x},{MAX}\n")
    assert list(read_headers(path)) == [Header(0, 0, 0), Header(MAX, MAX, MAX)]


def test_leading_zeros_are_no_size(save: Save) -> None:
    path = save(f"{NAMES}\n{'0' * 5000}1,{'0' * 30},0x{'0' * 5000}a\n")
    assert list(read_headers(path)) == [Header(1, 0, 10)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_a_byte_order_mark_and_empty_lines_do_not_matter(
    save: Save, end: str, mark: str, *, last: bool
) -> None:
    lines = [NAMES, "1,12,5", "", "2,24,6", *(["", ""] if last else [])]
    path = save(mark + end.join(lines))
    assert list(read_headers(path)) == [Header(1, 12, 5), Header(2, 24, 6)]


@pytest.mark.usefixtures("small_chunks")
def test_lines_that_lie_across_reads_stay_whole(save: Save) -> None:
    path = save("\ufeff" + NAMES + "".join(f"\r\n{i},{12 * i},{i**9}" for i in range(50)))
    assert list(read_headers(path)) == [Header(i, 12 * i, i**9) for i in range(50)]


def test_a_compressed_file_is_known_by_its_content(save: Save) -> None:
    path = save(gzip.compress(f"{NAMES}\n1,12,5\n".encode()))
    assert list(read_headers(path)) == [Header(1, 12, 5)]


def test_a_pipe_can_be_read_and_reports_no_progress(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(f"{NAMES}\n1,12,5\n",))
    writer.start()
    progress: list[int] = []
    assert list(read_headers(path, progress.append)) == [Header(1, 12, 5)]
    writer.join()
    assert progress == []


headers = st.builds(
    Header,
    st.just(0),
    st.just(0),
    st.integers(0, MAX) | st.integers(0, 10**12),
    st.none() | st.integers(0, MAX),
    st.none() | st.integers(0, MAX),
    st.none() | st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()),
    st.none() | st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()),
)


@st.composite
def chains(draw: st.DrawFn) -> list[Header]:
    rising = st.lists(st.integers(0, MAX), unique=True, min_size=1, max_size=12).map(sorted)
    numbers = draw(rising)
    timestamps = draw(
        st.lists(
            # Larger ones may look like milliseconds.
            st.integers(0, 10**12),
            unique=True,
            min_size=len(numbers),
            max_size=len(numbers),
        ).map(sorted)
    )
    return [
        evolve(draw(headers), number=number, timestamp=timestamp)
        for number, timestamp in zip(numbers, timestamps, strict=True)
    ]


@given(chains(), st.sampled_from([str, hex]), st.sampled_from(["excel", "unix"]))
@pytest.mark.parametrize("columns", [3, 7])
def test_what_is_written_is_read(
    save: Save, columns: int, chain: list[Header], form: Callable[[int], str], dialect: str
) -> None:
    names = [*NAMES.split(","), "gas_used", "gas_limit", "block_hash", "parent_hash"][:columns]
    fields = [
        "number", "timestamp", "base_fee_wei", "gas_used", "gas_limit", "block_hash", "parent_hash"
    ][:columns]  # fmt: skip
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect)  # excel ends lines with CR LF, unix quotes all values
    writer.writerow(names)
    for header in chain:
        values = [getattr(header, field) for field in fields]
        writer.writerow([form(value) if isinstance(value, int) else value for value in values])
    expected = [Header(*(getattr(header, field) for field in fields)) for header in chain]
    assert list(read_headers(save(text.getvalue()))) == expected


# What is refused, and where.


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-5", "'-5' is negative"),
        ("-0x5", "'-0x5' is negative"),
        ("1.5", "'1.5' is not written as a whole number; base fees are whole wei"),
        ("12.0", "not written as a whole number; base fees are whole wei"),
        ("1e9", "not written as a whole number; base fees are whole wei"),
        (".5", "not written as a whole number; base fees are whole wei"),
        (str(2**63), f"is too big; the largest here is {MAX}"),
        (hex(2**63), f"is too big; the largest here is {MAX}"),
        ("9" * 5000, f"'{'9' * 60}'... (5000 characters) is too big"),
        ("0x" + "f" * 5000, "(5002 characters) is too big"),
        ("", "there is no value"),
        ("  ", "there is no value"),
        ("fast", "'fast' is not an integer"),
        ("1_000", "'1_000' is not an integer"),
        ("+5", "'+5' is not an integer"),
        ("0x", "'0x' is not an integer"),
        ("ff", "'ff' is not an integer"),
        ("0b1", "'0b1' is not an integer"),
        ("nan", "'nan' is not an integer"),
        ("1 2", "'1 2' is not an integer"),
        ("\u0663", "'\\u0663' is not an integer"),
        ("\u00b2", "'\\xb2' is not an integer"),
        ("\x1b[31m", "'\\x1b[31m' is not an integer"),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_value_that_is_no_integer_is_shown_with_its_place(
    save: Save, value: str, message: str, index: int
) -> None:
    row = ["5", "60", "700"]
    row[index] = value
    found = refusal(save(f"{NAMES}\n1,2,3\n{','.join(row)}\n8,80,800\n"))
    assert found.startswith(f", line 3, column {NAMES.split(',')[index]}: ")
    assert message in found


@pytest.mark.parametrize("value", ["-1", "x", "1.0", str(2**63)])
@pytest.mark.parametrize("name", ["gas_used", "gas_limit"])
def test_an_optional_integer_is_checked_as_well(save: Save, name: str, value: str) -> None:
    assert f", line 2, column {name}: {value!r}" in refusal(
        save(f"{name},{NAMES}\n{value},1,2,3\n")
    )


@pytest.mark.parametrize("value", ["0x12", HASH + "0", HASH[2:], HASH[:-1] + "g", "1", "0x"])
@pytest.mark.parametrize("name", ["block_hash", "parent_hash"])
def test_a_hash_has_64_hexadecimal_digits(save: Save, name: str, value: str) -> None:
    found = refusal(save(f"{NAMES},{name}\n1,2,3,{HASH}\n4,5,6,{value}\n"))
    assert found.startswith(f", line 3, column {name}: ")
    assert "is not a hash" in found


@pytest.mark.parametrize("row", ["2,13,9", "1,13,9", "2,12,9", "1,12,8"])
def test_numbers_rise_from_line_to_line(save: Save, row: str) -> None:
    found = refusal(save(f"{NAMES}\n2,12,9\n{row}\n"))
    assert re.match(
        r", line 3, column number: (1 is not after the number before, 2;|there are two rows for "
        r"block 2$)",
        found,
    )


@pytest.mark.parametrize("timestamp", [0, 11])
def test_timestamps_rise_from_line_to_line(save: Save, timestamp: int) -> None:
    found = refusal(save(f"{NAMES}\n2,12,9\n3,{timestamp},9\n"))
    expected = f", line 3, column timestamp: {timestamp} is not after the timestamp before, 12;"
    assert found.startswith(expected)


@pytest.mark.usefixtures("small_chunks")
def test_the_order_is_kept_across_reads(save: Save) -> None:
    lines = [f"{i},{12 * i},{i}" for i in range(1, 40)]
    found = refusal(save("\n".join([NAMES, *lines, "39,999,1"])))
    assert found == ", line 41, column number: there are two rows for block 39"


@pytest.mark.parametrize(("row", "count"), [("1,2", 2), ("1,2,3,4", 4), ("5", 1), ("1,2,3,", 4)])
def test_each_line_has_a_value_for_each_column(save: Save, row: str, count: int) -> None:
    found = refusal(save(f"{NAMES}\n1,2,3\n\n{row}\n"))
    assert found == f", line 4: the line has {count} values, the first line names 3 columns"


@pytest.mark.parametrize("missing", NAMES.split(","))
def test_missing_columns_are_named_with_those_that_are_there(save: Save, missing: str) -> None:
    names = [name for name in NAMES.split(",") if name != missing]
    found = refusal(save(f"{','.join(names)},Extra\n1,2,3\n"))
    assert found.startswith(f", line 1: no column is named {missing}; ")
    assert f"'{','.join(names)},Extra'" in found


def test_a_file_without_column_names_is_refused(save: Save) -> None:
    found = refusal(save("1,2,3\n4,5,6\n"))
    assert "no column is named number or timestamp or base_fee_per_gas" in found
    assert "'1,2,3'" in found


def test_columns_that_are_separated_by_something_else_are_shown(save: Save) -> None:
    found = refusal(save("number;timestamp;base_fee_per_gas\n1;2;3\n"))
    assert "separated by commas" in found
    assert "'number;timestamp;base_fee_per_gas'" in found


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (f"{NAMES}, Number ", "number"),
        (f"{NAMES},hash,block_hash", "block_hash"),
        (f"{NAMES},BASE_FEE_PER_GAS", "base_fee_per_gas"),
    ],
)
def test_a_column_comes_once(save: Save, names: str, column: str) -> None:
    found = refusal(save(f"{names}\n1,2,3,4,5\n"))
    assert found.startswith(f", line 1, column {column}: the column is there twice, as ")


@pytest.mark.parametrize("content", ["", "\ufeff"])
def test_an_empty_file_is_refused(save: Save, content: str) -> None:
    found = refusal(save(content))
    assert found.startswith((": the file is empty", ", line 1: no column is named"))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_a_file_of_column_names_alone_is_refused(save: Save, end: str) -> None:
    assert refusal(save(NAMES + end)) == ": there are no headers below the column names"


def test_text_that_is_not_utf_8_is_refused_with_its_byte(save: Save) -> None:
    found = refusal(save(f"{NAMES},note\n1,2,3,\u00fc\n4,5,6,".encode() + b"caf\xe9\n"))
    assert found == ", line 3: byte 10 of the line, 0xe9, is not UTF-8"
    assert "line 1: byte 1 of the line, 0xff" in refusal(save(NAMES.encode("utf-16")))


def test_a_nul_byte_is_refused_with_its_place(save: Save) -> None:
    found = refusal(save(f"{NAMES},note\n1,2,3,a\n4,5,6,b\0\n"))
    assert found == ", line 3: character 8 of the line is a NUL byte"


def test_a_quoted_value_ends_on_its_line(save: Save) -> None:
    found = refusal(save(f'{NAMES},note\n1,2,3,a\n4,5,6,"b\n7,8,9,c"\n'))
    assert found.startswith(", line 3: the line is not CSV")
    found = refusal(save(f'{NAMES}\n1,2,3\n"4\n5",6,7\n'))
    assert found.startswith(", line 3: the line is not CSV")
    found = refusal(save(f'{NAMES}\n1,2,3\n"4"5,6,7\n'))
    assert found.startswith(", line 3: the line is not CSV")


def test_a_carriage_return_ends_no_line_alone(save: Save) -> None:
    found = refusal(save(f"{NAMES}\n1,2,3\n4,5,6\r7,8,9\n"))
    assert found == ", line 3: there is a carriage return before the end of the line"


def test_a_line_can_be_as_long_as_the_limit_and_no_longer(save: Save) -> None:
    room = MAX_LINE_CHARACTERS - len("1,2,3,")
    for letter in "x\U0001f600":
        path = save(f"{NAMES},note\n1,2,3,{letter * room}\n")
        assert list(read_headers(path)) == [Header(1, 2, 3)]
        found = refusal(save(f"{NAMES},note\n1,2,3,\n4,5,6,{letter * room}x\n7,8,9,\n"))
        assert found == f", line 3: the line is longer than {MAX_LINE_CHARACTERS} characters"


@pytest.mark.parametrize("value", ["9" * 65_000 + "x", "0" * 65_000 + "x", "-" + "1." * 32_000])
def test_a_long_bad_value_is_refused_at_once(save: Save, value: str) -> None:
    path = save(f"{NAMES}\n1,2,{value}\n")
    start = time.process_time()
    assert f"... ({len(value)} characters) is" in refusal(path)
    # Some milliseconds where the time grows with the length, minutes where it grows faster.
    assert time.process_time() - start < 5


def test_a_file_without_line_breaks_takes_little_memory(save: Save) -> None:
    bomb = gzip.compress(NAMES.encode() + b"\n" + b"1" * 64 * 2**20)
    path = save(bomb)
    tracemalloc.start()
    try:
        assert "line 2: the line is longer than" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [3, 30, 60])
def test_a_broken_compressed_file_is_refused(save: Save, cut: int) -> None:
    whole = gzip.compress(NAMES.encode() + b"".join(b"\n%d,%d,5" % (i, i) for i in range(99)))
    assert ": cannot be read: " in refusal(save(whole[:cut]))
    assert ": cannot be read: " in refusal(save(whole[:-8] + b"\0" * 8))
    assert ": cannot be read: " in refusal(save(whole[:cut] + b"\xff" * 99))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert ": cannot be opened: No such file" in refusal(tmp_path / "missing.csv")
    assert ": cannot be opened: Is a directory" in refusal(tmp_path)


def test_the_headers_before_a_wrong_line_come_first(save: Save) -> None:
    found = read_headers(save(f"{NAMES}\n1,2,3\n4,5,6\nx,8,9\n"))
    assert list(islice(found, 2)) == [Header(1, 2, 3), Header(4, 5, 6)]
    with pytest.raises(HeaderError):
        next(found)


cells = st.sampled_from(
    ["1", "2", "30", "0x4", "", " ", "-1", "1.5", '"', '"5"', "\0", "\r", "\u0663", "x", HASH]
)
lines = st.lists(cells | st.text(max_size=4), max_size=5).map(",".join)
files = st.lists(lines, max_size=5).map(lambda rows: "\n".join([NAMES, *rows]).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | files)
@example(b"\x1f\x8b")
@example(b"\x1f\x8b\x08\x00")
@example(b'"')
@example(b"\n\n")
def test_whatever_a_file_holds_only_a_header_error_comes_of_it(save: Save, content: bytes) -> None:
    path = save(content)
    try:
        found = list(read_headers(path))
    except HeaderError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 (not raising is as good)
    else:
        assert found


@given(files)
def test_the_size_of_a_read_decides_nothing(save: Save, content: bytes) -> None:
    path = save(content)

    def outcome() -> tuple[list[Header | EncodedHeader], str]:
        read: list[Header | EncodedHeader] = []
        try:
            read.extend(read_headers(path))
        except HeaderError as error:
            return read, str(error)
        return read, ""

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "CHUNK_BYTES", 3)
        assert outcome() == whole


# How it is read.


def many_lines(count: int) -> Iterator[str]:
    yield NAMES
    for i in range(count):
        yield f"{i},{1_600_000_000 + 12 * i},{15_000_000_000 + i}"


@pytest.mark.parametrize("compress", [False, True])
def test_progress_rises_to_the_size_of_the_file(save: Save, *, compress: bool) -> None:
    text = "\n".join(many_lines(30_000)).encode() + b"\n"
    path = save(gzip.compress(text) if compress else text)
    progress: list[int] = []
    assert sum(1 for _ in read_headers(path, progress.append)) == 30_000
    assert len(progress) >= 5
    assert progress == sorted(progress)
    assert progress[-1] == path.stat().st_size


def test_progress_is_of_what_has_been_yielded(save: Save) -> None:
    path = save("\n".join(many_lines(30_000)))
    progress: list[int] = []
    found = read_headers(path, progress.append)
    next(found)
    assert progress == []


def test_memory_does_not_grow_with_the_file(save: Save) -> None:
    path = save("\n".join(many_lines(60_000)))
    peaks = []
    for count in (6_000, 60_000):
        tracemalloc.start()
        try:
            assert sum(1 for _ in islice(read_headers(path), count)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_reader_that_is_dropped_closes_its_file(save: Save) -> None:
    found = read_headers(save("\n".join(many_lines(10))))
    next(found)
    # A file left open would be reported as a ResourceWarning, which is an error here.
    found.close()  # type: ignore[attr-defined]
    assert list(found) == []


cells = st.one_of(
    st.integers(0, 30).map(str),
    st.sampled_from(
        ["", "007", "9" * 18, "9" * 19, "2000000000000", "0x1f", " 5", "-1", "x", '"5"']
    ),
)
lines = st.one_of(
    st.tuples(st.integers(0, 99), st.integers(0, 99), cells, cells).map(
        lambda row: ",".join(map(str, row))
    ),
    st.sampled_from(["", "\r", "1,2", "1,2,3,4,5", "5,5,5,5\r"]),
)


@given(st.lists(lines, max_size=6), st.integers(1, 40))
def test_lines_of_integers_alone_are_read_as_all_others_are(
    save: Save, rows: list[str], size: int
) -> None:
    file = save("\n".join(["number,timestamp,base_fee_per_gas,gas_used", *rows]))

    def read() -> tuple[list[Header | EncodedHeader], str]:
        found = []
        try:
            for header in read_headers(file):
                found.append(header)  # noqa: PERF402 - it may end with an error
        except HeaderError as error:
            return found, str(error)
        return found, ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "CHUNK_BYTES", size)
        quick = read()
        patch.setattr(csv_file._Table, "_integer_columns", lambda *_: None)
        assert quick == read()


def test_lines_of_integers_alone_become_columns(save: Save) -> None:
    file = save(f"{NAMES},other\n5,6,7,8\n6,7,8,99\n")
    (batch,) = read_batches(file)
    assert isinstance(batch, HeaderColumns)
    assert list(batch) == [Header(5, 6, 7), Header(6, 7, 8)]
    assert batch.gas_used is None
