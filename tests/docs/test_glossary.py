"""The glossary gives each word one meaning, and the code's public names keep to it."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from page_session import ROOT

PACKAGE = ROOT / "prover_framework"
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()

# Words that the glossary has replaced: what is said now. Several words are one term.
REPLACED: Mapping[tuple[str, ...], str] = {
    ("asking",): "hook call",
    ("asked",): "request",
    ("desk",): "service",
    ("keeper",): "supervisor",
    ("probe",): "import check",
    ("frame",): "protocol",
    ("frames",): "protocol",
    ("worn",): "tainted",
    ("hide",): "change visibility",
    ("adopt",): "enqueue",
    ("give", "back"): "release",
    ("in", "hand"): "in flight",
    ("pace",): "mean duration, or rate",
    ("ahead",): "prefetch",
    ("coalescer",): "batcher",
    ("tidy",): "analyze",
    ("change", "mark"): "data version",
    ("told",): "notify, or describe",
    ("tell",): "notify, or describe",
    ("wish",): "lease request",
    ("wished",): "lease request",
    ("parcel",): "batch",
    ("question",): "computation",
    ("composed", "receipt"): "group receipt",
}

# Names with a replaced word that stay: a field of a document that others read, and what the system
# calls the children of a process that has ended.
FIXED = {
    "verification/checks.py:Check.asked",
    "sandbox/supervisor.py:adopt_orphans",
}


def names_in(file: Path) -> Iterator[str]:
    """Return the public names that a module defines, each with its module and its class."""
    place = str(file.relative_to(PACKAGE))
    yield f"{place}:{file.stem}"
    yield from (f"{place}:{name}" for name in _names(ast.parse(file.read_text()).body))


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef() if not node.name.startswith("_"):
                yield node.name
                yield from (f"{node.name}.{name}" for name in _names(node.body))
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _is_public(node.name):
                yield node.name
                arguments = node.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                yield from (f"{node.name}({arg.arg})" for arg in every if _is_public(arg.arg))
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                yield name
            case ast.Assign():
                for target in node.targets:
                    if isinstance(target, ast.Name) and not target.id.startswith("_"):
                        yield target.id


def _is_public(name: str) -> bool:
    # What a class is made with is public, too.
    return not name.startswith("_") or name == "__init__"


NAMES = [
    name
    for file in sorted(PACKAGE.rglob("*.py"))
    if "migrations" not in file.parts
    for name in names_in(file)
]


def words_of(name: str) -> list[str]:
    """Split the last part of a qualified name into words."""
    last = re.split(r"[:.(]", name)[-1].rstrip(")")
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", last)]


def has(name: str, term: tuple[str, ...]) -> bool:
    words = words_of(name)
    return any(tuple(words[i : i + len(term)]) == term for i in range(len(words) - len(term) + 1))


@pytest.mark.parametrize("term", REPLACED, ids=" ".join)
def test_public_names_have_the_words_of_the_glossary(term: tuple[str, ...]) -> None:
    found = [name for name in NAMES if has(name, term) and name not in FIXED]
    assert not found, f"say: {REPLACED[term]}"


def test_names_are_split_into_words() -> None:
    assert words_of("sandbox/process.py:StrEnumOfRLP.max_AHEAD_2") == ["max", "ahead", "2"]
    assert words_of("jobs/store.py:JobStore.give_back") == ["give", "back"]
    assert words_of("chain/rlp_header.py:RLPHeader") == ["rlp", "header"]
    assert has("jobs/store.py:JobStore.give_back", ("give", "back"))
    assert not has("jobs/store.py:JobStore.give", ("give", "back"))
    assert words_of("app.py:open_node(tag)") == ["tag"]


def test_fixed_names_exist() -> None:
    assert set(NAMES) >= FIXED


def rows() -> list[tuple[str, str]]:
    found = re.findall(r"^\| (.+?) \| (.+) \|$", GLOSSARY, flags=re.MULTILINE)
    return [(word, meaning) for word, meaning in found if word != "word"]


def test_each_word_has_one_meaning() -> None:
    words = [word for word, _ in rows()]
    assert len(words) > 50
    assert len(set(words)) == len(words)


def test_what_the_glossary_names_in_code_exists() -> None:
    known = {re.split(r"[:.(]", name)[-1].rstrip(")") for name in NAMES}
    # Fields of documents that are not ours.
    foreign = {"backticks", "baseFeePerGas"}
    for word, meaning in rows():
        for name in re.findall(r"`([^`]+)`", meaning):
            assert name in known | foreign, f"{word}: {name}"


def test_no_old_word_is_a_word_of_the_glossary() -> None:
    words = [word for word, _ in rows()]
    assert not [old for old in map(" ".join, REPLACED) if old in words]
