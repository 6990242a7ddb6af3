"""Settings of a proof type: read where it is computed, stated where they change the digits."""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest
from plugin_files import write_plugin

from prover_framework.errors import SettingsError
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.proofs.own_settings import OwnSettings
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import service_in_a_box
from prover_framework.testing.box import SETTINGS
from prover_framework.verification.verifier import Verifier

SOURCE = """
from attrs import field, frozen
from prover_framework import ProofType, hookimpl
PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    number: int


@frozen(kw_only=True)
class Settings:
    digits: int = field(default=2, metadata={"stated": True})
    token: int = field(default=0, repr=False)


@frozen(kw_only=True)
class Result:
    scaled: int


@hookimpl
def proof_type():
    return ProofType(name="scaled", title="Scaled", version="1", parameters=Parameters,
                     result=Result, settings=Settings)


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, settings):
    return Result(scaled=parameters.number * 10**settings.digits)
"""

PREFIX = "PROVER_PLUGIN__SCALED__"
VARIABLES = {f"{PREFIX}DIGITS": "3", f"{PREFIX}TOKEN": "987654"}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    candidate = write_plugin(tmp_path, "scaled", SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(candidate.module)
    del sys.modules[candidate.module]


def test_what_changes_the_digits_is_stated_and_taken_from_there(plugin: ModuleType) -> None:
    settings = attrs.evolve(SETTINGS, plugin_variables=VARIABLES)
    with service_in_a_box(plugin, settings=settings) as box:
        (job,) = box.prove("scaled", plugin.Parameters(number=7)).jobs
        assert isinstance(job.result, dict), job
        assert job.result["scaled"] == 7000
        receipt = dump_receipt(box.receipt("box-0"))
    document = json.loads(receipt)
    assert document["receipts"][0]["statement"]["settings"] == {"digits": 3}
    assert b"987654" not in receipt
    name = plugin.__name__
    plugins = load([Candidate(name, name, name, "1")], strict=True)
    # The verifier has settings of his own, which do not count.
    verifier = Verifier(settings=SETTINGS, plugins=plugins, headers=None)
    report = asyncio.run(verifier.verify(receipt))
    assert not [check for check in report.checks if check.outcome == "failed"], report
    assert any("computed again with the same result" in check.reason for check in report.checks)
    for stated in ({"digits": 2}, {"digits": 3, "token": 1}, {"digits": "3"}):
        document["receipts"][0]["statement"]["settings"] = stated
        altered = asyncio.run(verifier.verify(json.dumps(document).encode()))
        assert [one for one in altered.checks if one.check == "result" and one.outcome == "failed"]


def test_a_wrong_setting_is_told_without_a_secret(plugin: ModuleType) -> None:
    plugins = load([Candidate("scaled", plugin.__name__, "x", "1")], strict=True)
    for name, value, told in (
        ("DIGITS", "many", "DIGITS must be an integer"),
        ("TOKEN", "hush-hush", "TOKEN is not a value of this setting"),
        ("OTHER", "1", "OTHER"),
    ):
        settings = attrs.evolve(SETTINGS, plugin_variables={f"{PREFIX}{name}": value})
        with pytest.raises(SettingsError, match=told) as caught:
            OwnSettings(settings, plugins).require_all()
        assert "hush" not in str(caught.value)
