"""The kit's tests of observers pass a sound one and say in words what is wrong with others."""

import re
from pathlib import Path

import pytest
from attrs import frozen
from kit_runs import install_module, outcomes

from prover_framework.testing import GroupObserverConformance, ObserverConformance

# An observer that writes down the jobs that have ended. A flaw is what it does besides.
SOURCE = """
import os, time
from prover_framework import *
PROVER_API = 1

ended = {{}}


@hookimpl
def job_changed(change):
    {flaw}
    if change.new_state is JobState.FAILED:
        ended[change.group_id, change.job_id] = os.environ["MARK"] + change.error_message
"""

TESTS = """
import {module}
from prover_framework.testing import ObserverConformance

class TestIt(ObserverConformance):
    plugin = {module}
    variables = {{"MARK": "x"}}
    seconds = {seconds}
"""


@frozen
class Flaw:
    """The test that finds it, what the test says, and what the observer does."""

    test: str
    says: str
    source: str


FLAWS = {
    "talkative": Flaw(
        "test_it_takes_a_change",
        r"a change to pending: plugin \S+: its hook job_changed returned",
        "return change",
    ),
    "endless": Flaw(
        "test_it_takes_a_change",
        r"a change to pending: its hook job_changed has not returned after 0.2 s",
        "time.sleep(3600)",
    ),
    "picky": Flaw(
        "test_it_takes_odd_changes",
        r"the result \{\}: plugin \S+: its hook job_changed raised KeyError: 'stand_in'",
        "change.result and change.result['stand_in'] or change.result == {} and {}['stand_in']",
    ),
    "forgetful": Flaw(
        "test_it_takes_a_state_again",
        r"a job that has ended before: plugin \S+: its hook job_changed raised ValueError: again",
        "if (change.group_id, change.job_id) in ended: raise ValueError('again')",
    ),
    "scribbling": Flaw(
        "test_it_alters_no_change",
        r"its hook job_changed has altered JobChange\(",
        "change.result and change.result.clear()",
    ),
    "spreading": Flaw(
        "test_it_leaves_the_process_as_it_is",
        r"has altered the environment of the whole service",
        "os.environ['PROVER_SEEN'] = change.new_state",
    ),
    "wandering": Flaw(
        "test_it_leaves_the_process_as_it_is",
        r"has altered the working directory of the whole service",
        "os.chdir('/')",
    ),
    "failing": Flaw(
        "test_a_service_tells_it",
        r"the service says of \S+: plugin \S+: its hook job_changed raised OSError: gone",
        "raise OSError('gone')",
    ),
}


# One that writes down which groups have ended.
GROUP_SOURCE = """
import os
from prover_framework import *
PROVER_API = 1

ended = {{}}


@hookimpl
def group_ended(group):
    {flaw}
    ended[group.event] = os.environ["MARK"] + group.state
"""

GROUP_FLAWS = {
    "answering": Flaw(
        "test_it_takes_an_end_once_and_again",
        r"a group that is succeeded: plugin \S+: its hook group_ended returned",
        "return group.group_id",
    ),
    "once": Flaw(
        "test_it_takes_an_end_once_and_again",
        r"told before: plugin \S+: its hook group_ended raised ValueError: again",
        "if group.event in ended: raise ValueError('again')",
    ),
    "crossing_out": Flaw(
        "test_it_alters_no_end",
        "its hook group_ended has altered the end of ",
        "group.document.clear()",
    ),
    "moving": Flaw(
        "test_an_end_leaves_the_process_as_it_is",
        "its hook group_ended has altered the working directory of the whole service",
        "os.chdir('/')",
    ),
    "deaf": Flaw(
        "test_a_service_tells_it_of_an_end",
        r"the service cannot tell \S+ of the ends of groups",
        "raise OSError('gone')",
    ),
}


def write(directory: Path, name: str, flaw: str = "pass", seconds: float = 60.0) -> Path:
    module = install_module(directory, name, SOURCE.format(flaw=flaw))
    tests = directory / f"test_{name}.py"
    tests.write_text(TESTS.format(module=module, seconds=seconds))
    return tests


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Run for each flawed observer the test that should find the flaw, and all for a sound one."""
    directory = tmp_path_factory.mktemp("flawed")
    selected = [write(directory, "sound").name]
    for name, flaw in FLAWS.items():
        tests = write(directory, name, flaw.source, 0.2 if name == "endless" else 60.0)
        selected.append(f"{tests.name}::TestIt::{flaw.test}")
    return outcomes(directory, *selected)


@pytest.fixture(scope="module")
def found_of_groups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """The same for observers of groups."""
    directory = tmp_path_factory.mktemp("flawed_of_groups")
    base = TESTS.replace("ObserverConformance", "GroupObserverConformance")
    selected = []
    for name, flaw in {"calm": None, **GROUP_FLAWS}.items():
        source = GROUP_SOURCE.format(flaw=flaw.source if flaw else "pass")
        module = install_module(directory, name, source)
        seconds = 3.0 if name == "deaf" else 60.0
        tests = directory / f"test_{name}.py"
        tests.write_text(base.format(module=module, seconds=seconds))
        selected.append(f"{tests.name}::TestIt::{flaw.test}" if flaw else tests.name)
    return outcomes(directory, *selected)


@pytest.mark.parametrize("name", GROUP_FLAWS)
def test_a_flaw_over_groups_is_found_and_told(
    found_of_groups: dict[str, tuple[str, str]], name: str
) -> None:
    flaw = GROUP_FLAWS[name]
    outcome, message = found_of_groups[f"test_{name}::{flaw.test}"]
    assert outcome in ("failure", "error"), outcome
    assert re.search(flaw.says, message), message


def test_a_sound_observer_of_groups_passes(found_of_groups: dict[str, tuple[str, str]]) -> None:
    promised = {name for name in vars(GroupObserverConformance) if name.startswith("test_")}
    came = {name: found_of_groups[f"test_calm::{name}"][0] for name in promised}
    assert set(came.values()) == {"passed"}, came


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_and_told(found: dict[str, tuple[str, str]], name: str) -> None:
    flaw = FLAWS[name]
    outcome, message = found[f"test_{name}::{flaw.test}"]
    assert outcome in ("failure", "error"), outcome
    assert re.search(flaw.says, message), message
    assert "Traceback" not in message


def test_a_sound_observer_passes(found: dict[str, tuple[str, str]]) -> None:
    promised = {name for name in vars(ObserverConformance) if name.startswith("test_")}
    came = {name: found[f"test_sound::{name}"][0] for name in promised}
    assert set(came.values()) == {"passed"}, came
