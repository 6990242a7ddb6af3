"""Rules of the house that no tool holds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(
    file for folder in (TESTS, TESTS.parent / "plugins") for file in folder.rglob("test_*.py")
)


def patched_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are patched: of an attribute, or the last of a dotted path."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "setattr":
            continue
        texts = [part.value for part in node.args[:2] if isinstance(part, ast.Constant)]
        yield from (text.rpartition(".")[2] for text in texts if isinstance(text, str))


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(TESTS.parent)) for file in FILES])
def test_time_limits_are_arguments_and_no_test_patches_one(file: Path) -> None:
    names = patched_names(ast.parse(file.read_text()))
    assert [name for name in names if name.endswith("_SECONDS")] == []


def test_what_is_patched_is_found_in_both_forms() -> None:
    text = 'patch.setattr(module, "A_SECONDS", 1)\nmonkeypatch.setattr("x.y.B_SECONDS", 1)'
    assert list(patched_names(ast.parse(text))) == ["A_SECONDS", "B_SECONDS"]
