"""A file with a column for every field of a header gives whole headers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from real_headers import CANCUN, FORKS, LONDON, PRAGUE, PRAGUE_NEXT, SHANGHAI, stored

from prover_framework.chain.rule_book import BUILT_IN
from prover_framework.chain.sources.csv_file import read_headers
from prover_framework.chain.verification import verify_chain
from prover_framework.errors import HeaderError

NAMES = list(PRAGUE)


def save(folder: Path, rows: Sequence[Mapping[str, str]], names: Sequence[str] = NAMES) -> Path:
    path = folder / "headers.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_two_real_headers_are_whole_and_a_chain(tmp_path: Path) -> None:
    headers = list(read_headers(save(tmp_path, [PRAGUE, PRAGUE_NEXT])))
    assert headers == [stored(PRAGUE), stored(PRAGUE_NEXT)]
    assert verify_chain([stored(PRAGUE), stored(PRAGUE_NEXT)], BUILT_IN[11155111]) is not None


@pytest.mark.parametrize("row", FORKS.values(), ids=FORKS)
def test_fields_of_later_forks_may_be_empty_or_have_no_column(
    tmp_path: Path, row: dict[str, str]
) -> None:
    for names in ([*NAMES, "difficulty"], list(row)):
        assert list(read_headers(save(tmp_path, [row], names))) == [stored(row)]


def test_blocks_of_several_forks_may_follow_each_other(tmp_path: Path) -> None:
    rows = [LONDON, SHANGHAI]
    found = list(read_headers(save(tmp_path, rows, [*NAMES, "difficulty"])))
    assert found == [stored(row) for row in rows]


@pytest.mark.parametrize("lacking", ["miner", "block_hash", "extra_data", "nonce"])
def test_without_a_field_a_header_is_light(tmp_path: Path, lacking: str) -> None:
    light = stored(PRAGUE).header
    if lacking == "block_hash":
        light = evolve(light, block_hash=None)
    names = [name for name in NAMES if name != lacking]
    # No such column, or nothing in it.
    assert list(read_headers(save(tmp_path, [PRAGUE], names))) == [light]
    assert list(read_headers(save(tmp_path, [{**PRAGUE, lacking: " "}]))) == [light]


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("miner", "0x12", "must have 20 bytes, and has 1"),
        ("logs_bloom", "nothing", "must be 0x and hexadecimal digits"),
        ("blob_gas_used", "", "is missing; a block with requests_hash has it"),
        ("excess_blob_gas", "-3", "must be an integer"),
    ],
)
def test_a_value_that_is_wrong_is_named_by_line_and_column(
    tmp_path: Path, name: str, value: str, complaint: str
) -> None:
    path = save(tmp_path, [PRAGUE, {**PRAGUE_NEXT, name: value}])
    with pytest.raises(HeaderError, match=f"line 3, column {name}: {complaint}"):
        list(read_headers(path))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, [PRAGUE], [*NAMES, "difficulty"])
    path.write_text(path.read_text().replace("difficulty", "Miner"))
    with pytest.raises(HeaderError, match="column miner: the column is there twice"):
        list(read_headers(path))


def test_a_recorded_header_of_cancun_is_whole(tmp_path: Path) -> None:
    assert list(read_headers(save(tmp_path, [CANCUN]))) == [stored(CANCUN)]
