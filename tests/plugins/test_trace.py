"""A trace tells each call of a hook, in the service and in the processes that plugins run in."""

import logging
import re
from pathlib import Path

import attrs
import pytest
from plugin_files import write_plugin

from prover_framework import RangeParameters
from prover_framework.plugins.loading import load
from prover_framework.testing import series_of
from prover_framework.testing.box import SETTINGS, box_of

PLUGIN = """
from attrs import frozen
from prover_framework import *
PROVER_API = 1

@frozen
class Result:
    traced: int

@hookimpl
def proof_type():
    return ProofType(name="traced", title="Traced", version="1", parameters=RangeParameters,
                     result=Result)

@hookimpl
def validate(parameters):
    if parameters.start_timestamp == 7:
        raise ValueError("x" * 10_000 + " and a secret")

@hookimpl
def compute():
    return Result(1)

@hookimpl
def job_changed(change):
    pass
"""

LINE = re.compile(r"plugin traced: its hook (\w+) (.+) after \d+\.\d{3} ms")


@pytest.mark.parametrize("trace", [True, False])
def test_every_call_is_told_in_one_short_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    *,
    trace: bool,
) -> None:
    candidate = write_plugin(tmp_path, "traced", PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load([candidate], strict=True, trace=trace)
    settings = attrs.evolve(SETTINGS, max_attempts=1)
    with box_of(plugins, series=series_of([(1, 1)]), settings=settings) as box:
        box.prove("traced", RangeParameters(start_timestamp=0, end_timestamp=3600))
        with pytest.raises(Exception, match="raised ValueError"):
            box.prove("traced", RangeParameters(start_timestamp=7, end_timestamp=3600))
    here = [LINE.fullmatch(r.getMessage()) for r in caplog.records if r.name.endswith(".trace")]
    there = [
        line
        for line in capfd.readouterr().err.splitlines()
        if "prover_framework.plugins.trace" in line
    ]
    if not trace:
        assert (here, there) == ([], [])
        return
    assert [match and match.groups() for match in here] == [
        ("proof_type", "returned ProofType"),
        *[("job_changed", "returned list")] * 3,
    ]
    told = {match.groups() for line in there if (match := LINE.search(line))}
    assert ("compute", "returned Result") in told
    assert ("validate", "returned NoneType") in told
    (raised,) = (outcome for hook, outcome in told if outcome.startswith("raised"))
    assert raised.startswith("raised ValueError: xxx")
    assert all(len(line) < 1000 and "secret" not in line for line in there)
    assert all(line.split()[1] == logging.getLevelName(logging.INFO) for line in there)
