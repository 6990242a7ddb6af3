"""Compute slots with real processes: what a plugin may do to itself, and to nobody else."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import psutil
import pytest
from waiting import gone, wait_until

from prover_framework.errors import (
    ComputeCrashed,
    ComputeOutOfMemory,
    ComputeRaised,
    ComputeTimeout,
    ProofError,
    ResultInvalid,
)
from prover_framework.model.series import HourlySeries, SeriesKind
from prover_framework.plugins.package_digest import package_digest
from prover_framework.sandbox import supervisor as supervisor
from prover_framework.sandbox.hooks import INPUTS as INPUTS_ARGUMENT
from prover_framework.sandbox.hooks import GivenData, type_path
from prover_framework.sandbox.limits import MAPPED_PART
from prover_framework.sandbox.protocol import HookCall
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

# A fresh interpreter on a machine with other things to do; nothing here takes as long.
AMPLE_SECONDS = 60.0

MEMORY_BYTES = 512 * 2**20

SERIES = HourlySeries(
    chain_id=1,
    simulated=True,
    kind=SeriesKind.BLOCKS,
    first_hour=3600,
    sums_wei=(10, 2**60),
    counts=(2, 1),
    first_block=7,
    last_block=9,
)
INPUTS = INPUTS_ARGUMENT.write(
    {"hourly_base_fee": GivenData(type_path(HourlySeries), unstructure(SERIES))}
)

PLUGIN = '''
import ctypes, os, resource, signal, subprocess, sys, threading, time
from pathlib import Path

from attrs import frozen

from prover_framework import ProofError, ProofType, hookimpl
PROVER_API = 1


class LabClosed(ProofError):
    code = "lab_closed"


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@frozen(kw_only=True)
class Parameters:
    action: str
    path: str = ""


@frozen(kw_only=True)
class Result:
    lab: float
    pid: int = 0
    text: str = ""


@frozen(kw_only=True)
class OtherResult:
    lab: float


@hookimpl
def proof_type():
    return ProofType(
        name="lab", title="Lab", version="1", parameters=Parameters, result=Result
    )


def say(path, text):
    """Leave a note that appears whole or not at all."""
    Path(path + ".part").write_text(text)
    os.rename(path + ".part", path)


@hookimpl
def compute(parameters, inputs, seed):
    return globals()["do_" + parameters.action](parameters, inputs, seed)


def answer(lab=1.0, text=""):
    return Result(lab=lab, pid=os.getpid(), text=text)


def do_answer(parameters, inputs, seed):
    return answer(float(sum(inputs["hourly_base_fee"].sums_wei)), seed.hex())


def do_refuse(parameters, inputs, seed):
    raise LabClosed("closed on Sundays")


def do_refuse_plainly(parameters, inputs, seed):
    raise ProofError("impossible")


def do_raise(parameters, inputs, seed):
    raise KeyError("what")


def do_raise_much(parameters, inputs, seed):
    raise ValueError("x" * 10**7 + "\\ud800")


def do_raise_unprintable(parameters, inputs, seed):
    raise Unprintable


def do_other_type(parameters, inputs, seed):
    return OtherResult(lab=1.0)


def do_nothing(parameters, inputs, seed):
    return None


def do_nan(parameters, inputs, seed):
    return answer(float("nan"))


def do_infinite(parameters, inputs, seed):
    return answer(float("inf"))


def do_wrong_field(parameters, inputs, seed):
    return answer("a string")


def do_huge(parameters, inputs, seed):
    return answer(text="x" * (65 * 2**20))


def do_print(parameters, inputs, seed):
    print("hello")
    sys.stdout.flush()
    os.write(1, b"raw bytes on standard output\\n")
    print("complaint", file=sys.stderr)
    return answer()


def do_exit(parameters, inputs, seed):
    os._exit(3)


def do_sys_exit(parameters, inputs, seed):
    sys.exit(4)


def do_segfault(parameters, inputs, seed):
    ctypes.string_at(0)


def do_recurse(parameters, inputs, seed):
    return do_recurse(parameters, inputs, seed)


def do_eat(parameters, inputs, seed):
    food = []
    while True:
        food.append(bytearray(16 * 2**20))


def do_hang(parameters, inputs, seed):
    say(parameters.path, str(os.getpid()))
    while True:
        time.sleep(60)


def do_spin(parameters, inputs, seed):
    say(parameters.path, str(os.getpid()))
    while True:
        pass


def do_start_child_and_hang(parameters, inputs, seed):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    say(parameters.path, str(child.pid))
    while True:
        time.sleep(60)


def do_fork_and_die(parameters, inputs, seed):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    say(parameters.path, str(child))
    os.kill(os.getpid(), signal.SIGSEGV)


def escape(path):
    """Start a process that leaves its parent, its session and its group."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say(path, str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(path):
        time.sleep(0.001)


def do_escape(parameters, inputs, seed):
    escape(parameters.path)
    return answer()


def do_escape_and_refuse(parameters, inputs, seed):
    escape(parameters.path)
    raise LabClosed("closed on Sundays")


def do_escape_and_hang(parameters, inputs, seed):
    escape(parameters.path)
    while True:
        time.sleep(60)


def do_escape_and_die(parameters, inputs, seed):
    escape(parameters.path)
    os.kill(os.getpid(), signal.SIGSEGV)


def do_breed(parameters, inputs, seed):
    """Processes that start others faster than they are found one by one."""
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            for _ in range(200):
                if os.fork() != 0:
                    os._exit(0)
                os.setsid()
            time.sleep(600)
    return answer()


def do_leave_thread(parameters, inputs, seed):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return answer()


def do_odd_signal(parameters, inputs, seed):
    os.kill(os.getpid(), signal.SIGRTMIN + 5)


def do_environment(parameters, inputs, seed):
    return answer(text="\\n".join(f"{k}={v}" for k, v in sorted(os.environ.items())))


def do_grow(parameters, inputs, seed):
    """Try to get more than the limits grant, as an ordinary user."""
    if os.getuid() == 0:
        os.setuid(65534)
    granted = []
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
        soft, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (soft, hard + 1))
            granted.append(str(kind))
        except ValueError:
            pass
    return answer(text=" ".join(granted))


def do_limits(parameters, inputs, seed):
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
    return answer(text=" ".join(str(resource.getrlimit(kind)[1]) for kind in kinds))


def do_fill_disk(parameters, inputs, seed):
    with open(parameters.path, "wb") as file:
        file.seek(2**40)
        file.write(b"x")


def do_dumpable(parameters, inputs, seed):
    return answer(text=str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)))


def do_escape_and_kill_supervisor(parameters, inputs, seed):
    escape(parameters.path)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def do_deafen(parameters, inputs, seed):
    os.closerange(3, 256)
    time.sleep(600)
'''

# A service that survives the crash of a computation.
SERVICE = """
import asyncio, sys
from prover_framework.errors import ComputeCrashed
from prover_framework.sandbox.protection import protect_service
from prover_framework.sandbox.limits import MAPPED_PART
from prover_framework.sandbox.protocol import HookCall
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.json_text import parse_json
from prover_framework.serialization.converter import structure

async def main():
    protect_service()
    slot, bystander = Slot(), Slot()
    await bystander.start()
    try:
        await slot.run(structure(parse_json(sys.argv[1].encode()), HookCall), seconds=60)
    except ComputeCrashed:
        print("crashed", flush=True)
    print(bystander._running.process.returncode, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await bystander.kill()

asyncio.run(main())
"""

# A worker that only holds a slot: computes one task, or starts the process and waits.
HOLDER = """
import asyncio, sys
from prover_framework.sandbox.limits import MAPPED_PART
from prover_framework.sandbox.protocol import HookCall
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.json_text import parse_json
from prover_framework.serialization.converter import structure

async def main():
    slot = Slot()
    await slot.start()
    print(slot._running.process.pid, flush=True)
    if len(sys.argv) > 1:
        await slot.run(structure(parse_json(sys.argv[1].encode()), HookCall), seconds=600)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "prover_test_lab.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(modules))


def task(
    action: str,
    *,
    path: Path | None = None,
    memory_bytes: int = MEMORY_BYTES,
    module: str = "prover_test_lab",
) -> HookCall:
    return HookCall(
        plugin="lab",
        module=module,
        package_digest=package_digest("prover_test_lab").hex(),
        memory_bytes=memory_bytes,
        hook="compute",
        arguments={
            "parameters": {"action": action, "path": str(path or "")},
            "inputs": INPUTS,
            "seed": "ab" * 32,
            "settings": None,
        },
    )


@asynccontextmanager
async def opened(slot: Slot | None = None) -> AsyncIterator[Slot]:
    """Give a slot for as long as the body takes, and for no longer than it may take."""
    slot = slot or Slot()
    try:
        async with asyncio.timeout(2 * AMPLE_SECONDS):
            yield slot
    finally:
        await slot.kill()


async def compute(
    slot: Slot, job: HookCall, *, seconds: float = AMPLE_SECONDS
) -> dict[str, object]:
    return await slot.run(job, seconds=seconds)


async def works(slot: Slot) -> bool:
    return (await compute(slot, task("answer")))["lab"] == float(2**60 + 10)


def forks() -> set[int]:
    """Return the processes that are forks of a supervisor that this one has started."""
    mark = [supervisor.__file__, str(os.getpid())]
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if set(mark) <= set(process.info["cmdline"] or ()) and not gone(process.pid)
    }


async def written(path: Path) -> int:
    """Wait for the plugin's note and return the process id in it."""
    await asyncio.to_thread(wait_until, path.exists, seconds=AMPLE_SECONDS)
    return int(await asyncio.to_thread(path.read_text))


async def test_a_result_comes_back_exactly() -> None:
    async with opened() as slot:
        result = await compute(slot, task("answer"))
        assert result["lab"] == float(2**60 + 10)
        assert result["text"] == "ab" * 32
        assert result["pid"] != os.getpid()


async def test_the_process_is_kept_for_the_next_task() -> None:
    async with opened() as slot:
        first = await compute(slot, task("answer"))
        with pytest.raises(ProofError):
            await compute(slot, task("refuse"))
        assert (await compute(slot, task("answer")))["pid"] == first["pid"]


@pytest.mark.parametrize(
    ("action", "code", "message"),
    [
        ("refuse", "lab_closed", "closed on Sundays"),
        ("refuse_plainly", "proof_impossible", "impossible"),
    ],
)
async def test_a_proof_error_keeps_its_code_and_message(
    action: str, code: str, message: str
) -> None:
    async with opened() as slot:
        with pytest.raises(ProofError) as caught:
            await compute(slot, task(action))
        assert (caught.value.code, str(caught.value)) == (code, message)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ("raise", ComputeRaised, r"raised KeyError: 'what'"),
        ("recurse", ComputeRaised, r"raised RecursionError"),
        ("raise_unprintable", ComputeRaised, r"raised Unprintable: \(its text cannot be shown"),
        ("other_type", ResultInvalid, r"returned OtherResult, not Result"),
        ("nothing", ResultInvalid, r"returned NoneType, not Result"),
        ("nan", ResultInvalid, r"returned what has no JSON form"),
        ("infinite", ResultInvalid, r"returned what has no JSON form"),
        ("wrong_field", ResultInvalid, r"returned what has no JSON form: lab"),
        ("huge", ResultInvalid, r"returned 68157\d+ bytes, more than"),
        ("exit", ComputeCrashed, r"took its process down: it exited with status 3"),
        ("sys_exit", ComputeCrashed, r"took its process down: it exited with status 4"),
        ("segfault", ComputeCrashed, r"took its process down: it was ended by SIGSEGV"),
        ("odd_signal", ComputeCrashed, r"took its process down: it was ended by signal 39"),
        ("eat", ComputeOutOfMemory, r"(needed|held) .*more .*than its limit of 1,024 MiB"),
    ],
)
async def test_a_failure_has_its_name_and_the_slot_recovers(
    action: str, error: type[Exception], message: str
) -> None:
    async with opened() as slot:
        with pytest.raises(error, match=f"^plugin lab: its hook compute {message}"):
            await compute(slot, task(action, memory_bytes=2 * MEMORY_BYTES))
        assert await works(slot)


async def test_a_message_of_any_length_and_content_is_cut() -> None:
    async with opened() as slot:
        with pytest.raises(ComputeRaised) as caught:
            await compute(slot, task("raise_much"))
        assert "raised ValueError: xxx" in str(caught.value)
        assert len(str(caught.value)) < 1000
        str(caught.value).encode()


async def test_a_module_that_is_not_there_is_an_error_of_the_task() -> None:
    async with opened() as slot:
        with pytest.raises(ComputeRaised, match="no_such_module"):
            await compute(slot, task("answer", module="no_such_module"))
        assert await works(slot)


async def test_printing_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async with opened() as slot:
        assert (await compute(slot, task("print")))["lab"] == 1.0
        assert await works(slot)
    printed = capfd.readouterr()
    assert printed.out == "", "what the command prints is for programs"
    assert "raw bytes on standard output" in printed.err
    assert "complaint" in printed.err


@pytest.mark.parametrize("action", ["hang", "spin"])
async def test_a_computation_that_overruns_is_ended(action: str, tmp_path: Path) -> None:
    async with opened() as slot:
        assert await works(slot)
        with pytest.raises(ComputeTimeout, match=r"did not return within its limit of 0\.5 s"):
            await compute(slot, task(action, path=tmp_path / "pid"), seconds=0.5)
        assert gone(await written(tmp_path / "pid"))
        assert await works(slot)


async def test_a_cancelled_call_kills_its_process(tmp_path: Path) -> None:
    async with opened() as slot:
        call = asyncio.create_task(compute(slot, task("spin", path=tmp_path / "pid")))
        pid = await written(tmp_path / "pid")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert gone(pid)
        assert await works(slot)


async def test_a_call_that_is_cancelled_while_the_process_starts_leaves_none_behind() -> None:
    async with opened() as slot:
        before = {child.pid for child in psutil.Process().children()}
        for steps in range(0, 40, 4):
            call = asyncio.create_task(compute(slot, task("answer")))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert await works(slot)
        await slot.kill()
        left = {child.pid for child in psutil.Process().children()} - before
        wait_until(lambda: all(gone(pid) for pid in left), seconds=AMPLE_SECONDS)


async def test_what_a_plugin_has_started_dies_with_it(tmp_path: Path) -> None:
    async with opened() as slot:
        await slot.start()
        call = asyncio.create_task(
            compute(slot, task("start_child_and_hang", path=tmp_path / "pid"))
        )
        grandchild = await written(tmp_path / "pid")
        assert not gone(grandchild)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        wait_until(lambda: gone(grandchild), seconds=AMPLE_SECONDS)


@pytest.mark.parametrize(
    ("action", "error"),
    [("escape", None), ("escape_and_refuse", ProofError), ("escape_and_die", ComputeCrashed)],
)
async def test_what_has_left_its_session_ends_with_its_task(
    action: str, error: type[Exception] | None, tmp_path: Path
) -> None:
    async with opened() as slot:
        before = await compute(slot, task("answer"))
        with pytest.raises(error) if error else nullcontext():
            await compute(slot, task(action, path=tmp_path / "pid"))
        assert gone(await written(tmp_path / "pid")), "it outlives its task"
        after = await compute(slot, task("answer"))
        assert (after["pid"] == before["pid"]) == (error is not ComputeCrashed)


async def test_what_has_left_its_session_ends_with_a_cancelled_call(tmp_path: Path) -> None:
    async with opened() as slot:
        call = asyncio.create_task(compute(slot, task("escape_and_hang", path=tmp_path / "pid")))
        escaped = await written(tmp_path / "pid")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert gone(escaped)
        assert await works(slot)


async def test_processes_that_start_others_all_end() -> None:
    async with opened() as slot:
        result = await compute(slot, task("breed"))
        assert slot._running is not None
        assert forks() == {slot._running.process.pid, result["pid"]}
        await slot.kill()
        assert forks() == set()


async def test_a_thread_that_goes_on_ends_with_its_process() -> None:
    async with opened() as slot:
        result = await compute(slot, task("leave_thread"))
        assert result["lab"] == 1.0
        assert gone(int(str(result["pid"])))
        assert await works(slot)


async def test_a_fork_that_outlives_its_process_hides_no_crash(tmp_path: Path) -> None:
    """The fork holds the socket open, so its end does not tell that the process is gone."""

    async with opened() as slot:
        with pytest.raises(ComputeCrashed, match="SIGSEGV"):
            await compute(slot, task("fork_and_die", path=tmp_path / "pid"))
        fork = await written(tmp_path / "pid")
        wait_until(lambda: gone(fork), seconds=AMPLE_SECONDS)
        assert await works(slot)


async def test_a_process_that_dies_between_tasks_hurts_no_task() -> None:
    async with opened() as slot:
        first = await compute(slot, task("answer"))
        assert slot._running is not None
        process = slot._running.process
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        assert (await compute(slot, task("answer")))["pid"] != first["pid"]


async def test_a_process_that_closes_its_connection_is_replaced() -> None:
    async with opened(Slot(exit_seconds=0.1)) as slot:
        with pytest.raises(ComputeCrashed, match="closed its process's connection"):
            await compute(slot, task("deafen"))
        assert await works(slot)


async def test_the_memory_limit_is_the_tasks() -> None:
    async with opened() as slot:
        with pytest.raises(ComputeOutOfMemory):
            await compute(slot, task("eat"))
        assert await works(slot)
        # A process has one hard limit. A task that needs more gets another process, which then
        # serves those that need less.
        usual = await compute(slot, task("answer"))
        small = await compute(slot, task("answer", memory_bytes=MEMORY_BYTES // 2))
        large = await compute(slot, task("answer", memory_bytes=2 * MEMORY_BYTES))
        again = await compute(slot, task("answer"))
        assert usual["pid"] == small["pid"] != large["pid"] == again["pid"]


async def test_the_plugin_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "secret-1",
        "DATABASE_URL": "postgresql://user:secret-2@host/db",
        "PROVER_SIGNING_KEY": "secret-3",
        "GITHUB_TOKEN": "secret-4",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)

    async with opened() as slot:
        environment = str((await compute(slot, task("environment")))["text"])
        assert "OMP_NUM_THREADS=1" in environment
        assert "secret-" not in environment
        for name in secrets:
            assert name not in environment


async def test_limits_are_hard() -> None:
    async with opened() as slot:
        memory, processes, core = str((await compute(slot, task("limits")))["text"]).split()
        assert int(memory) == MAPPED_PART * MEMORY_BYTES
        assert 0 < int(processes) < 100_000
        assert int(core) == 0
        assert (await compute(slot, task("grow")))["text"] == "", "more than was granted"


async def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    async with opened() as slot:
        with pytest.raises(ComputeRaised, match="File too large"):
            await compute(slot, task("fill_disk", path=tmp_path / "large"))
        assert await works(slot)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
async def test_other_processes_of_the_user_can_not_read_its_memory() -> None:
    async with opened() as slot:
        assert (await compute(slot, task("dumpable")))["text"] == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process inherit others")
def test_what_has_left_its_session_and_killed_its_supervisor_ends_all_the_same(
    tmp_path: Path,
) -> None:
    call = task("escape_and_kill_supervisor", path=tmp_path / "pid")
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE, dump_json(unstructure(call))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert service.stdout is not None
        assert service.stdout.readline() == "crashed\n"
        assert gone(int((tmp_path / "pid").read_text())), "it outlives its supervisor"
        assert service.stdout.readline() == "None\n", "another slot's process was ended, too"
    finally:
        service.communicate(timeout=AMPLE_SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it")
def test_what_was_read_of_the_environment_is_shown_to_nobody_any_more() -> None:
    script = (
        "import os\n"
        "from prover_framework.sandbox.protection import scrub_environment\n"
        "scrub_environment(['DATABASE_URL', 'PROVER_RPC_URL'])\n"
        "assert 'DATABASE_URL' not in os.environ\n"
        "print(open('/proc/self/environ').read(), os.environ['KEPT'])\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "DATABASE_URL": "postgres://u:secret-1@h/db", "KEPT": "kept"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "secret-1" not in shown
    assert shown.endswith("kept\n")


async def test_a_keeper_that_is_killed_takes_its_process_along() -> None:
    async with opened() as slot:
        first = int(str((await compute(slot, task("answer")))["pid"]))
        assert slot._running is not None
        process = slot._running.process
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        wait_until(lambda: gone(first), seconds=AMPLE_SECONDS)
        assert await works(slot)


async def test_a_keeper_that_does_not_end_is_ended() -> None:
    async with opened(Slot(end_seconds=0.1)) as slot:
        first = int(str((await compute(slot, task("answer")))["pid"]))
        assert slot._running is not None
        pid = slot._running.process.pid
        os.kill(pid, signal.SIGSTOP)
        await slot.kill()
        assert gone(pid)
        wait_until(lambda: gone(first), seconds=AMPLE_SECONDS)


async def test_killing_a_slot_twice_or_before_its_start_is_no_error() -> None:
    async with opened() as slot:
        await slot.kill()
        await slot.start()
        await slot.kill()
        await slot.kill()
        assert await works(slot)


async def test_slots_are_apart(tmp_path: Path) -> None:
    async with opened() as slot:
        other = Slot()
        try:
            slow = asyncio.create_task(compute(slot, task("hang", path=tmp_path / "pid")))
            await written(tmp_path / "pid")
            with pytest.raises(ComputeCrashed):
                await compute(other, task("segfault"))
            assert await works(other)
            assert not slow.done()
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
        finally:
            await other.kill()


@pytest.mark.parametrize("action", ["", "spin", "escape_and_hang"])
def test_the_process_dies_with_its_killed_parent(action: str, tmp_path: Path) -> None:
    arguments = []
    if action:
        arguments = [dump_json(unstructure(task(action, path=tmp_path / "pid")))]
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert parent.stdout is not None
        kept_by = int(parent.stdout.readline())
        started = {kept_by}
        if action:
            wait_until((tmp_path / "pid").exists, seconds=AMPLE_SECONDS)
            started.add(int((tmp_path / "pid").read_text()))
            started.update(child.pid for child in psutil.Process(kept_by).children())
        assert not any(map(gone, started))
        parent.kill()
        parent.wait()
        wait_until(lambda: all(map(gone, started)), seconds=AMPLE_SECONDS)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
