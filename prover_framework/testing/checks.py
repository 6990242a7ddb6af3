"""What the tests of all kinds of plugins have in common."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import requires
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, NoReturn

import pytest

from prover_framework.errors import PluginError, SettingsError
from prover_framework.model.inputs import LoadedData
from prover_framework.plugins.calls import Candidate, KindHooks
from prover_framework.plugins.loading import installed, load
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.protocol import HookCall
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import Json
from prover_framework.settings import plugin_settings
from prover_framework.testing.watched import call_watched

CORE = "prover-framework"


def fail(why: str) -> NoReturn:
    """Fail a test with one sentence: what it came from is the kit's business, not the author's."""
    raise pytest.fail.Exception(why, pytrace=False) from None


def loaded_plugins(*modules: ModuleType) -> Plugins:
    """Load plugins as a service loads them; a test fails where one cannot be used."""
    names = [module.__name__ for module in modules]
    try:
        return load([Candidate(name, name, name, "under test") for name in names], strict=True)
    except PluginError as error:
        fail(str(error))


def load_data(kind: KindHooks, query: Json, variables: Mapping[str, str]) -> LoadedData[Any, Any]:
    """Have a plugin's kind load data, here and not in a process of its own.

    Args:
        kind: The kind.
        query: JSON form of what is wanted.
        variables: Settings of the kind, each under its variable.
    """
    cls = kind.kind.settings_type
    try:
        settings = None if cls is None else plugin_settings(kind.kind.name, cls, variables)
    except SettingsError as error:
        fail(f"the kind {kind.kind.name} has no settings: {error}; give them in variables")
    return kind.load(structure(query, kind.kind.need_type), settings)


def require_entry_point(plugin: ModuleType, name: str | None) -> None:
    """Require that one distribution offers a module to the service and says it needs the core.

    Args:
        plugin: The module.
        name: What its entry point has to be called; None where operators see no other name.
    """
    module = plugin.__name__
    mine = [candidate for candidate in installed() if candidate.module == module]
    if len(mine) != 1:
        fail(
            f"{len(mine)} entry points of the group prover_framework lead to {module}, not 1: "
            "see [project.entry-points.prover_framework] in pyproject.toml, and install again"
        )
    needed = requires(mine[0].distribution) or []
    if not any(requirement.startswith(CORE) for requirement in needed):
        fail(f"{mine[0].distribution} does not say that it depends on {CORE}")
    if name is not None and mine[0].name != name:
        fail(
            f"the entry point is called {mine[0].name} and the proof type "
            f"{name}: operators disable a plugin by the one and see the other"
        )


class Conformance:
    """What the tests of a plugin of any kind begin with: what it is, and what it cannot pass.

    Attributes:
        plugin: The module with the hooks, that of the entry point.
        samples: What it is tried with; tests that take a ``sample`` are run once for each.
        wrong: Names of fields of a sample with values that must be refused.
        variables: Settings, each under its variable ``PROVER_PLUGIN__...``.
        exceptions: Names of tests that it cannot pass, each with the reason, for people who ask
            what they can rely on. They are skipped with it.
    """

    plugin: ModuleType
    samples: Sequence[Any]
    wrong: Sequence[tuple[str, Json]] = ()
    variables: Mapping[str, str] = MappingProxyType({})
    exceptions: Mapping[str, str] = MappingProxyType({})

    # Whether the kit has samples for every plugin of the kind.
    brings_samples: ClassVar[bool] = False

    @classmethod
    def all_samples(cls) -> Sequence[Any]:
        """Return what it is tried with."""
        return cls.samples

    def __init_subclass__(cls) -> None:
        """Refuse a class of tests that would have nothing to test."""
        super().__init_subclass__()
        if cls.__name__.startswith("Test") and not (
            getattr(cls, "plugin", None) and (getattr(cls, "samples", None) or cls.brings_samples)
        ):
            raise TypeError(f"{cls.__name__} must say its plugin and at least one of its samples")
        for name, reason in cls.exceptions.items():
            _require_exception(cls, name, reason)

    @pytest.fixture(autouse=True)
    def _excepted(self, request: pytest.FixtureRequest) -> None:
        """Skip what the plugin says that it cannot pass."""
        name: str = request.function.__name__
        if name in self.exceptions:
            pytest.skip(self.exceptions[name])

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the tests of a sample once for each."""
        if "sample" in metafunc.fixturenames:
            samples = self.all_samples()
            names = [f"sample{number}" for number in range(1, len(samples) + 1)]
            metafunc.parametrize("sample", samples, ids=names, scope="class")


class WatchedConformance(Conformance):
    """Tests of a plugin whose hooks, or some of them, may touch nothing beside their arguments.

    Attributes:
        touches: What they touch nevertheless, each with the reason: the beginning of what the test
            says of it, such as ``did subprocess.Popen`` or ``read /opt/prover``.
    """

    touches: Mapping[str, str] = MappingProxyType({})

    def watch(self, call: HookCall, *, seconds: float) -> dict[str, Any]:
        """Have a hook called under watch; return the JSON form of what it returned.

        Args:
            call: The call.
            seconds: How long it may take.
        """
        with TemporaryDirectory(prefix="prover-watched-") as directory:
            try:
                account = call_watched(call, seconds=seconds, directory=Path(directory))
            except subprocess.CalledProcessError as error:
                fail(f"it fails in a process of its own:\n{error.stderr}")
        touched = [what for what in account.touched if not self._may(what)]
        if touched:
            fail("; ".join(touched))
        return account.result

    def _may(self, touched: str) -> bool:
        return any(re.search(rf"\b{re.escape(what)}", touched) for what in self.touches)


def _require_exception(cls: type, name: str, reason: str) -> None:
    """Refuse an exception that is none: for a test that there is not, or without a reason."""
    if not name.startswith("test_") or not hasattr(cls, name):
        raise TypeError(f"{cls.__name__} makes an exception of {name}, which is no test of it")
    if not reason.strip():
        raise TypeError(f"{cls.__name__} must say why it makes an exception of {name}")


def alterations(value: Json, place: str = "") -> Iterator[tuple[str, Json]]:
    """Yield copies of a JSON value with one thing altered, and where.

    Args:
        value: The value.
        place: Where it stands, if it is part of another one.
    """
    match value:
        case dict():
            for key, member in value.items():
                path = f"{place}.{key}" if place else key
                for where, altered in alterations(member, path):
                    yield where, {**value, key: altered}
        case list():
            if not value:
                yield place, [1]
                return
            yield f"{place} (one fewer)", value[:-1]
            # The elements of an array are of a kind: the outer ones stand for all.
            for index in sorted({0, len(value) - 1}):
                for where, altered in alterations(value[index], f"{place}[{index}]"):
                    yield where, [*value[:index], altered, *value[index + 1 :]]
        case bool():
            yield place, not value
        case int():
            yield place, value + 1
        case float():
            yield place, value * 2 + 1
        case str():
            yield place, value[:-1] + ("1" if value.endswith("0") else "0")
        case None:
            yield place, 1
