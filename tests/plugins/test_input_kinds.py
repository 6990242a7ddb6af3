"""What registers a kind of data, and what is refused as one."""

from pathlib import Path

import pytest
from plugin_files import write_plugin

from prover_framework.errors import KindWithoutSeed
from prover_framework.inputs.trusted import Sources
from prover_framework.model.inputs import Need
from prover_framework.plugins.loading import load
from prover_framework.proofs.inputs import InputLoader
from prover_framework.settings import Settings

SOURCE = """
from attrs import frozen

from prover_framework import InputKind, LoadedData, hookimpl

PROVER_API = 1


@frozen
class Wanted:
    name: str = "n"


@frozen
class Data:
    value: int = 0


class Tea(InputKind):
    name = NAME
    version = "1"
    need_type = Wanted
    data_type = DATA
    facts_type = Data

    def load(self, need, settings):
        return LoadedData(Data(1))

    def facts(self, data):
        return data


@hookimpl
def input_kind():
    return RETURNED
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_kind_is_there_beside_the_frameworks_own(site: Path) -> None:
    source = SOURCE.replace("NAME", "'tea'").replace("DATA", "Data").replace("RETURNED", "Tea()")
    own = set(load(()).kinds)
    loaded = load([write_plugin(site, "tea_house", source)], strict=True)
    assert set(loaded.kinds) == own | {"tea"}
    assert not loaded.kind("tea").is_builtin
    assert all(loaded.kind(name).is_builtin for name in own)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "'results'"}, "results is the framework's own kind of data"),
        ({"name": "'A b'"}, "has the name 'A b', not of"),
        ({"name": "5"}, "must state its name as a string"),
        ({"data": "int"}, "has as data_type"),
        ({"returned": "'tea'"}, "its hook input_kind returned 'tea', not an InputKind"),
        ({"returned": "None"}, "its hook input_kind returned None, not an InputKind"),
    ],
)
def test_what_is_no_kind_is_refused_with_the_reason(
    site: Path, changes: dict[str, str], said: str
) -> None:
    parts = {"name": "'tea'", "data": "Data", "returned": "Tea()"} | changes
    source = SOURCE
    for place, part in parts.items():
        source = source.replace(place.upper(), part)
    (plugin,) = load([write_plugin(site, "tea_house", source)]).found
    assert plugin.failure is not None
    assert said in plugin.failure


def test_two_plugins_with_one_kind_are_both_refused(site: Path) -> None:
    source = SOURCE.replace("NAME", "'tea'").replace("DATA", "Data").replace("RETURNED", "Tea()")
    loaded = load([write_plugin(site, name, source) for name in ("one", "two")])
    for plugin in loaded.found:
        assert plugin.failure is not None
        assert plugin.failure.startswith("the kind of data tea is registered by one")
    assert "tea" not in loaded.kinds


DRAWS = """
from attrs import frozen

from prover_framework import Need, ProofType, hookimpl

PROVER_API = 1


@frozen
class Parameters:
    pass


@frozen
class Result:
    drawn: int


@hookimpl
def proof_type():
    return ProofType(
        name="drawn", title="Drawn", version="1", parameters=Parameters, result=Result,
        generator=GENERATOR,
    )


@hookimpl
def compute():
    return Result(1)
"""


@pytest.mark.parametrize("generator", ["'dice'", "None"])
async def test_whoever_draws_numbers_may_not_be_given_what_can_be_chosen(
    site: Path, generator: str
) -> None:
    kind = SOURCE.replace("NAME", "'tea'").replace("DATA", "Data").replace("RETURNED", "Tea()")
    kind = kind.replace('    version = "1"\n', '    version = "1"\n    has_seed_part = False\n')
    proof = DRAWS.replace("GENERATOR", generator)
    plugins = load(
        [write_plugin(site, "tea_house", kind), write_plugin(site, "drawn", proof)], strict=True
    )
    loader = InputLoader(Settings(), plugins)
    needs = {"cup": Need("tea", {})}
    loading = loader.load_all(plugins.for_type("drawn"), needs, Sources())
    if generator == "None":
        assert (await loading)["cup"].seed_input.part is None
        return
    with pytest.raises(
        KindWithoutSeed, match="the input cup is of the kind tea, which has no part"
    ):
        await loading
