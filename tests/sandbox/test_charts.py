"""Charts of plugins: described in a process that can be ended, checked, and explained when not."""

from pathlib import Path

import pytest
from plugin_files import write_plugin

from prover_framework.errors import ComputeError, ProofError
from prover_framework.model.charts import Chart
from prover_framework.plugins.loading import load
from prover_framework.sandbox import calls
from prover_framework.sandbox.slot import Slot

PLUGIN = """
from attrs import frozen
from prover_framework import *

PROVER_API = 1

@frozen
class Result:
    lab: int

@hookimpl
def proof_type():
    return ProofType(name="lab", title="Lab", version="1", parameters=RangeParameters,
                     result=Result)

@hookimpl
def compute():
    return Result(7)

def chart(name="one", y=(1.0, 2.0)):
    axis = Axis(title="x")
    return Chart(name=name, title="Lab", x=axis, y=axis,
                 curves=(Curve(name="Lab", x=(0.0, 1.0), y=y),))

@hookimpl
def charts(result):
    BODY
"""


async def described(body: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Chart, ...]:
    monkeypatch.syspath_prepend(site)
    source = PLUGIN.replace("BODY", body)
    hooks = load([write_plugin(site, "lab", source)], strict=True).for_type("lab")
    slot = Slot()
    try:
        return await calls.charts(
            slot,
            hooks,
            2**30,
            parameters={"start_timestamp": 0, "end_timestamp": 3600},
            inputs={},
            seed=bytes(32),
            result={"lab": 7},
        )
    finally:
        await slot.kill()


async def test_charts_come_from_the_plugin_with_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "return [chart(y=(float(result.lab), 0.5)), chart('two')]"
    first, second = await described(body, tmp_path, monkeypatch)
    assert (first.name, first.curves[0].y, second.name) == ("one", (7.0, 0.5), "two")


async def test_none_is_no_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await described("return None", tmp_path, monkeypatch) == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 7", "returned 7, not a list of Chart"),
        ("return [7]", "not a list of Chart"),
        ("return [chart(), chart()]", "each of its own name"),
        ("return [chart(f'c{n}') for n in range(9)]", "up to 8 may be"),
        ("return [chart(y=(float('inf'), 0.0))]", "must hold finite numbers only"),
        ("import os; os._exit(1)", "exited with status 1"),
    ],
)
async def test_what_is_no_chart_is_the_plugins_fault(
    body: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ComputeError, match=why):
        await described(body, tmp_path, monkeypatch)


async def test_a_plugin_may_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProofError, match="nothing to see"):
        await described("raise ProofError('nothing to see')", tmp_path, monkeypatch)
