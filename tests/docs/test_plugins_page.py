"""The reference of plugins describes every hook as it is, and its examples work."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType

import attrs
import pytest
from plugin_files import write_plugin

import prover_framework
from prover_framework import InputKind, RangeParameters, Work, hookspecs, testing
from prover_framework.jobs import events as observers
from prover_framework.model.jobs import MAX_RETRY_SECONDS
from prover_framework.model.proofs import API_VERSION
from prover_framework.plugins.loading import load
from prover_framework.proofs.artefacts import COMPOSE_LIMITS
from prover_framework.receipts.documents import dump_receipt
from prover_framework.sandbox.calls import ASK_SECONDS
from prover_framework.testing import series_of, service_in_a_box
from prover_framework.worker import deliveries
from prover_framework.worker.timings import USUAL_TIMINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "plugins.md").read_text()
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()

HOOKS = {
    node.name: node
    for node in ast.parse(inspect.getsource(hookspecs)).body
    if isinstance(node, ast.FunctionDef) and node.name not in ("hookspec", "hookimpl")
}

# What plugins that were written for a version of the API rely on. Hooks and arguments may be
# added to a version; what is here may only go when `API_VERSION` rises.
PROMISED: dict[int, dict[str, set[str]]] = {
    1: {
        "proof_type": set(),
        "validate": {"parameters"},
        "inputs": {"parameters"},
        "dispatch": {"job"},
        "compute": {"parameters", "inputs", "seed"},
        "verify": {"parameters", "inputs", "seed", "claimed"},
        "compose": {"group"},
        "input_kind": set(),
        "seal_type": set(),
        "make_seal": {"receipt", "digest", "inputs", "work"},
        "check_seal": {"receipt", "digest", "seal", "inputs", "work"},
        "job_changed": {"change"},
        "group_ended": {"group"},
    }
}


def section(name: str) -> str:
    found = re.search(rf"^### `{name}`\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section on {name}"
    return found[1]


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_hook_has_a_section_and_no_other() -> None:
    assert re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE) == list(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_a_section_has_the_hooks_signature(name: str) -> None:
    (shown,) = re.findall(r"^```py\n(.*?)^```$", section(name), re.MULTILINE | re.DOTALL)
    (function,) = ast.parse(shown).body
    assert isinstance(function, ast.FunctionDef)
    for part in ("name", "args", "returns"):
        documented, real = getattr(function, part), getattr(HOOKS[name], part)
        if isinstance(real, ast.AST):
            documented, real = ast.unparse(documented), ast.unparse(real)
        assert documented == real


@pytest.mark.parametrize("name", HOOKS)
def test_a_section_says_all_that_a_plugin_has_to_know(name: str) -> None:
    text = section(name)
    labels = re.findall(r"^\*\*(\w+)\*\*", text, re.MULTILINE)
    assert labels == ["Called", "Arguments", "Returns", "Errors"]
    arguments = text.partition("**Arguments**")[2].partition("**Returns**")[0]
    for argument in HOOKS[name].args.args:
        assert f"`{argument.arg}`" in arguments
    in_place = any(f"@hookimpl\ndef {name}(" in example for example in examples(text))
    elsewhere = "[a whole plugin](#a-whole-plugin)" in " ".join(text.split())
    assert in_place or elsewhere, "it has no example"


@pytest.mark.parametrize("name", HOOKS)
def test_the_table_says_where_a_hook_runs(name: str) -> None:
    assert len(re.findall(rf"^\| `{name}` \|", PAGE, re.MULTILINE)) == 1


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"within {ASK_SECONDS:g} seconds" in text
    memory = COMPOSE_LIMITS.memory_bytes // 2**30
    assert f"within {COMPOSE_LIMITS.seconds:g} seconds and {memory} GiB" in text
    assert f"When {observers.MAX_WAITING:,} changes wait" in text
    assert f"waits {observers.STOP_SECONDS:g} seconds" in text
    assert observers.QUIET_SECONDS == 60, "once a minute"
    assert f"after {USUAL_TIMINGS.event_retry_seconds:g} seconds, 4, and so on" in text
    assert MAX_RETRY_SECONDS == 1800, "half an hour"
    assert f"After {USUAL_TIMINGS.event_give_up_seconds / 86400:g} days it is given up" in text
    assert f"after {deliveries.HOOK_SECONDS:g} seconds may be called" in text


CLASSES = [
    value
    for name in sorted(prover_framework.__all__)
    if isinstance(value := getattr(prover_framework, name), type) and attrs.has(value)
]


@pytest.mark.parametrize("cls", [*CLASSES, Work], ids=lambda cls: cls.__name__)
def test_every_field_that_a_plugin_touches_is_in_the_table_of_classes(cls: type) -> None:
    table = PAGE.partition("## Classes\n")[2]
    found = re.search(rf"^\| `{cls.__name__}` \|.*\n(?:\| \|.*\n)*", table, re.MULTILINE)
    assert found, f"the table has no {cls.__name__}"
    computed = (property, cached_property, FunctionType)
    own = {name for name, value in vars(cls).items() if isinstance(value, computed)}
    fields = {field.name for field in attrs.fields(cls)} if attrs.has(cls) else set()
    told = set(re.findall(r"`(\w+)", found[0]))
    assert {name for name in fields | own if not name.startswith("_")} <= told


def kit_section() -> str:
    return PAGE.partition("## Tests of plugins\n")[2]


@pytest.mark.parametrize("name", testing.__all__)
def test_every_part_of_the_kit_is_in_its_section(name: str) -> None:
    assert f"`{name}`" in kit_section()


@pytest.mark.parametrize(
    "cls",
    [getattr(testing, name) for name in testing.__all__ if name.endswith("Conformance")],
    ids=lambda cls: cls.__name__,
)
def test_every_attribute_of_a_class_of_tests_is_in_the_table(cls: type) -> None:
    names = {name for each in cls.__mro__ for name in vars(each).get("__annotations__", ())}
    for name in names - {"brings_samples"}:
        assert f"\n| `{name}` |" in kit_section()


@pytest.mark.parametrize("name", [name for name in vars(InputKind) if not name.startswith("_")])
def test_every_part_of_a_kind_of_input_is_in_its_section(name: str) -> None:
    assert re.search(rf"^\|.*`{name}[`(].*\|", section("input_kind"), re.MULTILINE)


def test_settings_on_the_page_exist() -> None:
    for name in set(re.findall(r"`(PROVER_\w+)`", PAGE)):
        assert f"| `{name}` |" in SETTINGS


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the plugin that all examples of the page are together."""
    candidate = write_plugin(tmp_path, "fee_quantile", "\n\n".join(examples(PAGE)))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(candidate.module)
    del sys.modules[candidate.module]


def test_the_examples_are_one_plugin_that_works(
    example: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    series = series_of([(hour + 1, 1) for hour in range(10)])
    with service_in_a_box(example, series=series) as box:
        (job,) = box.prove(
            "fee_quantile",
            example.QuantileParameters(start_timestamp=0, end_timestamp=36_000, share=0.8),
        ).jobs
        assert job.error is None
        assert isinstance(job.result, dict)
        assert job.result["fee_quantile"] == 8.0
        box.sealed("box-0")
        report = box.verify("box-0")
        assert report.accepted, report.checks
        receipt = dump_receipt(box.receipt("box-0"))
        assert b'"stamp"' in receipt
        assert b'"fee-felt"' in receipt
        short = RangeParameters(start_timestamp=0, end_timestamp=3600)
        (job,) = box.prove("fee_quantile", short).jobs
        assert job.error == {
            "code": "range_too_short",
            "message": "a quantile needs at least 2 hours and the range has 1",
        }
        with pytest.raises(Exception, match=r"fee_quantile.end_timestamp: must be within 100000"):
            box.prove("fee_quantile", RangeParameters(start_timestamp=0, end_timestamp=10**10))
    assert "fee_quantile of box-1: a quantile needs at least 2 hours" in caplog.text


def test_the_examples_implement_every_hook(example: ModuleType) -> None:
    for name in HOOKS:
        assert hasattr(example, name)


# Versions


def test_hooks_and_arguments_are_only_added_to_a_version() -> None:
    now = {name: {argument.arg for argument in node.args.args} for name, node in HOOKS.items()}
    for name, arguments in PROMISED[API_VERSION].items():
        assert arguments <= now[name]


def test_a_plugin_of_another_version_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = examples(PAGE)[0].replace("PROVER_API = 1", "PROVER_API = 2")
    candidate = write_plugin(tmp_path, "newer", source)
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = load([candidate]).found
    assert plugin.failure
    assert f"> {plugin.failure}\n" in PAGE
    assert f"API version {API_VERSION}." in " ".join(PAGE.split())


def test_a_plugin_takes_the_arguments_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = examples(PAGE)[0].replace(
        "def compute(parameters: QuantileParameters, inputs: Inputs)", "def compute()"
    )
    source = re.sub(r"    fees = .*\Z", "    return QuantileResult(fee_quantile=1.0, hours=1)\n",
                    source, flags=re.DOTALL)  # fmt: skip
    candidate = write_plugin(tmp_path, "terse", source)
    monkeypatch.syspath_prepend(tmp_path)
    assert load([candidate], strict=True).found[0].failure is None
