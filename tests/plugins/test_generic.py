"""The core knows no proof type and no market: whatever it shows comes from what is installed."""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

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


# Where a table of the database, or a function of the public surface, has the name of a kind.
NAMESAKES = ("__init__.py", "tables.py", "0001_initial.py", "chain/store.py")


@pytest.mark.parametrize("name", sorted(plugins.load([]).kinds))
def test_the_core_names_no_kind_of_data_outside_of_its_room(name: str) -> None:
    """Whatever it does with data it does with any that is registered."""
    found = [
        str(file)
        for file in files_of_the_core(files("prover_framework"))
        if "/inputs/" not in str(file) and "/plugin_template/" not in str(file)
        for literal in (f'"{name}"', f"'{name}'")
        if literal in file.read_text() and not str(file).endswith(NAMESAKES)
    ]
    assert found == []


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
