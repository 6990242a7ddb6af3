"""Plugins are loaded one by one; a broken one is listed with its reason and harms no other."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from prover_framework.errors import PluginError, Problem, ProofError, RequestError
from prover_framework.inputs.hourly_base_fee import hourly_base_fees
from prover_framework.jobs.requests import parse_group_request
from prover_framework.jobs.service import ProvingService
from prover_framework.model.inputs import Inputs
from prover_framework.model.proofs import (
    Dispatch,
    JobRequest,
    RangeParameters,
)
from prover_framework.model.series import HourlySeries, SeriesKind, TimeRange
from prover_framework.model.verdict import Verdict
from prover_framework.plugins import loading as plugins
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins

numbers = count()

# A proof type that computes how many seconds its range has.
HEAD = """
from typing import Any
from attrs import frozen
from prover_framework import *
PROVER_API = 1
import prover_framework as framework

@frozen
class Result:
    NAME: int

@hookimpl
def proof_type():
    return ProofType(
        name="NAME", title="The NAME", version="1", parameters=RangeParameters, result=Result
    )
"""
COMPUTE = """
@hookimpl
def compute(parameters):
    return Result(parameters.range.end_timestamp - parameters.range.start_timestamp)
"""

PARAMETERS = RangeParameters(start_timestamp=10, end_timestamp=25)
SERIES = HourlySeries(1, True, SeriesKind.BLOCKS, 0, (1,), (1,), 1, 1)  # noqa: FBT003
INPUTS = Inputs({"hourly_base_fee": SERIES})
SEED = bytes(32)

Write = Callable[..., Candidate]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a plugin of a given name as a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def module(name: str, source: str, *, sound: bool = True, distribution: str = "") -> Candidate:
        module_name = f"plugin_of_a_test_{next(numbers)}"
        text = (HEAD if sound else "") + textwrap.dedent(source)
        (tmp_path / f"{module_name}.py").write_text(text.replace("NAME", name), "utf-8")
        written.append(module_name)
        return Candidate(name, module_name, distribution or f"prover-{name}", "1.0")

    yield module
    for module_name in written:
        sys.modules.pop(module_name, None)


def failure_of(loaded: Plugins, name: str) -> str:
    [plugin] = [plugin for plugin in loaded.found if plugin.candidate.name == name]
    assert name not in loaded.hooks
    return plugin.failure or ""


def in_use(loaded: Plugins) -> set[str]:
    """Return which plugins can be used, after using them."""
    for hooks in loaded.hooks.values():
        result = hooks.compute(PARAMETERS, INPUTS, SEED)
        assert getattr(result, hooks.proof_type.name) == 15
    return set(loaded.hooks)


def test_a_plugin_is_found_with_what_operators_ask_about(write: Write) -> None:
    loaded = load([write("seconds", COMPUTE)])
    [plugin] = loaded.found
    assert (plugin.candidate.name, plugin.candidate.distribution) == ("seconds", "prover-seconds")
    assert plugin.hooks == ("compute", "proof_type")
    assert plugin.failure is None
    assert not plugin.disabled
    assert plugin.proof_type is loaded.proof_types["seconds"]
    assert loaded.title("seconds") == "The seconds"
    assert loaded.title("other") == "other"
    assert in_use(loaded) == {"seconds"}
    with pytest.raises(PluginError, match=r"'other' is not installed here \(installed: seconds\)"):
        loaded.for_type("other")


def test_the_three_plugins_of_this_repository_are_sound() -> None:
    loaded = load(plugins.installed(), strict=True)
    assert {"max_return", "reserve_price", "twap"} <= set(loaded.proof_types)
    for name in ("max_return", "reserve_price", "twap"):
        assert loaded.proof_types[name].required


def test_no_plugin_at_all_is_no_error() -> None:
    loaded = load([])
    assert (loaded.found, loaded.proof_types) == ((), {})


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_not_there", "its import failed: ModuleNotFoundError: No module"),
        ("1 / 0", "its import failed: ZeroDivisionError: division by zero"),
        ("def broken(:", "its import failed: SyntaxError: "),
        ("raise SystemExit(3)", "its import failed: SystemExit: 3"),
        ("import sys; sys.exit()", "its import failed: SystemExit"),
        ("raise KeyboardInterrupt", "its import failed: KeyboardInterrupt"),
        ("raise GeneratorExit('no')", "its import failed: GeneratorExit: no"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Odd",
            "its import failed: Odd: (its text cannot be shown)",
        ),
        ("raise ValueError('a\\n\\tb')", "its import failed: ValueError: a b"),
        ("", "its API version is not known: plugin_of_a_test_"),
        ("PROVER_API = 1", "plugin_of_a_test_"),
    ],
)
def test_a_plugin_that_can_not_be_imported(write: Write, source: str, reason: str) -> None:
    loaded = load([write("first", COMPUTE), write("bad", source, sound=False)])
    assert failure_of(loaded, "bad").startswith(reason)
    assert in_use(loaded) == {"first"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "it registers the proof type bad and does not compute it"),
        (
            COMPUTE + "@hookimpl\ndef validaet(parameters): ...",
            "its hooks do not fit: PluginValidationError: unknown hook 'validaet' in plugin",
        ),
        (
            "@hookimpl\ndef compute(parameters, inputs, sede): ...",
            "its hooks do not fit: PluginValidationError: Plugin ",
        ),
        ("@hookimpl\nasync def compute(): ...", "its hook compute is asynchronous: "),
        (COMPUTE + "@hookimpl\nasync def validate(): yield", "its hook validate is asynchronous: "),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): raise RuntimeError('no key')",
            "its registration failed: RuntimeError: no key",
        ),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): raise SystemExit('bye')",
            "its registration failed: SystemExit: bye",
        ),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): raise KeyboardInterrupt",
            "its registration failed: KeyboardInterrupt",
        ),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): return ProofType(name='Bad Name', title='',"
            " version='1', parameters=RangeParameters, result=Result)",
            "its registration failed: ValueError: ",
        ),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): return {'name': 'bad'}",
            "its hook proof_type returned {'name': 'bad'}, not a ProofType",
        ),
        (
            COMPUTE + "@hookimpl\ndef proof_type(): ...",
            "its hook proof_type returned None, not a ProofType",
        ),
        (
            COMPUTE + "class Odd:\n    def __repr__(self): return 1 / 0\n"
            "@hookimpl\ndef proof_type(): return Odd()",
            "its hook proof_type returned a Odd, not a ProofType",
        ),
    ],
)
def test_a_plugin_that_can_not_be_registered(write: Write, source: str, reason: str) -> None:
    loaded = load([write("first", COMPUTE), write("bad", source), write("last", COMPUTE)])
    failure = failure_of(loaded, "bad")
    assert failure.startswith(reason)
    assert "\n" not in failure
    assert in_use(loaded) == {"first", "last"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ("parameters=dict", "its parameters class is <class 'dict'>, not an attrs class"),
        ("parameters=RangeParameters(start_timestamp=1, end_timestamp=2)", "its parameters class"),
        ("result=None", "its result class is None, not an attrs class"),
        (
            "parameters=Untold",
            "its parameters class does not go to JSON and back: Untold.x has",
        ),
        (
            "result=Untold",
            "its result class does not go to JSON and back: Untold.x has the",
        ),
        (
            "result=Unresolved",
            "its result class does not go to JSON and back: the types of Un",
        ),
        ("name='job_group_id'", "job_group_id is no name for a proof type: "),
    ],
)
def test_a_proof_type_that_could_not_be_served(write: Write, changes: str, reason: str) -> None:
    source = f"""
        @frozen
        class Untold:
            x: complex

        @frozen
        class Unresolved:
            x: "Nothing"

        @hookimpl
        def proof_type():
            arguments = dict(
                name="NAME", title="NAME", version="1", parameters=RangeParameters, result=Result
            )
            return ProofType(**(arguments | dict({changes})))
    """
    bad = write("bad", COMPUTE + textwrap.dedent(source))
    loaded = load([bad, write("last", COMPUTE)])
    assert failure_of(loaded, "bad").startswith(reason)
    assert in_use(loaded) == {"last"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "implements no hook"),
        ("def compute(): ...", "implements no hook"),
        ("@hookimpl\ndef compute(): ...", "it implements compute and registers no proof type"),
        (
            "@hookimpl\ndef verify(): ...\n@hookimpl\ndef dispatch(): ...",
            "it implements dispatch, verify and registers no proof type",
        ),
    ],
)
def test_a_plugin_that_does_nothing(write: Write, source: str, reason: str) -> None:
    bad = write(
        "bad", "from prover_framework import hookimpl\nPROVER_API = 1\n" + source, sound=False
    )
    loaded = load([bad, write("last", COMPUTE)])
    assert failure_of(loaded, "bad").endswith(reason)
    assert in_use(loaded) == {"last"}


def test_two_plugins_of_one_name_are_both_refused_and_both_named(write: Write) -> None:
    renamed = HEAD.replace('"NAME"', '"twin"').replace("NAME:", "twin:") + COMPUTE
    one = write("one", renamed, sound=False)
    two = write("two", renamed, sound=False)
    loaded = load([one, write("last", COMPUTE), two])
    for name in ("one", "two"):
        assert failure_of(loaded, name) == (
            "the proof type twin is registered by one (prover-one) and two (prover-two): "
            "uninstall or disable all but one"
        )
    assert in_use(loaded) == {"last"}
    assert in_use(load([one, two], deny=["one"])) == {"twin"}


def test_a_broken_twin_does_not_take_the_sound_one_down(write: Write) -> None:
    renamed = HEAD.replace('"NAME"', '"twin"').replace("NAME:", "twin:")
    loaded = load(
        [write("one", renamed + COMPUTE, sound=False), write("two", renamed, sound=False)]
    )
    assert in_use(loaded) == {"twin"}
    assert failure_of(loaded, "two")


def test_one_module_under_two_names_is_refused_like_two_plugins(write: Write) -> None:
    once = write("seconds", COMPUTE)
    again = Candidate("again", once.module, once.distribution, once.version)
    loaded = load([once, again])
    assert all("is registered by seconds" in (plugin.failure or "") for plugin in loaded.found)


def test_a_module_is_imported_and_asked_for_its_registration_once(write: Write) -> None:
    source = """
        calls = []

        @hookimpl
        def proof_type():
            calls.append("proof_type")
            return ProofType(
                name="NAME", title="NAME", version="1", parameters=RangeParameters, result=Result
            )

        @hookimpl
        def seal_type():
            calls.append("seal_type")
    """
    once = write("seconds", COMPUTE + textwrap.dedent(source))
    again = Candidate("again", once.module, once.distribution, once.version)
    load([once, again, write("last", COMPUTE)])
    assert sys.modules[once.module].calls == ["proof_type", "seal_type"]


def test_a_hook_under_another_name_is_called_on_its_plugin_only(write: Write) -> None:
    source = """
        @hookimpl(specname="validate")
        def check(parameters):
            return [Problem("", "NAME objects")]
    """
    loaded = load([write("a", COMPUTE + textwrap.dedent(source)), write("b", COMPUTE)])
    assert loaded.for_type("a").validate(PARAMETERS) == [Problem("a", "a objects")]
    assert loaded.for_type("b").validate(PARAMETERS) == []
    assert not loaded.for_type("b").implements("validate")


def test_two_functions_for_one_hook_are_refused(write: Write) -> None:
    source = COMPUTE + "@hookimpl(specname='compute')\ndef other(): ...\n"
    loaded = load([write("bad", source), write("last", COMPUTE)])
    assert failure_of(loaded, "bad").endswith("two of its functions implement the hook compute")
    assert in_use(loaded) == {"last"}


def test_what_a_module_answers_for_attributes_that_it_has_not_harms_no_other(write: Write) -> None:
    source = COMPUTE + "def __getattr__(name):\n    raise SystemExit(name)\n"
    loaded = load([write("odd", source), write("last", COMPUTE)])
    assert in_use(loaded) == {"odd", "last"}
    assert loaded.for_type("odd").validate(PARAMETERS) == []


# Choosing


def test_operators_choose_by_name(write: Write) -> None:
    candidates = [write(name, COMPUTE) for name in ("a", "b", "c")]

    def used(**choice: list[str] | None) -> set[str]:
        loaded = load(candidates, **choice)  # type: ignore[arg-type]
        assert [plugin.candidate for plugin in loaded.found] == candidates
        disabled = {plugin.candidate.name for plugin in loaded.found if plugin.disabled}
        assert in_use(loaded) == {"a", "b", "c"} - disabled
        return set(loaded.hooks)

    assert used() == {"a", "b", "c"}
    assert used(allow=None, deny=[]) == {"a", "b", "c"}
    assert used(allow=["a", "c"]) == {"a", "c"}
    assert used(deny=["b"]) == {"a", "c"}
    assert used(allow=["a", "b"], deny=["b"]) == {"a"}
    assert used(allow=[]) == set()


def test_a_disabled_plugin_is_not_imported(write: Write) -> None:
    bad = write("bad", "raise RuntimeError", sound=False)
    [plugin] = load([bad], deny=["bad"], strict=True).found
    assert (plugin.disabled, plugin.failure) == (True, None)
    assert bad.module not in sys.modules


@pytest.mark.parametrize(
    "choice", [{"allow": ["a", "z", "y"]}, {"deny": ["z", "y"]}, {"allow": ["z"], "deny": ["y"]}]
)
def test_a_name_that_is_not_installed_is_told(write: Write, choice: dict[str, list[str]]) -> None:
    with pytest.raises(PluginError) as caught:
        load([write("a", COMPUTE), write("b", COMPUTE)], **choice)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "PROVER_PLUGINS or PROVER_PLUGINS_DISABLED names plugins that are not installed: "
        "'y', 'z' (installed: a, b)"
    )


def test_strict_refuses_to_start_and_names_every_failure(write: Write) -> None:
    candidates = [write("a", COMPUTE), write("b", ""), write("c", "1 / 0")]
    with pytest.raises(PluginError) as caught:
        load(candidates, strict=True)
    assert str(caught.value) == (
        "plugin b cannot be used: it registers the proof type b and does not compute it; "
        "plugin c cannot be used: its import failed: ZeroDivisionError: division by zero"
    )
    assert in_use(load(candidates, deny=["b", "c"], strict=True)) == {"a"}


def test_what_the_probe_finds_is_not_imported_here(write: Write) -> None:
    deadly = write("deadly", "import os; os._exit(7)", sound=False)
    fine = write("fine", COMPUTE)
    asked: list[list[str]] = []

    def import_check(modules: object) -> dict[str, str]:
        asked.append(list(modules))  # type: ignore[call-overload]
        return {deadly.module: "its import ends the interpreter"}

    loaded = load([deadly, fine, write("off", COMPUTE)], deny=["off"], import_check=import_check)
    assert asked == [[deadly.module, fine.module]]
    assert failure_of(loaded, "deadly") == "its import ends the interpreter"
    assert in_use(loaded) == {"fine"}


def test_an_interrupt_from_the_keyboard_is_no_failure_of_the_plugin(write: Write) -> None:
    # The plugin sends what Ctrl-C sends.
    source = f"import os, signal, time\nos.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(5)\n"
    slow = write("slow", source, sound=False)
    # Whoever starts the tests in the background may have taken the handler away.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            load([slow])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# Hooks of one proof type


def test_hooks_are_called_on_the_plugin_that_registered_the_type(write: Write) -> None:
    hooks = """
        calls = []

        @hookimpl
        def validate(parameters):
            calls.append("validate")
            return [Problem("start_timestamp", "NAME objects"), Problem("", "as a whole")]

        @hookimpl
        def inputs(parameters):
            calls.append("inputs")
            return {"all": hourly_base_fees(TimeRange(0, 3600))}

        @hookimpl
        def dispatch(job):
            calls.append("dispatch")
            return Dispatch(queue="NAME", delay_seconds=5)

        @hookimpl
        def verify(claimed):
            calls.append("verify")
            return Verdict(accepted=False, reason="NAME says no")
    """
    a, b = (write(name, COMPUTE + textwrap.dedent(hooks)) for name in "ab")
    loaded = load([a, b, write("plain", COMPUTE)])
    owner = loaded.for_type("a")

    assert owner.validate(PARAMETERS) == [
        Problem("a.start_timestamp", "a objects"),
        Problem("a", "as a whole"),
    ]
    assert owner.inputs(PARAMETERS) == {"all": hourly_base_fees(TimeRange(0, 3600))}
    assert owner.dispatch(JobRequest("a", PARAMETERS)) == Dispatch("a", 5)
    assert owner.verify(PARAMETERS, INPUTS, SEED, 1) == Verdict(False, "a says no")  # noqa: FBT003
    assert sys.modules[a.module].calls == ["validate", "inputs", "dispatch", "verify"]
    assert sys.modules[b.module].calls == []
    assert loaded.for_type("plain").validate(PARAMETERS) == []
    assert in_use(loaded) == {"a", "b", "plain"}


def test_a_plugin_that_leaves_a_hook_out_gets_the_stated_default(write: Write) -> None:
    hooks = load([write("seconds", COMPUTE)]).for_type("seconds")
    assert hooks.validate(PARAMETERS) == []
    assert hooks.inputs(PARAMETERS) == {"hourly_base_fee": hourly_base_fees(PARAMETERS.range)}
    assert hooks.dispatch(JobRequest("seconds", PARAMETERS)) == Dispatch("default", 0)
    result = hooks.compute(PARAMETERS, INPUTS, SEED)
    assert hooks.verify(PARAMETERS, INPUTS, SEED, result).accepted
    assert not hooks.verify(PARAMETERS, INPUTS, SEED, None).accepted


def test_without_a_range_the_default_is_no_data(write: Write) -> None:
    source = """
        @frozen
        class Empty:
            pass

        @hookimpl
        def proof_type():
            return ProofType(
                name="NAME", title="NAME", version="1", parameters=Empty, result=Result
            )
    """
    hooks = load([write("seconds", COMPUTE + textwrap.dedent(source))]).for_type("seconds")
    assert hooks.inputs(hooks.proof_type.parameters()) == {}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("raise ValueError('no')", "raised ValueError: no"),
        ("raise SystemExit(1)", "raised SystemExit: 1"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("return 'nonsense'", "returned 'nonsense', not"),
        ("return ['nonsense']", "returned ['nonsense'], not"),
        ("return 'x' * 100_000", "returned 'xxx"),
    ],
)
def test_a_hook_that_misbehaves_is_named_with_its_plugin(
    write: Write, body: str, complaint: str
) -> None:
    source = "".join(
        f"@hookimpl\ndef {signature}:\n    {body}\n"
        for signature in ("validate(parameters)", "inputs(parameters)", "dispatch(job)")
    )
    hooks = load([write("seconds", COMPUTE + source)]).for_type("seconds")
    calls: dict[str, Callable[[], object]] = {
        "validate": lambda: hooks.validate(PARAMETERS),
        "inputs": lambda: hooks.inputs(PARAMETERS),
        "dispatch": lambda: hooks.dispatch(JobRequest("seconds", PARAMETERS)),
    }
    for name, call in calls.items():
        with pytest.raises(PluginError) as caught:
            call()
        assert str(caught.value).startswith(f"plugin seconds: its hook {name} {complaint}")
        assert len(str(caught.value)) < 1000


def test_a_refusal_of_a_job_is_passed_on_as_it_is(write: Write) -> None:
    source = """
        @hookimpl
        def inputs(parameters):
            raise RangeTooShort("too short")

        @hookimpl
        def dispatch(job):
            raise ProofError("not today")
    """
    hooks = load([write("seconds", COMPUTE + textwrap.dedent(source))]).for_type("seconds")
    with pytest.raises(ProofError, match=r"^too short$") as caught:
        hooks.inputs(PARAMETERS)
    assert caught.value.code == "range_too_short"
    with pytest.raises(ProofError, match=r"^not today$"):
        hooks.dispatch(JobRequest("seconds", PARAMETERS))


def test_a_refusal_while_a_request_is_checked_is_a_problem_of_the_request(write: Write) -> None:
    source = "@hookimpl\ndef validate(parameters):\n    raise EmptyRange('nothing in it')\n"
    loaded = load([write("seconds", COMPUTE + source)])
    service = ProvingService(loaded, None, None)  # type: ignore[arg-type] # it stores nothing
    body = b'{"job_group_id": "g", "seconds": {"start_timestamp": 1, "end_timestamp": 2}}'

    async def submit() -> None:
        try:
            await service.submit(service.parse(body))
        finally:
            await service.close()

    with pytest.raises(RequestError) as caught:
        asyncio.run(submit())
    assert caught.value.problems == (Problem("seconds", "nothing in it"),)
    assert caught.value.group_id == "g"


def test_a_hook_that_would_end_the_loop_does_not(write: Write) -> None:
    source = "@hookimpl\ndef validate(parameters):\n    raise SystemExit\n"
    hooks = load([write("seconds", COMPUTE + source)]).for_type("seconds")

    async def handle() -> str:
        try:
            hooks.validate(PARAMETERS)
        except PluginError as error:
            return str(error)
        return ""

    async def main() -> str:
        return await asyncio.create_task(handle())

    assert asyncio.run(main()) == "plugin seconds: its hook validate raised SystemExit"


def test_which_proof_types_are_required_is_the_operators_word(write: Write) -> None:
    loaded = load([write("seconds", COMPUTE)])
    required = loaded.requiring(["seconds", "elsewhere"])
    assert required.proof_types["seconds"].required
    assert not required.requiring([]).proof_types["seconds"].required
    assert loaded.requiring(None) is loaded
    with pytest.raises(RequestError, match=r"seconds: is required \(PROVER_REQUIRED\)"):
        parse_group_request(b'{"job_group_id": "g"}', required.proof_types)


# Attachments

ATTACHING = HEAD.replace(
    "result=Result\n",
    "result=Result,\n        limits=Limits(attachments=1, attachments_bytes=2**20),\n",
)


def test_a_plugin_that_attaches_more_than_the_service_stores_is_not_used(write: Write) -> None:
    source = ATTACHING + COMPUTE.replace("parameters)", "parameters, work)", 1)
    candidate = write("large", source, sound=False)
    (enough,) = load([candidate], attachment_bytes=2**20).found
    assert enough.failure is None
    (refused,) = load([candidate], attachment_bytes=2**20 - 1).found
    assert refused.failure == (
        "its results may have attachments of 1,048,576 bytes, and this service stores 1,048,575 "
        "of one result at the most (PROVER_ATTACHMENTS_MB)"
    )


def test_a_plugin_that_attaches_and_takes_no_work_is_not_used(write: Write) -> None:
    (refused,) = load([write("idle", ATTACHING + COMPUTE, sound=False)]).found
    assert refused.failure == (
        "its Limits allow attachments, and its hook compute does not take work"
    )
