"""Measure what the plugin layer costs: the calls of hooks for a job, and each of them."""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table
from support import (
    NOOP_PLUGIN,
    PROVER,
    free_port,
    install_plugin,
    post_all,
    process,
    wait_for_port,
)

from prover_framework.model.proofs import JobRequest, RangeParameters
from prover_framework.plugins.calls import Candidate, ProofHooks
from prover_framework.plugins.loading import load
from prover_framework.sandbox.calls import HookCalls, hook_call
from prover_framework.sandbox.hooks import COMPUTE
from prover_framework.sandbox.slot import Slot
from prover_framework.testing import series_of
from prover_framework.testing.compute import computation_of

END_HOUR = 1_704_067_200
DAYS = 90

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


def main() -> None:
    """Run all benchmarks and print a table for each."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="prover-bench-") as name:
        directory = Path(name)
        _one_call(console, directory)
        _calls_of_a_job(console, directory)
        _posts(console, directory)


def _one_call(console: Console, directory: Path) -> None:
    console.rule("One call of a hook that does nothing")
    site = directory / "site"
    install_plugin(site, "noop", NOOP_PLUGIN + VALIDATE)
    sys.path.insert(0, str(site))
    plugins = load([Candidate("noop", "noop_plugin", "noop-plugin", "1")], strict=True)
    hooks = plugins.for_type("noop")
    parameters = RangeParameters(start_timestamp=0, end_timestamp=3600)
    plain = _seconds(import_module("noop_plugin").validate, parameters)
    through = _seconds(hooks.validate, parameters)
    asked, computed = asyncio.run(_round_trips(HookCalls(plugins), hooks, parameters))
    table = Table("", "median", "more than a plain call")
    for what, seconds in (
        ("plain function", plain),
        ("through the plugin layer", through),
        ("validate, in a process that can be ended", asked),
        ("compute, likewise, over one hour", computed),
    ):
        table.add_row(what, f"{seconds * 1e6:,.2f} µs", f"{(seconds - plain) * 1e6:,.2f} µs")
    console.print(table)


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


def _calls_of_a_job(console: Console, directory: Path) -> None:
    console.rule(f"Hook calls of a job over {DAYS} days, in a whole service")
    data = directory / "jobs"
    environment = {**os.environ, "PROVER_DATA_DIR": str(data), "PROVER_LOG_LEVEL": "ERROR"}
    simulate = ["headers", "simulate", "--days", str(DAYS), "--end", str(END_HOUR)]
    subprocess.run([PROVER, *simulate], env=environment, check=True, stdout=subprocess.DEVNULL)
    log = directory / "trace"
    with log.open("w") as trace:
        service = subprocess.Popen(
            [PROVER, "up", "--port", "0"],
            env={**environment, "PROVER_PLUGIN_TRACE": "true"},
            stderr=trace,
        )
        try:
            window = f"{END_HOUR - DAYS * 86400}..{END_HOUR}"
            for number in range(GROUPS):
                command = ["submit", "--id", f"b{number}", "--range", window, "--wait", "--json"]
                subprocess.run(
                    [PROVER, *command], env=environment, check=True, stdout=subprocess.DEVNULL
                )
        finally:
            service.terminate()
            service.wait(60)
    calls: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for plugin, hook, milliseconds in TRACED.findall(log.read_text()):
        calls[plugin, hook].append(float(milliseconds))
    table = Table("plugin", "hook", "calls for a job", "median of a call")
    for (plugin, hook), times in sorted(calls.items()):
        # Registration belongs to the start of a process, not to a job.
        if hook not in ("proof_type", "seal_type"):
            table.add_row(
                plugin, hook, f"{len(times) / GROUPS:g}", f"{statistics.median(times):.3f} ms"
            )
    console.print(table)


def _posts(console: Console, directory: Path) -> None:
    console.rule("POST /api/job, one job each, with and without a hook that validates it")
    table = Table("", "groups/s")
    for what, name, source in (
        ("no hook", "noop", NOOP_PLUGIN),
        ("validate, in its process", "checked", NOOP_PLUGIN.replace("noop", "checked") + VALIDATE),
    ):
        extra = install_plugin(directory / f"site-{name}", name, source)
        port = free_port()
        with process(["api", "--port", str(port)], directory / name, extra):
            wait_for_port(port)
            asyncio.run(post_all(port, CONNECTIONS, 1, "warm", [name]))
            rate = asyncio.run(post_all(port, POSTS, CONNECTIONS, "all", [name]))
        table.add_row(what, f"{rate:,.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
