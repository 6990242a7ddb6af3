"""Measure what the plugin layer costs: the calls of hooks for a job, and each of them."""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module

from bench_plugins import NOOP_PLUGIN, install_plugin
from checkouts import this
from jobs import wait_for_all
from load import one_of, posts, round_of
from processes import STOP_SECONDS, api, free_port, wait_for_port
from report import Table
from stand import Engine, Stand

from prover_framework.model.proofs import JobRequest, RangeParameters
from prover_framework.plugins.calls import Candidate, ProofHooks
from prover_framework.plugins.loading import load
from prover_framework.sandbox.calls import HookCalls, hook_call
from prover_framework.sandbox.hooks import COMPUTE
from prover_framework.sandbox.slot import Slot
from prover_framework.testing import series_of
from prover_framework.testing.compute import computation_of

CALLS = 20_000
ROUND_TRIPS = 1_000
GROUPS = 20
POSTS = 3_000
CONNECTIONS = 64

VALIDATE = """
@hookimpl
def validate(parameters):
    return None
"""

TRACED = re.compile(r"plugin (\w+): its hook (\w+) .* after ([\d.]+) ms")


def layer(stand: Stand) -> Iterator[Table]:
    """Measure one call of a hook, and those of a job."""
    yield _one_call(stand)
    yield _calls_of_a_job(stand)
    yield _posts(stand)


def _one_call(stand: Stand) -> Table:
    site = stand.folder("site")
    install_plugin(site, "noop", NOOP_PLUGIN + VALIDATE)
    sys.path.insert(0, str(site))
    plugins = load([Candidate("noop", "noop_plugin", "noop-plugin", "1")], strict=True)
    hooks = plugins.for_type("noop")
    parameters = RangeParameters(start_timestamp=0, end_timestamp=3600)
    plain = _seconds(import_module("noop_plugin").validate, parameters)
    through = _seconds(hooks.validate, parameters)
    asked, computed = asyncio.run(_round_trips(HookCalls(plugins), hooks, parameters))
    rows = [
        (what, f"{seconds * 1e6:,.2f} µs", f"{(seconds - plain) * 1e6:,.2f} µs")
        for what, seconds in (
            ("plain function", plain),
            ("through the plugin layer", through),
            ("validate, in a process that can be ended", asked),
            ("compute, likewise, over one hour", computed),
        )
    ]
    columns = ("", "median", "more than a plain call")
    return Table("One call of a hook that does nothing", columns, rows)


def _seconds(call: Callable[[object], object], argument: object) -> float:
    rounds = []
    for _ in range(9):
        began = time.perf_counter()
        for _ in range(CALLS):
            call(argument)
        rounds.append((time.perf_counter() - began) / CALLS)
    return statistics.median(rounds)


async def _round_trips(
    hook_calls: HookCalls, hooks: ProofHooks, parameters: RangeParameters
) -> tuple[float, float]:
    job = JobRequest("noop", parameters)
    computation = computation_of(hooks, parameters, {"hourly_base_fee": series_of([(1, 1)])})
    call = hook_call(
        COMPUTE,
        hooks,
        hooks.proof_type.limits.memory_bytes,
        parameters=computation.form,
        inputs=computation.given,
        seed=computation.seed,
    )
    slot = Slot()
    asked, computed = [], []
    try:
        # The first call starts a process and imports the plugin.
        await hook_calls.validate(job)
        await slot.run(call, seconds=60)
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            await hook_calls.validate(job)
            asked.append(time.perf_counter() - began)
            began = time.perf_counter()
            await slot.run(call, seconds=60)
            computed.append(time.perf_counter() - began)
    finally:
        await hook_calls.close()
        await slot.kill()
    return statistics.median(asked), statistics.median(computed)


def _calls_of_a_job(stand: Stand) -> Table:
    place = stand.place(this(), Engine.SQLITE)
    place.run(["headers", "import", stand.hours])
    log = stand.folder("trace") / "log"
    traced = {**os.environ, **place.environment, "PROVER_PLUGIN_TRACE": "true"}
    port = free_port()
    with log.open("w") as trace:
        service = subprocess.Popen(
            [place.checkout.prover, "up", "--port", str(port)], env=traced, stderr=trace
        )
        try:
            wait_for_port(port)
            posts(port, [round_of(f"b{number}", number) for number in range(GROUPS)], 1)
            with place.reader() as reader:
                wait_for_all(reader)
        finally:
            service.terminate()
            service.wait(STOP_SECONDS)
    calls: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for plugin, hook, milliseconds in TRACED.findall(log.read_text()):
        calls[plugin, hook].append(float(milliseconds))
    rows = [
        (plugin, hook, f"{len(times) / GROUPS:g}", f"{statistics.median(times):.3f} ms")
        for (plugin, hook), times in sorted(calls.items())
        # Registration belongs to the start of a process, not to a job.
        if hook not in ("proof_type", "seal_type")
    ]
    columns = ("plugin", "hook", "calls for a job", "median of a call")
    return Table("Hook calls of a job over 90 days, in a whole service", columns, rows)


def _posts(stand: Stand) -> Table:
    rows = []
    for what, name, source in (
        ("no hook", "noop", NOOP_PLUGIN),
        ("validate, in its process", "checked", NOOP_PLUGIN.replace("noop", "checked") + VALIDATE),
    ):
        plugin = install_plugin(stand.folder("site"), name, source)
        place = stand.place(this(), Engine.SQLITE).given(plugin)
        with api(place.checkout, place.environment) as (_, port):
            posts(port, [one_of(name, f"warm-{number}") for number in range(CONNECTIONS)], 1)
            bodies = [one_of(name, f"all-{number}") for number in range(POSTS)]
            rows.append((what, f"{posts(port, bodies, CONNECTIONS).rate:,.0f}"))
    title = "POST /api/job, one job each, with and without a hook that validates it"
    return Table(title, ("", "groups/s"), rows)
