"""The core knows no proof type and no market: whatever it shows comes from what is installed."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from prover_framework.plugins import loading as plugins


def names_of_what_is_installed() -> set[str]:
    loaded = plugins.load(plugins.installed(), strict=True)
    names = {proof_type.title for proof_type in loaded.proof_types.values()} | set(loaded.hooks)
    for plugin in loaded.found:
        names |= {plugin.candidate.name, plugin.candidate.module, plugin.candidate.distribution}
    return names


def spellings(name: str) -> re.Pattern[str]:
    """Match a name however it is written: max_return, Max Return, MaxReturn, max-return."""
    words = re.findall(r"[A-Za-z][a-z]*|[A-Z]+|\d+", name)
    return re.compile(r"[\s_-]?".join(words), re.IGNORECASE)


def files_of_the_core(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from files_of_the_core(entry)
        elif not entry.name.endswith((".pyc", ".so")):
            yield entry


def test_every_file_of_the_core_is_a_text_that_can_be_searched() -> None:
    for file in files_of_the_core(files("prover_framework")):
        file.read_text()


@pytest.mark.parametrize("name", sorted(names_of_what_is_installed()))
def test_the_core_does_not_name(name: str) -> None:
    found = [
        f"{file}: {match[0]!r}"
        for file in files_of_the_core(files("prover_framework"))
        for match in spellings(name).finditer(file.read_text())
    ]
    assert found == []


# Where a kind of data may be named outside of its room, and why.
PLACES = {
    "public.py": "the package's face offers the functions by which plugins ask for the kinds",
    "chain/": "the table of the hourly sums is called so in its statements",
    "database/": "the table of the hourly sums is called so in the database",
    "testing/data.py": "tests of proof types get data of these kinds from a simulated chain",
}

OWN_KINDS = sorted(plugins.load([]).kinds)
OWN_ROOM = "inputs/"


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the names that a piece of code has or uses, and the text of a literal."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.keyword(arg=str(name)) | ast.alias(name=name):
            yield name
        case ast.ImportFrom(module=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name


def spelled(kind: str) -> tuple[str, str]:
    """Return how code writes a kind of data: as a name, and as that of a class."""
    return kind, kind.title().replace("_", "")


def names_it(node: ast.AST, kind: str) -> bool:
    """Tell whether a piece of code names a kind of data, as a kind or as a class."""
    if "_" in kind:
        return any(name in text for text in texts(node) for name in spelled(kind))
    # A word that anybody may use: it is the kind where it is all of a literal, or its module.
    if isinstance(node, ast.Constant):
        return node.value == kind
    return isinstance(node, ast.ImportFrom) and f"{node.module}".endswith(f".inputs.{kind}")


@cache
def namings() -> Mapping[str, Sequence[str]]:
    """Return the places of the core, outside of the room, that name each kind of data."""
    root, found = Path(str(files("prover_framework"))), defaultdict(list)
    for file in sorted(root.rglob("*.py")):
        place = str(file.relative_to(root))
        text = file.read_text()
        mentioned = any(name in text for kind in OWN_KINDS for name in spelled(kind))
        if mentioned and not place.startswith(OWN_ROOM):
            for node in ast.walk(ast.parse(text)):
                for kind in OWN_KINDS:
                    if names_it(node, kind):
                        found[kind].append(f"{place}:{getattr(node, 'lineno', '')}")
    return found


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_the_core_names_no_kind_of_data_outside_of_its_room(kind: str) -> None:
    """Whatever it does with data it does with any that is registered."""
    assert [place for place in namings()[kind] if not place.startswith(tuple(PLACES))] == []


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_may_name_a_kind_does_so(place: str) -> None:
    assert any(found.startswith(place) for kind in OWN_KINDS for found in namings()[kind])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("hourly_base_fee", "need.kind == 'hourly_base_fee'"),
        ("hourly_base_fee", "SQL = 'SELECT * FROM hourly_base_fee'"),
        ("hourly_base_fee", "x = HourlyBaseFee.name"),
        ("hourly_base_fee", "def read(hourly_base_fees): ..."),
        ("block_headers", "from prover_framework.inputs.block_headers import NAME"),
        ("block_headers", "load(block_headers=1)"),
        ("results", "kinds['results']"),
        ("results", "from prover_framework.inputs.results import NAME"),
    ],
)
def test_every_way_to_name_a_kind_is_found(kind: str, code: str) -> None:
    assert any(names_it(node, kind) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_return", "the Max Return of"),
        ("max_return", "MaxReturnParameters"),
        ("Max Return", "max-return"),
        ("TWAP", "a twap result"),
        ("prover-max-return", "prover_max_return"),
        ("reserve_price", "the reserve\nprice"),
    ],
)
def test_every_spelling_of_a_name_is_found(name: str, text: str) -> None:
    assert spellings(name).search(text)


def test_all_that_a_plugin_can_be_is_on_one_screen() -> None:
    contract = files("prover_framework").joinpath("hookspecs.py").read_text()
    assert len(contract.splitlines()) <= 110
