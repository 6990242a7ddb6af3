"""Reads a Parquet file as rows of texts, such as a CSV file has; with the extra ``parquet``."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from prover_framework.errors import HeaderError

# Rows that are in memory at a time.
BATCH_ROWS = 4096


def read_rows(path: Path) -> tuple[Sequence[str], Iterator[list[list[str]]]]:
    """Return the names of the columns, and the rows in batches.

    Bytes become ``0x`` and hex digits, times dates in UTC, what is not there an empty text.

    Raises:
        HeaderError: The file cannot be read; also while it is.
    """
    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    return file.schema_arrow.names, _batches(path, file)


def _batches(path: Path, file: parquet.ParquetFile) -> Iterator[list[list[str]]]:
    try:
        for batch in file.iter_batches(BATCH_ROWS):
            columns = [map(_text, column.to_pylist()) for column in batch.columns]
            yield [list(row) for row in zip(*columns, strict=True)]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    finally:
        file.close()


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bytes():
            return f"0x{value.hex()}"
        case datetime():
            # Parquet's times without a zone are those of exports in UTC.
            aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return aware.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


def _unreadable(path: Path, error: Exception) -> HeaderError:
    return HeaderError(f"{path}: is no Parquet file that can be read: {str(error).splitlines()[0]}")
