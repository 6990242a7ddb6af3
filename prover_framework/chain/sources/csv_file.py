"""Reads block headers from a CSV file, or says where the file is wrong.

The first line names the columns, in any order; ``number``, ``timestamp`` and ``base_fee_per_gas``
must be among them. With a column for every field of a header, headers are whole. The blocks follow
one to a line, with rising numbers and timestamps; integers are decimal or hexadecimal with ``0x``.
The file may be compressed with gzip or zstd, or be a Parquet file.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from io import BufferedReader
from itertools import islice, pairwise
from operator import le, lt
from pathlib import Path
from typing import IO, Any, cast

from attrs import define, field, frozen

from prover_framework.chain.headers import (
    MAX_BASE_FEE_WEI,
    MAX_GAS,
    MAX_NUMBER,
    MAX_TIMESTAMP,
    Batch,
    EncodedHeader,
    Header,
    HeaderColumns,
)
from prover_framework.chain.sources.column_names import column_of, is_own_name, like
from prover_framework.errors import HeaderError, HeaderInvalid

# A header with every field that Ethereum has, logs bloom included, takes about 2,500 characters.
# The limit bounds the memory that a file without line breaks can take, and it lies below the
# default field limit of the csv module, which therefore never speaks up.
MAX_LINE_CHARACTERS = 65_536

# Some four thousand lines of three columns: large enough for the cost of a read to vanish, small
# enough to stay in the processor's cache and to move a progress bar smoothly.
CHUNK_BYTES = 128 * 1024

# Mainnet's base fee has never been below a thousand times this; in gwei it never exceeded it.
LEAST_LIKELY_WEI = 10_000

# So many headers of a file are looked at to see in which unit its fees are.
LOOKED_AT = 1000

# Integers with no more digits are below 2^63 - 1, the largest of any column.
MAX_FAST_DIGITS = 18

# How much of a bad value a message shows.
SHOWN_CHARACTERS = 60

_UTF8_BYTES_PER_CHARACTER = 4
_UTF8_BOM = b"\xef\xbb\xbf"
# No UTF-8 text begins with these bytes, so the content tells whatever the file's name says.
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PARQUET_MAGIC = b"PAR1"

# Lines of these hold nothing but decimal integers.
_PLAIN_BYTES = b"0123456789,\n"

# None of these matches a run of digits in two ways, so a hostile value of great length costs no
# more time than its length.
_DECIMAL = re.compile(r"[0-9]+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_NEGATIVE = re.compile(r"-(0[xX][0-9a-fA-F]+|[0-9][0-9.]*)")
_FRACTION = re.compile(r"([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_HASH = re.compile(r"0[xX][0-9a-fA-F]{64}")

# What BigQuery, Dune and databases write; the zone is what they may leave out.
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2})(\.?[0-9]{0,9})"
    r" ?([zZ]|UTC|[+-][0-9]{2}:?[0-9]{2})?$"
)
_FINER_UNITS = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
# 2015 and 2096: chains have no blocks before, and nobody reads them with this afterwards.
_FIRST_LIKELY, _LAST_LIKELY = 1_420_070_400, 4_000_000_000

_INTEGER_FORM = "decimal digits, or 0x and hexadecimal digits"
_TOO_LONG = f"the line is longer than {MAX_LINE_CHARACTERS} characters"


@frozen(eq=False)  # each is itself and no other, which makes it a cheap key
class _Column:
    """A column that is understood; it holds hashes."""

    name: str


@frozen(eq=False)
class _IntegerColumn(_Column):
    """A column that holds integers from 0 to a maximum."""

    maximum: int = field(kw_only=True)


_NUMBER = _IntegerColumn("number", maximum=MAX_NUMBER)
_TIMESTAMP = _IntegerColumn("timestamp", maximum=MAX_TIMESTAMP)
_BASE_FEE = _IntegerColumn("base_fee_per_gas", maximum=MAX_BASE_FEE_WEI)
_REQUIRED = (_NUMBER, _TIMESTAMP, _BASE_FEE)
_BLOCK_HASH = _Column("block_hash")
_OPTIONAL = (
    _IntegerColumn("gas_used", maximum=MAX_GAS),
    _IntegerColumn("gas_limit", maximum=MAX_GAS),
    _BLOCK_HASH,
    _Column("parent_hash"),
)
_COLUMN_OF = {column.name: column for column in (*_REQUIRED, *_OPTIONAL)}


def in_wei(batches: Iterable[Batch], chain_id: int) -> Iterator[Batch]:
    """Yield headers of a file, unless their base fees cannot be wei.

    Args:
        batches: The headers.
        chain_id: The chain that they are said to be of; only mainnet's fees are known.

    Raises:
        HeaderError: The fees of the first of them look like gwei.
    """
    iterator = iter(batches)
    first: list[Batch] = []
    fees_wei: list[int] = []
    while len(fees_wei) < LOOKED_AT and (batch := next(iterator, None)) is not None:
        first.append(batch)
        fees_wei.extend(
            (h if isinstance(h, Header) else h.header).base_fee_wei
            for h in islice(batch, LOOKED_AT - len(fees_wei))
        )
    if chain_id == 1 and fees_wei and max(fees_wei) < LEAST_LIKELY_WEI:
        raise HeaderError(
            f"base fees of {max(fees_wei)} wei and less, as the first {len(fees_wei)} blocks have, "
            "are not mainnet's: if they are in gwei, multiply them by 1000000000"
        )
    yield from first
    yield from iterator


@define
class FileNotes:
    """What was seen in a file while it was read, to be said afterwards.

    Args:
        lacking: What keeps headers from being whole: columns that are not there, and the first
            cells that are empty.
    """

    lacking: str | None = None


def read_headers(
    path: Path,
    on_progress: Callable[[int], None] | None = None,
    notes: FileNotes | None = None,
) -> Iterator[Header | EncodedHeader]:
    """Yield the headers of a file one by one; see `read_batches`."""
    for batch in read_batches(path, on_progress, notes):
        yield from batch


def read_batches(
    path: Path,
    on_progress: Callable[[int], None] | None = None,
    notes: FileNotes | None = None,
) -> Iterator[Batch]:
    """Yield the headers of a file, in its order, in flat memory however long it is.

    Columns may have the names that `column_names` knows. Optional are ``gas_used``, ``gas_limit``,
    ``block_hash`` and ``parent_hash``; where a line leaves one of them empty, the header has None.
    If there are columns for the hash and for all fields of a London header, under the names of
    `prover_framework.chain.rlp_header.FIELDS`, a line with a value in each of them is a whole
    header, with those fields of later forks that it has; ``difficulty``, which is 0 since the
    Merge, may be missing. Other columns and empty lines are passed over. Spaces around names
    and values do not matter. Times are Unix seconds or dates that name their zone. The text is
    UTF-8, with or without a byte order mark.

    Args:
        path: The file, plain or compressed with gzip or zstd; or a Parquet file.
        on_progress: Called every few thousand lines and at the end, with the number of bytes of
            the file, as it lies on the disk, that have been consumed. Not called for a pipe.
        notes: Gets what keeps headers from being whole.

    Raises:
        HeaderError: The file cannot be read or is wrong somewhere; the message says where, and
            shows what is there. The headers before that place have been yielded by then: whoever
            wants all or nothing must be able to drop them.
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise HeaderError(f"{path}: cannot be opened: {_reason(error)}") from error
    with file:
        table = _Table(path, notes or FileNotes())
        if file.seekable() and file.peek(len(_PARQUET_MAGIC)).startswith(_PARQUET_MAGIC):
            yield from _parquet_headers(path, table)
            return
        for first_line, block in _blocks(path, file, on_progress):
            yield from table.batches(block, first_line)
    table.require_headers()


class _WrongError(Exception):
    """Something is wrong in the lines that are looked at.

    Args:
        what: What is wrong; true of the first wrong line where there is only one line.
        column: The column it is in, where it is in one.
    """

    def __init__(self, what: str, column: _Column | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.column = column


class _Table:
    """Turns lines into headers, in blocks of some thousand for speed.

    A block is converted column by column. Only if anything is wrong with it, its lines go the
    same way again one by one, until the first wrong line shows itself.
    """

    def __init__(self, path: Path, notes: FileNotes) -> None:
        self._path = path
        self._notes = notes
        # The columns of whole headers, if all are there.
        self._fields: dict[_Column, int] = {}
        self._needed: list[int] = []
        self._width = 0
        self._names: list[str] = []
        self._indices: dict[_Column, int] = {}
        self._last_number = self._last_timestamp = -1

    def batches(self, block: bytes, first_line: int) -> Iterator[Batch]:
        """Yield the headers of a block of lines.

        Raises:
            HeaderError: One of the lines is wrong, those before it are not.
        """
        if first_line == 1:
            names, newline, block = block.partition(b"\n")
            try:
                self._read_names(names)
            except _WrongError as wrong:
                raise self._located(wrong, first_line) from None
            if not newline:
                return
            first_line += 1
        try:
            batch = self._convert(block)
        except _WrongError:
            for line, data in enumerate(block.split(b"\n"), first_line):
                try:
                    yield self._convert(data)
                except _WrongError as wrong:
                    raise self._located(wrong, line) from None
        else:
            yield batch

    def require_headers(self) -> None:
        """Raise an error if the file is over without a header in it."""
        if not self._indices:
            raise HeaderError(f"{self._path}: the file is empty; its first line names the columns")
        if self._last_number < 0:
            raise HeaderError(f"{self._path}: there are no headers below the column names")

    def _located(self, wrong: _WrongError, line: int) -> HeaderError:
        column = f", column {wrong.column.name}" if wrong.column else ""
        return HeaderError(f"{self._path}, line {line}{column}: {wrong.what}")

    def _read_names(self, line: bytes) -> None:
        (names,) = _rows(line)
        self.read_names(names)

    def read_names(self, names: Sequence[str]) -> None:
        """Find the columns by their names.

        Raises:
            _WrongError: One is missing, or there twice.
        """
        self._indices = _places(names, _COLUMN_OF)
        missing = [column.name for column in _REQUIRED if column not in self._indices]
        if missing:
            raise _WrongError(
                f"no column is named {' or '.join(missing)}; {_rename(missing, names)}the first "
                f"line names the columns, separated by commas, and here it is "
                f"{_shown(','.join(names))}"
            )
        self._width = len(names)
        self._names = [name.strip() for name in names]
        # RLP and keccak, which these need, take 20 MB and longer to load than a small file.
        if "sha3_uncles" in map(column_of, names):
            self._read_field_names(names)
        else:
            self._notes.lacking = "the file has no columns for all fields of a header"

    def _read_field_names(self, names: Sequence[str]) -> None:
        from prover_framework.chain.rlp_header import FIELDS

        columns = {field.name: _COLUMN_OF.get(field.name, _Column(field.name)) for field in FIELDS}
        fields = _places(names, columns)
        needed = [columns[f.name] for f in FIELDS if not f.later and f.name != "difficulty"]
        missing = [column.name for column in needed if column not in fields]
        if _BLOCK_HASH not in self._indices:
            missing.insert(0, _BLOCK_HASH.name)
        if missing:
            self._notes.lacking = f"the file has no column {', '.join(missing)}"
        else:
            self._fields = fields
            self._needed = [self._indices[_BLOCK_HASH], *(fields[column] for column in needed)]

    def _made_whole(self, header: Header, row: Sequence[str]) -> Header | EncodedHeader:
        if not all(row[place].strip() for place in self._needed):
            empty = next(place for place in self._needed if not row[place].strip())
            self._notes.lacking = self._notes.lacking or (
                f"block {header.number} has nothing in column {self._names[empty]}"
            )
            return header
        from prover_framework.chain.rlp_header import encode_header

        try:
            values = {column.name: row[place].strip() for column, place in self._fields.items()}
            return EncodedHeader(header, encode_header(values).rlp)
        except HeaderInvalid as error:
            raise _WrongError(error.what, _Column(error.field or "")) from None

    def _convert(self, block: bytes) -> Batch:
        if (columns := self._integer_columns(block)) is not None:
            return columns
        return self.convert_rows([row for row in _rows(block) if row])

    def _integer_columns(self, block: bytes) -> HeaderColumns | None:
        """Return the headers of lines of nothing but decimal integers; None for all others.

        They are most of what millions of lines hold, and take a third of the time so. Whatever is
        unusual with one of the lines, or wrong, is for the others to find.
        """
        width = self._width
        longest = width * (MAX_FAST_DIGITS + 1)
        if self._fields or longest > MAX_LINE_CHARACTERS or block.translate(None, _PLAIN_BYTES):
            return None
        # The line breaks become values of their own, each in its place if all lines are complete.
        cells = block.decode().replace("\n", ",\n,").split(",")
        cells.append("\n")
        lines, over = divmod(len(cells), width + 1)
        if over or cells[width :: width + 1] != ["\n"] * lines:
            return None
        columns = [cells[place :: width + 1] for place in range(width)]
        if max(len(max(texts, key=len)) for texts in columns) > MAX_FAST_DIGITS:
            return None
        if not all(isinstance(column, _IntegerColumn) for column in self._indices):
            return None
        try:
            found = {column: list(map(int, columns[at])) for column, at in self._indices.items()}
        except ValueError:
            return None
        numbers, timestamps = found[_NUMBER], found[_TIMESTAMP]
        before, began = [self._last_number, *numbers], [self._last_timestamp, *timestamps]
        if not (all(map(lt, before, numbers)) and all(map(le, began, timestamps))):
            return None
        if timestamps[0] > _LAST_LIKELY:
            return None
        self._last_number, self._last_timestamp = numbers[-1], timestamps[-1]
        optional = (found.get(column) for column in _OPTIONAL)
        return HeaderColumns(numbers, timestamps, found[_BASE_FEE], *cast(Any, optional))

    def convert_rows(self, rows: Sequence[Sequence[str]]) -> Batch:
        """Return the headers of some rows of texts.

        Raises:
            _WrongError: One of them is wrong.
        """
        if not rows:
            return []
        for width in set(map(len, rows)) - {self._width}:
            raise _WrongError(
                f"the line has {width} values, the first line names {self._width} columns"
            )
        texts = list(zip(*rows, strict=True))
        numbers = _integers(_NUMBER, texts[self._indices[_NUMBER]])
        timestamps = _times(texts[self._indices[_TIMESTAMP]])
        base_fees_wei = _integers(_BASE_FEE, texts[self._indices[_BASE_FEE]])
        _require_rising(_NUMBER, self._last_number, numbers, least=1)
        # Blocks of some chains are less than a second apart.
        _require_rising(_TIMESTAMP, self._last_timestamp, timestamps, least=0)
        optional = (
            _optional(column, texts[self._indices[column]]) if column in self._indices else None
            for column in _OPTIONAL
        )
        found = HeaderColumns(numbers, timestamps, base_fees_wei, *cast(Any, optional))
        whole = list(map(self._made_whole, found, rows)) if self._fields else None
        self._last_number, self._last_timestamp = numbers[-1], timestamps[-1]
        return found if whole is None else whole


def _places(names: Sequence[str], columns: Mapping[str, _Column]) -> dict[_Column, int]:
    """Return where the columns are that are among the names of the first line."""
    places: dict[_Column, int] = {}
    for place, name in enumerate(names):
        column = columns.get(column_of(name) or "")
        if column is None:
            continue
        if column in places and is_own_name(names[places[column]]) != is_own_name(name):
            # Some tell a thing under two names, as nodes do miner and author.
            if is_own_name(name):
                places[column] = place
            continue
        if column in places:
            raise _WrongError(
                f"the column is there twice, as {_shown(names[places[column]])} and as "
                f"{_shown(name)}",
                column,
            )
        places[column] = place
    return places


def _blocks(
    path: Path, file: BufferedReader, on_progress: Callable[[int], None] | None
) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines, some thousand at a time, each time with the number of the first of them.

    The line break after the last of them is left away.
    """
    if not file.seekable():
        on_progress = None
    first_line, tail = 1, b""
    for data in _reads(path, file):
        tail += data
        block, newline, rest = tail.rpartition(b"\n")
        if newline:
            tail = rest
            yield first_line, block.removeprefix(_UTF8_BOM) if first_line == 1 else block
            first_line += block.count(b"\n") + 1
        if len(tail) > MAX_LINE_CHARACTERS * _UTF8_BYTES_PER_CHARACTER:
            raise HeaderError(f"{path}, line {first_line}: {_TOO_LONG}")
        if on_progress is not None:
            on_progress(file.tell())
    if tail:
        yield first_line, tail.removeprefix(_UTF8_BOM) if first_line == 1 else tail
    if on_progress is not None:  # once more: the end of a gzip file holds no lines
        on_progress(file.tell())


def _reads(path: Path, file: BufferedReader) -> Iterator[bytes]:
    try:
        magic = file.peek(len(_ZSTD_MAGIC))
        stream: IO[bytes] = file
        if magic.startswith(_GZIP_MAGIC):
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
        elif magic.startswith(_ZSTD_MAGIC):
            stream = _zstd_stream(path, file)
        while data := stream.read(CHUNK_BYTES):
            yield data
    except (OSError, EOFError, zlib.error, RuntimeError) as error:
        raise HeaderError(f"{path}: cannot be read: {_reason(error)}") from error


def _zstd_stream(path: Path, file: BufferedReader) -> IO[bytes]:
    try:
        import zstandard
    except ImportError:
        raise HeaderError(
            f"{path}: is compressed with zstd: install prover-framework[zstd], or decompress it"
        ) from None
    stream: IO[bytes] = zstandard.open(file, "rb")
    return stream


def _parquet_headers(path: Path, table: "_Table") -> Iterator[Batch]:
    try:
        from prover_framework.chain.sources.parquet_file import read_rows
    except ImportError:
        raise HeaderError(
            f"{path}: is a Parquet file: install prover-framework[parquet], or export CSV"
        ) from None
    names, batches = read_rows(path)
    first_row = 1
    try:
        table.read_names(names)
        for rows in batches:
            try:
                batch = table.convert_rows(rows)
            except _WrongError:
                for row in rows:
                    yield table.convert_rows([row])
                    first_row += 1
            else:
                yield batch
                first_row += len(rows)
    except _WrongError as wrong:
        column = f", column {wrong.column.name}" if wrong.column else ""
        raise HeaderError(f"{path}, row {first_row}{column}: {wrong.what}") from None
    table.require_headers()


def _rows(block: bytes) -> list[list[str]]:
    """Return the values of each line."""
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        raise _WrongError(
            f"byte {error.start + 1} of the line, {block[error.start]:#04x}, is not UTF-8"
        ) from None
    lines = text.split("\n")
    if len(max(lines, key=len)) > MAX_LINE_CHARACTERS:
        raise _WrongError(_TOO_LONG)
    if "\0" in text:
        raise _WrongError(f"character {text.index(chr(0)) + 1} of the line is a NUL byte")
    if text.count("\r") != text.count("\r\n") + text.endswith("\r"):
        raise _WrongError("there is a carriage return before the end of the line")
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise _WrongError(f"the line is not CSV: {error}") from None
    if len(rows) != len(lines):
        raise _WrongError("a quoted value goes on in the next line")
    return rows


def _require_rising(column: _Column, last: int, values: list[int], *, least: int) -> None:
    for before, value in pairwise((last, *values)):
        if value - before < least:
            if value == before and column is _NUMBER:
                raise _WrongError(f"there are two rows for block {value}", column)
            raise _WrongError(
                f"{value} is not after the {column.name} before, {before}; each block comes once, "
                "in the order of the chain",
                column,
            )


def _integers(column: _IntegerColumn, texts: Sequence[str]) -> list[int]:
    digits = "".join(texts)
    if (
        digits.isdigit()
        and digits.isascii()
        and all(texts)
        and len(max(texts, key=len)) < len(str(column.maximum))
    ):
        return list(map(int, texts))
    return [_integer(column, text) for text in texts]


def _integer(column: _IntegerColumn, text: str) -> int:
    value = text.strip()
    if _DECIMAL.fullmatch(value):
        base, digits, max_digits = 10, value, len(str(column.maximum))
    elif _HEX.fullmatch(value):
        base, digits, max_digits = 16, value[2:], len(f"{column.maximum:x}")
    elif not value:
        advice = ": a block from before London has no base fee" if column is _BASE_FEE else ""
        raise _WrongError(f"there is no value{advice}", column)
    elif _NEGATIVE.fullmatch(value):
        raise _WrongError(f"{_shown(text)} is negative", column)
    elif _FRACTION.fullmatch(value):
        raise _WrongError(
            f"{_shown(text)} is not written as a whole number; base fees are whole wei, and every "
            f"integer is {_INTEGER_FORM}",
            column,
        )
    else:
        raise _WrongError(f"{_shown(text)} is not an integer, which is {_INTEGER_FORM}", column)
    # A number with more digits is too big whatever they are; Python would take a time that grows
    # with their square to convert them.
    digits = digits.lstrip("0") or "0"
    if len(digits) > max_digits or (number := int(digits, base)) > column.maximum:
        raise _WrongError(
            f"{_shown(text)} is too big; the largest here is {column.maximum}", column
        )
    return number


def _times(texts: Sequence[str]) -> list[int]:
    """Return Unix seconds, of numbers or of dates."""
    if any(_DATE.match(text.strip()) for text in texts[:1]):
        return [_date(text.strip()) for text in texts]
    times = _integers(_TIMESTAMP, texts)
    for unit, factor in _FINER_UNITS.items():
        if _FIRST_LIKELY * factor <= times[0] <= _LAST_LIKELY * factor:
            raise _WrongError(
                f"{times[0]} looks like {unit}; timestamps are in seconds: divide by {factor}",
                _TIMESTAMP,
            )
    return times


def _date(text: str) -> int:
    found = _DATE.match(text)
    if found is None:
        return _integer(_TIMESTAMP, text)
    clock, fraction, zone = found.group(1, 2, 3)
    if not zone:
        raise _WrongError(
            f"{_shown(text)} does not say its time zone; write it as {clock.replace(' ', 'T')}Z",
            _TIMESTAMP,
        )
    if fraction.strip(".0"):
        raise _WrongError(f"{_shown(text)} is no whole second", _TIMESTAMP)
    try:
        offset = "+00:00" if zone.upper() in ("Z", "UTC") else zone
        return int(datetime.fromisoformat(f"{clock}{offset}").timestamp())
    except ValueError:
        raise _WrongError(f"{_shown(text)} is no date", _TIMESTAMP) from None


def _rename(missing: Sequence[str], names: Sequence[str]) -> str:
    """Say what may mend missing columns."""
    if len(names) == 1 and (found := next((c for c in ";\t|" if c in names[0]), None)):
        return f"the file is separated by {found!a}; "
    for column in missing:
        if meant := like(column, list(names)):
            return f"rename {_shown(meant)} to {column}; "
    return ""


def _optional(column: _Column, texts: Sequence[str]) -> Sequence[int | str | None]:
    if not isinstance(column, _IntegerColumn):
        return [_hash(column, text) if text.strip() else None for text in texts]
    if all(map(str.strip, texts)):
        return _integers(column, texts)
    return [_integer(column, text) if text.strip() else None for text in texts]


def _hash(column: _Column, text: str) -> str:
    value = text.strip()
    if not _HASH.fullmatch(value):
        raise _WrongError(
            f"{_shown(text)} is not a hash, which is 0x and 64 hexadecimal digits", column
        )
    return value.lower()


def _shown(value: str) -> str:
    """Return the value in quotes, escaped so that a terminal shows it and does not obey it."""
    if len(value) <= SHOWN_CHARACTERS:
        return ascii(value)
    return f"{value[:SHOWN_CHARACTERS]!a}... ({len(value)} characters)"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
