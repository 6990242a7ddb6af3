"""The reference of logs lists every field, and no other."""

import re

import attrs
from page_session import ROOT

from prover_framework.log_context import LogContext
from prover_framework.logs import MEMBER_NAMES, MEMBERS

PAGE = (ROOT / "docs" / "reference" / "logs.md").read_text()
PACKAGE = ROOT / "prover_framework"


def test_every_field_is_in_the_reference_and_no_other() -> None:
    members = re.findall(r"%\((\w+)\)", MEMBERS)
    fixed = {MEMBER_NAMES.get(name, name) for name in members} | {"time", "stack"}
    about = {field.name for field in attrs.fields(LogContext)}
    extra = set()
    for file in PACKAGE.rglob("*.py"):
        for given in re.findall(r"\bextra=\{(.*?)\}", file.read_text(), re.DOTALL):
            extra |= set(re.findall(r'"(\w+)":', given))
    table = PAGE.partition("## Fields")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == fixed | about | extra
