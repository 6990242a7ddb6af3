"""prover headers import and remove: files as exports have them, and what is said of each."""

import csv
import gzip
import io
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pyarrow import Table, parquet
from real_headers import LONDON, PRAGUE, PRAGUE_NEXT

from prover_framework.chain.rlp_header import FIELDS

Command = Callable[..., subprocess.CompletedProcess[str]]
Rows = Sequence[Mapping[str, object]]

SEPOLIA = 11155111
REAL = [PRAGUE, PRAGUE_NEXT]

# How exports name what the golden file names otherwise.
BIGQUERY = {"transaction_root": "transactions_root", "block_hash": "hash"}
CRYO = {"number": "block_number", "miner": "author", "transaction_root": "transactions_root"}
DUNE = {"timestamp": "time", "block_hash": "hash", "transaction_root": "transactions_root"}
VIEM = {
    "block_hash": "hash",
    "transaction_root": "transactionsRoot",
    **{field.name: field.key for field in FIELDS if field.name != "transaction_root"},
}
ETHERS = {**VIEM, "mix_hash": "prevRandao"}


def text_of(rows: Rows, names: Mapping[str, str] | None = None, separator: str = ",") -> str:
    columns = list(rows[0])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow([(names or {}).get(column, column) for column in columns])
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    return text.getvalue()


def save(folder: Path, content: str | bytes, name: str = "blocks.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Names of columns.


@pytest.mark.parametrize("names", [BIGQUERY, CRYO, DUNE, VIEM, ETHERS])
def test_rows_under_the_names_of_an_export_are_verified(
    prover: Command, tmp_path: Path, names: dict[str, str]
) -> None:
    outcome = prover("headers", "import", save(tmp_path, text_of(REAL, names)),
                      "--chain-id", SEPOLIA)  # fmt: skip
    assert outcome.stdout.startswith("2 headers read, 2 of them new, 1 verified\n")
    altered = [PRAGUE, {**PRAGUE_NEXT, "base_fee_per_gas": "0x9ed347"}]
    refused = prover("headers", "import", save(tmp_path, text_of(altered, names)),
                      "--chain-id", SEPOLIA)  # fmt: skip
    assert refused.returncode == 1


def test_the_golden_export_of_ethereum_etl_names_what_it_lacks(
    prover: Command, tmp_path: Path
) -> None:
    golden = os.environ.get("PROVER_GOLDEN_DIR")
    if golden is None:
        pytest.skip("PROVER_GOLDEN_DIR names no folder with real headers")
    path = Path(golden, "ethereum_etl_blocks.csv")
    outcome = prover("headers", "import", path)
    assert outcome.returncode == 0
    assert (
        "are not verified: not all of their fields are there (the file has no column mix_hash)"
        in (outcome.stdout)
    )
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("base_fee_per_gas")
    cells = lines[2].split(",")
    cells[column] = str(int(cells[column]) + 1)
    wrong = save(tmp_path, "\n".join([*lines[:2], ",".join(cells)]))
    refused = prover("headers", "import", wrong)
    assert refused.returncode == 1


def test_a_cell_that_is_empty_is_named(prover: Command, tmp_path: Path) -> None:
    rows = [PRAGUE, {**PRAGUE_NEXT, "state_root": ""}]
    outcome = prover("headers", "import", save(tmp_path, text_of(rows)), "--chain-id", SEPOLIA)
    assert "1 headers are not verified: not all of their fields are there" in outcome.stdout
    assert f"(block {PRAGUE_NEXT['number']} has nothing in column state_root)" in outcome.stdout


# What is known is checked.


LIGHT = ("number", "timestamp", "base_fee_per_gas", "gas_used", "gas_limit")
FIRST = {"number": 20_000_000, "timestamp": 1_717_281_407, "base_fee_per_gas": 5 * 10**9,
         "gas_used": 15_000_000, "gas_limit": 30_000_000}  # fmt: skip
SECOND = {**FIRST, "number": 20_000_001, "timestamp": 1_717_281_419}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([FIRST, {**SECOND, "base_fee_per_gas": 5 * 10**9 + 1}], "it must be 5000000000"),
        ([{**FIRST, "gas_used": 30_000_001}], "more than the limit of 30000000"),
        (
            [{**FIRST, "number": 12_964_999, "timestamp": 1_628_166_812}],
            "on mainnet the first block with one is 12965000",
        ),
        (
            [{**FIRST, "number": 12_965_000, "timestamp": 1_628_166_822}],
            "that of the first London block must be 1000000000",
        ),
        ([{**FIRST, "timestamp": 1_717_281_407_000}], "looks like milliseconds; timestamps are in"),
        ([{"number": 20_000_000, "timestamp": 1_717_281_407, "base_fee_per_gas": 25}],
         "if they are in gwei, multiply them by 1000000000"),
        ([FIRST, {**SECOND, "number": 20_000_000}], "there are two rows for block 20000000"),
        ([{**FIRST, "base_fee_per_gas": ""}], "a block from before London has no base fee"),
        ([{**FIRST, "timestamp": "2024-06-01 22:36:47"}], "does not say its time zone"),
        ([{**FIRST, "timestamp": "2024-13-01 22:36:47 UTC"}], "is no date"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_remedy(
    prover: Command, tmp_path: Path, rows: Rows, complaint: str
) -> None:
    outcome = prover("headers", "import", save(tmp_path, text_of(rows)))
    assert outcome.returncode == 1
    assert complaint in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert prover("headers", "status").stdout.startswith("no headers")


def test_the_first_block_of_london_is_taken_by_its_fee(prover: Command, tmp_path: Path) -> None:
    rows = [{column: LONDON[column] for column in LIGHT}]
    assert prover("headers", "import", save(tmp_path, text_of(rows))).returncode == 0


@pytest.mark.parametrize(
    "date",
    ["2024-06-01 22:36:47 UTC", "2024-06-01 22:36:47.000 UTC", "2024-06-01T22:36:47Z",
     "2024-06-01T22:36:47+00:00", "2024-06-02 00:36:47+02:00"],
)  # fmt: skip
def test_dates_that_name_their_zone_are_read(prover: Command, tmp_path: Path, date: str) -> None:
    path = save(tmp_path, text_of([{**FIRST, "timestamp": date}]))
    assert prover("headers", "import", path).returncode == 0
    assert "1717281407..1717281407" in prover("headers", "status").stdout


# Remedies.


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (text_of([FIRST], {"number": "numbers"}), "rename 'numbers' to number"),
        (text_of([FIRST], separator=";"), "the file is separated by ';'"),
        (text_of([FIRST], separator="\t"), r"the file is separated by '\t'"),
    ],
)
def test_a_file_in_another_form_is_told_what_to_change(
    prover: Command, tmp_path: Path, text: str, complaint: str
) -> None:
    assert complaint in prover("headers", "import", save(tmp_path, text)).stderr


@pytest.mark.parametrize("columns", [LIGHT, tuple(PRAGUE)])
def test_headers_of_another_chain_are_told_its_id(
    prover: Command, tmp_path: Path, columns: Sequence[str]
) -> None:
    rows = [{column: row[column] for column in columns} for row in REAL]
    outcome = prover("headers", "import", save(tmp_path, text_of(rows)))
    assert "use --chain-id 11155111: these are Sepolia's headers" in outcome.stderr


def test_of_a_chain_without_a_rule_it_is_said_that_fees_are_not_checked(
    prover: Command, tmp_path: Path
) -> None:
    outcome = prover("headers", "import", save(tmp_path, text_of(REAL)), "--chain-id", 42161)
    assert "1 verified" in outcome.stdout
    assert "base fees are not checked: no rule is known for Arbitrum One" in outcome.stdout


def test_a_file_of_rules_is_used(
    prover: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = {"chain_id": 137, "name": "Polygon", "fees": [{"rule": "eip1559", "denominator": 64}]}
    rules = save(tmp_path, json.dumps({"chains": [chain]}), "chains.json")
    used = {**FIRST, "gas_used": 30_000_000}
    by_mainnet = {**SECOND, "base_fee_per_gas": 5_625_000_000}
    by_polygon = {**SECOND, "base_fee_per_gas": 5_078_125_000}
    path = save(tmp_path, text_of([used, by_mainnet]))
    monkeypatch.setenv("PROVER_CHAIN_RULES", str(rules))
    refused = prover("headers", "import", path, "--chain-id", 137)
    assert "it must be 5078125000" in refused.stderr
    path = save(tmp_path, text_of([used, by_polygon]))
    assert "not checked" not in prover("headers", "import", path, "--chain-id", 137).stdout


# Other forms of files.


@pytest.mark.parametrize(
    ("name", "compress"),
    [("blocks.csv.gz", gzip.compress), ("blocks.csv.zst", zstandard.compress)],
)
def test_a_compressed_file_is_read(
    prover: Command, tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = save(tmp_path, compress(text_of(REAL).encode()), name)
    outcome = prover("headers", "import", path, "--chain-id", SEPOLIA)
    assert outcome.stdout.startswith("2 headers read, 2 of them new, 1 verified\n")
    path.write_bytes(path.read_bytes()[:-20])
    broken = prover("headers", "import", path, "--chain-id", SEPOLIA)
    assert broken.returncode == 1


def parquet_file(folder: Path, rows: Rows) -> Path:
    columns: dict[str, list[Any]] = {}
    for column in rows[0]:
        values = [row[column] for row in rows]
        name = CRYO.get(column, column)
        if name in ("block_number", "timestamp", "gas_used", "gas_limit"):
            columns[name] = [int(str(value)) for value in values]
        elif str(values[0]).startswith("0x") and len(str(values[0])) % 2 == 0:
            columns[name] = [bytes.fromhex(str(value)[2:]) for value in values]
        else:
            columns[name] = [int(str(value), 0) for value in values]
    path = folder / "blocks.parquet"
    parquet.write_table(Table.from_pydict(columns), path)
    return path


def whole_integers(row: Mapping[str, str]) -> dict[str, str]:
    """Return the row with decimal integers, so that only bytes are hexadecimal."""
    integers = {field.name for field in FIELDS if field.maximum}
    return {name: str(int(value, 0)) if name in integers else value for name, value in row.items()}


def test_parquet_as_cryo_writes_it_is_verified(prover: Command, tmp_path: Path) -> None:
    path = parquet_file(tmp_path, list(map(whole_integers, REAL)))
    outcome = prover("headers", "import", path, "--chain-id", SEPOLIA)
    assert outcome.stdout.startswith("2 headers read, 2 of them new, 1 verified\n")
    wrong = whole_integers({**PRAGUE_NEXT, "number": PRAGUE["number"]})
    refused = prover("headers", "import", parquet_file(tmp_path, [whole_integers(PRAGUE), wrong]),
                      "--chain-id", SEPOLIA)  # fmt: skip
    assert f"row 2, column number: there are two rows for block {PRAGUE['number']}" in (
        refused.stderr
    )
    path.write_bytes(b"PAR1 and nothing else")
    broken = prover("headers", "import", path, "--chain-id", SEPOLIA)
    assert "is no Parquet file that can be read" in broken.stderr


# Taking out.


def test_wrong_data_is_taken_out_and_the_true_file_goes_in(prover: Command, tmp_path: Path) -> None:
    wrong = {"number": PRAGUE["number"], "timestamp": PRAGUE["timestamp"], "base_fee_per_gas": 7}
    prover("headers", "import", save(tmp_path, text_of([wrong])), "--chain-id", SEPOLIA)
    true = save(tmp_path, text_of(REAL), "true.csv")
    refused = prover("headers", "import", true, "--chain-id", SEPOLIA)
    number = PRAGUE["number"]
    remedy = ["headers", "remove", "--from-block", number, "--to-block", number]
    assert "base_fee_per_gas 10533397 (stored: 7)" in refused.stderr
    assert f'"prover {" ".join(remedy)}"' in refused.stderr
    dry = prover(*remedy, "--dry-run")
    assert dry.stdout == f"1 headers from block {number} to block {number} would be taken out\n"
    assert prover("headers", "status").returncode == 0
    assert prover(*remedy, "--yes").stdout == "1 headers taken out\n"
    assert prover(*remedy, "--yes").stdout.startswith("there are no headers from block")
    # Another chain may come now.
    assert prover("headers", "import", true, "--chain-id", SEPOLIA).returncode == 0


def test_without_a_confirmation_nothing_is_taken_out(
    prover: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover("headers", "import", save(tmp_path, text_of(REAL)), "--chain-id", SEPOLIA)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    outcome = prover("headers", "remove", "--from-block", 0, "--to-block", 9_000_000)
    assert outcome.returncode == 1
    assert re.search(r"headers +│ 2 ", prover("headers", "status").stdout)


def test_ends_in_the_wrong_order_are_refused(prover: Command) -> None:
    outcome = prover("headers", "remove", "--from-block", 2, "--to-block", 1)
    assert "--to-block lies before --from-block" in outcome.stderr
