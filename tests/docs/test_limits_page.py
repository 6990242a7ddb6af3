"""The table of limits has the numbers of the code, and all that a receipt and a request have."""

import re
from importlib import import_module
from typing import Any

import attrs
import pytest
from page_session import ROOT

from prover_framework.model.attachments import MAX_ATTACHMENT_BYTES
from prover_framework.model.limits import Limits
from prover_framework.sandbox.limits import MAX_FILE_BYTES
from prover_framework.settings import described_settings

PAGE = (ROOT / "docs" / "reference" / "limits.md").read_text()

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| of ")
]

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def shown(text: str) -> int:
    """Read a number as the page writes it."""
    if text == "2^53 - 1":
        return 2**53 - 1
    number, _, unit = text.partition(" ")
    return int(number.replace(",", "")) * UNITS.get(unit, 1)


def real(where: str) -> int:
    """Return the number that a constant, a default or a setting has."""
    (name,) = re.findall(r"`([^`]+)`", where)
    if name.startswith("PROVER_"):
        (setting,) = (f for f in described_settings() if f.metadata["variable"] == name)
        value: Any = setting.default
        return int(value) * 2**20
    value = _constant(name)
    return int(value) // 2 if where.startswith("half of ") else int(value)


def _constant(name: str) -> Any:
    module, _, constant = name.rpartition(".")
    if module.rpartition(".")[2][0].isupper():
        module, _, cls = module.rpartition(".")
        found = getattr(import_module(f"prover_framework.{module}"), cls)
        return attrs.fields_dict(found)[constant].default
    return getattr(import_module(f"prover_framework.{module}"), constant)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_limit_on_the_page_is_that_of_the_code(row: list[str]) -> None:
    assert shown(row[1]) == real(row[2])


# Whoever adds a bound to one of these modules adds a row.
MODULES = ("receipts.documents", "model.attachments", "model.charts", "sandbox.protocol", "web.app")


@pytest.mark.parametrize("module", MODULES)
def test_every_bound_on_size_has_a_row(module: str) -> None:
    bounds = [
        name
        for name, value in vars(import_module(f"prover_framework.{module}")).items()
        if name.startswith("MAX_") and isinstance(value, int) and name != "MAX_EXACT_INTEGER"
    ]
    assert bounds
    for name in bounds:
        assert f"`{module}.{name}`" in PAGE, name


def test_every_limit_that_a_proof_type_declares_of_attachments_has_a_row() -> None:
    names = [f.name for f in attrs.fields(Limits) if f.name.startswith("attachment")]
    assert all(f"`model.limits.Limits.{name}`" in PAGE for name in names)


def test_no_attachment_can_be_declared_that_a_process_could_not_write() -> None:
    assert MAX_ATTACHMENT_BYTES <= MAX_FILE_BYTES
    with pytest.raises(ValueError, match="attachment_bytes"):
        Limits(attachment_bytes=MAX_ATTACHMENT_BYTES + 1)
