"""The page on chain data: each row names a test that there is, each chain has its rule."""

import ast
import json
import re
from pathlib import Path

import pytest
from page_session import ROOT

from prover_framework.chain.rule_book import BUILT_IN, read_rule_book
from prover_framework.chain.sources import column_names

PAGE = (ROOT / "docs" / "reference" / "chain-data.md").read_text()
RULES = {"Eip1559": "EIP-1559", "OpStack": "extraData", "FixedFee": "always 0"}


def rows(title: str, header: str) -> list[list[str]]:
    """Return the cells of a table's rows in a section."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    table = text.partition(header)[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


SOURCES = rows("Sources", "| source |")
CHAINS = rows("Chains", "| chain |")


@pytest.mark.parametrize("row", [*SOURCES, *CHAINS], ids=lambda row: row[0])
def test_each_row_names_tests_that_there_are(row: list[str]) -> None:
    named = re.findall(r"`(tests/[^`]+)::(test_\w+)`", row[-1])
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_chain_that_is_built_in_has_a_row_with_its_rule() -> None:
    listed = {int(id_): row for row in CHAINS for id_ in re.findall(r"\d+", row[1])}
    assert listed.keys() == BUILT_IN.keys()
    for chain_id, rules in BUILT_IN.items():
        kind = (rules.fee_rule or "").rpartition(": ")[2]
        assert RULES.get(kind, "not checked") in listed[chain_id][2]
        assert rules.equal_timestamps == ("equal timestamps" in listed[chain_id][2])


def test_every_name_of_a_column_is_on_the_page_and_no_other() -> None:
    listed = {
        row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1]))
        for row in rows("Sources", "| column |")
    }
    assert listed == {column: names for column, names in column_names.OTHER_NAMES.items() if names}
    for column in column_names.OTHER_NAMES:
        assert f"`{column}`" in PAGE


def test_the_file_of_rules_on_the_page_is_one(tmp_path: Path) -> None:
    text = PAGE.partition("```json\n")[2].partition("```")[0]
    json.loads(text)
    path = tmp_path / "chains.json"
    path.write_text(text)
    rules = read_rule_book(path).rules_of(4242)
    assert rules.fee_rule == "our rollup: Eip1559"
    assert rules.fee_rule_after(2_000_000) is None
