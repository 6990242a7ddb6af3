"""What a computation that takes long tells, keeps and is told, with real processes."""

import asyncio
import logging
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import gone, until

from prover_framework.errors import ComputeOutOfMemory, ComputeTimeout, ResultInvalid
from prover_framework.model.limits import Limits
from prover_framework.model.work import MAX_PROGRESS_TEXT, Progress, Work
from prover_framework.plugins.calls import Candidate, ProofHooks
from prover_framework.plugins.loading import load
from prover_framework.sandbox import calls
from prover_framework.sandbox.notes import PLUGIN_LOGGER
from prover_framework.sandbox.slot import HeardSlot, Slot
from prover_framework.sandbox.telling import PROGRESS_AT_ONCE, Allowance

# A fresh interpreter on a machine with other things to do; nothing here takes as long.
AMPLE_SECONDS = 60.0

MIB = 2**20

PLUGIN = '''
import logging, os, signal, subprocess, sys, time
from pathlib import Path

from attrs import frozen

from prover_framework import ProofType, Work, hookimpl
PROVER_API = 1

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Parameters:
    action: str
    path: str = ""


@frozen(kw_only=True)
class Result:
    lab: float = 1.0
    text: str = ""


@hookimpl
def proof_type():
    return ProofType(name="lab", title="Lab", version="1", parameters=Parameters, result=Result)


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, work):
    return globals()["do_" + parameters.action](Path(parameters.path), work) or Result()


def do_tell(path, work):
    work.progress(0.25, "a quarter\\nof it")
    work.progress(7, "x" * 1000)
    for number in range(10_000):
        work.progress(number / 10_000)


def do_log(path, work):
    work.log.info("it %s", "begins")
    log.warning("two\\nlines")
    try:
        raise KeyError("what")
    except KeyError:
        log.exception("it failed")
    log.debug("not wanted")
    for number in range(1000):
        log.info("number %d", number)


def do_keep(path, work):
    file = work.directory / "n"
    count = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(count))
    return Result(text=f"{count} {work.directory}")


def do_forge(path, work):
    frame = sys._getframe()
    while "telling" not in frame.f_locals:
        frame = frame.f_back
    telling = frame.f_locals["telling"]
    telling._progress.spend = lambda: True
    while True:
        work.progress(0.5)


CHECKPOINT = """
import signal, sys, time
from pathlib import Path
path = Path(sys.argv[1])
def end(*_):
    Path(str(path) + ".checkpoint").write_text("as far as here")
    sys.exit()
signal.signal(signal.SIGTERM, end if sys.argv[2] == "ends" else signal.SIG_IGN)
Path(str(path) + ".part").write_text("")
Path(str(path) + ".part").rename(path)
time.sleep(1000)
"""


def do_subprocess(path, work, how="ends", **options):
    try:
        subprocess.run([sys.executable, "-c", CHECKPOINT, str(path), how], **options)
    finally:
        Path(str(path) + ".finally").write_text("")


def do_subprocess_apart(path, work):
    do_subprocess(path, work, start_new_session=True)


def do_subprocess_deaf(path, work):
    do_subprocess(path, work, "deaf")


def do_reserve(path, work):
    import mmap
    space = mmap.mmap(-1, 2**36, prot=0, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    space.close()


EAT = "food = [bytearray(b'x' * 2**20) for _ in range({})]; print(len(food)); input()"


def do_tree(path, work):
    eaters = [
        subprocess.Popen([sys.executable, "-c", EAT.format(100)], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    for eater in eaters:
        eater.wait()


def do_node(path, work):
    done = subprocess.run(
        ["node", "-e", "console.log(new WebAssembly.Memory({initial: 1}).buffer.byteLength)"],
        capture_output=True, text=True,
    )
    return Result(text=done.stdout.strip() or done.stderr[:300])


def do_java(path, work):
    done = subprocess.run(["java", "-version"], capture_output=True, text=True)
    return Result(text=str(done.returncode))
'''


class Heard:
    """Hears what is told."""

    subject = "g lab"

    def __init__(self) -> None:
        self.told: list[Progress] = []

    def progress(self, progress: Progress) -> None:
        self.told.append(progress)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProofHooks:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "prover_test_long_lab.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.delitem(sys.modules, "prover_test_long_lab", raising=False)
    candidate = Candidate("lab", "prover_test_long_lab", "prover-lab", "1")
    return load([candidate], strict=True).for_type("lab")


@asynccontextmanager
async def opened() -> AsyncIterator[Slot]:
    slot = Slot()
    try:
        async with asyncio.timeout(2 * AMPLE_SECONDS):
            yield slot
    finally:
        await slot.kill()


async def compute(
    slot: calls.Runner,
    lab: ProofHooks,
    action: str,
    *,
    path: Path | None = None,
    seconds: float = AMPLE_SECONDS,
    memory_bytes: int = 512 * MIB,
    directory: Path | None = None,
) -> dict[str, Any]:
    return await calls.compute(
        slot,
        lab,
        Limits(seconds, memory_bytes),
        parameters={"action": action, "path": str(path or "")},
        inputs={},
        seed=bytes(32),
        directory=directory,
    )


def note(path: Path, name: str) -> str | None:
    """Read a note that a process has left beside a path."""
    file = path.with_name(f"{path.name}.{name}")
    return file.read_text() if file.exists() else None


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Progress and log


async def test_progress_is_heard_bounded_in_size_and_rate(lab: ProofHooks) -> None:
    heard = Heard()
    async with opened() as slot:
        await compute(HeardSlot(slot, heard), lab, "tell")
    assert heard.told[:2] == [Progress(0.25, "a quarter of it"), Progress(1.0, "x" * 200)]
    assert MAX_PROGRESS_TEXT == 200
    assert len(heard.told) >= PROGRESS_AT_ONCE
    assert len(heard.told) < 1000, "ten thousand were told"


async def test_nobody_has_to_listen(lab: ProofHooks) -> None:
    async with opened() as slot:
        assert (await compute(slot, lab, "tell"))["lab"] == 1.0
    work = Work()
    work.progress(0.5)
    assert work.directory.is_dir()


async def test_who_tells_without_bounds_is_ended(lab: ProofHooks) -> None:
    async with opened() as slot:
        with pytest.raises(ResultInvalid, match="spoiled its process's reply"):
            await compute(slot, lab, "forge")
        assert (await compute(slot, lab, "tell"))["lab"] == 1.0


def test_an_allowance_fills_with_time() -> None:
    now = [0.0]
    allowance = Allowance(2, 10.0, lambda: now[0])
    assert [allowance.spend() for _ in range(3)] == [True, True, False]
    now[0] = 0.1
    assert [allowance.spend() for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [allowance.spend() for _ in range(3)] == [True, True, False]


async def test_records_reach_the_services_log_with_group_job_and_plugin(
    lab: ProofHooks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, PLUGIN_LOGGER)
    async with opened() as slot:
        await compute(HeardSlot(slot, Heard()), lab, "log")
    lines = [(one.levelname, one.getMessage()) for one in caplog.records]
    about = "g lab: plugin lab: prover_test_long_lab: "
    assert lines[:3] == [
        ("INFO", "g lab: plugin lab: work: it begins"),
        ("WARNING", f"{about}two lines"),
        ("ERROR", f"{about}it failed: KeyError: 'what'"),
    ]
    texts = [text for _, text in lines]
    assert f"{about}number 0" in texts
    assert not any("not wanted" in text for text in texts)
    assert len(texts) < 1000
    assert "more lines" in texts[-1], "what was left out is said"


# The kept directory


async def test_what_is_kept_is_there_at_the_next_attempt_at_the_same(
    lab: ProofHooks, tmp_path: Path
) -> None:
    async def text(**changes: Any) -> str:
        async with opened() as slot:
            found: str = (await compute(slot, lab, "keep", **changes))["text"]
            return found

    first, again = await text(directory=tmp_path / "j"), await text(directory=tmp_path / "j")
    assert (first.split()[0], again.split()[0]) == ("1", "2")
    kept = Path(again.split()[1])
    assert kept.parent == tmp_path / "j"
    assert mode(kept) == 0o700
    # Other arguments are another question.
    other = await text(directory=tmp_path / "j", path=Path("x"))
    assert other.split()[0] == "1"


async def test_without_a_directory_of_its_job_it_is_a_passing_one(lab: ProofHooks) -> None:
    async with opened() as slot:
        count, place = (await compute(slot, lab, "keep"))["text"].split()
        assert count == "1"
        assert not Path(place).parent.exists()
        count, _ = (await compute(slot, lab, "keep"))["text"].split()
        assert count == "1"


# Its end


@pytest.mark.parametrize("action", ["subprocess", "subprocess_apart"])
async def test_a_subprocess_writes_its_checkpoint_before_it_is_killed(
    lab: ProofHooks, tmp_path: Path, action: str
) -> None:
    path = tmp_path / "note"
    async with opened() as slot:
        running = asyncio.create_task(compute(slot, lab, action, path=path))
        await until(path.exists)
        running.cancel()
        await asyncio.wait({running})
    assert note(path, "checkpoint") == "as far as here"
    assert note(path, "finally") == ""


async def test_a_time_limit_is_told_by_sigterm_too(lab: ProofHooks, tmp_path: Path) -> None:
    path = tmp_path / "note"
    async with opened() as slot:
        # The process is there before the time begins to count.
        await compute(slot, lab, "tell")
        with pytest.raises(ComputeTimeout):
            await compute(slot, lab, "subprocess", path=path, seconds=5.0)
    assert not path.exists() or note(path, "checkpoint")


async def test_what_is_deaf_to_sigterm_is_killed_after_the_grace(
    lab: ProofHooks, tmp_path: Path
) -> None:
    path = tmp_path / "note"
    async with opened() as slot:
        running = asyncio.create_task(compute(slot, lab, "subprocess_deaf", path=path))
        await until(path.exists)
        running.cancel()
        await asyncio.wait({running})
    assert not [one for one in psutil.process_iter(["cmdline"]) if _is_of(one, path)]


def _is_of(process: psutil.Process, path: Path) -> bool:
    return str(path) in (process.info["cmdline"] or ()) and not gone(process.pid)


# Memory


async def test_reserved_address_space_is_no_memory(lab: ProofHooks) -> None:
    async with opened() as slot:
        assert (await compute(slot, lab, "reserve", memory_bytes=256 * MIB))["lab"] == 1.0


async def test_the_memory_of_all_that_it_starts_counts(lab: ProofHooks) -> None:
    async with opened() as slot:
        # Each of the processes alone holds less.
        limit = r"plugin lab: its hook compute held \d+ MiB of memory, more than its limit of 256"
        with pytest.raises(ComputeOutOfMemory, match=limit):
            await compute(slot, lab, "tree", memory_bytes=256 * MIB)
        assert (await compute(slot, lab, "tell"))["lab"] == 1.0


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_node_and_webassembly_run_below_the_limit(lab: ProofHooks) -> None:
    async with opened() as slot:
        assert (await compute(slot, lab, "node", memory_bytes=512 * MIB))["text"] == "65536"


@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
async def test_a_jvm_runs_below_the_limit(lab: ProofHooks) -> None:
    async with opened() as slot:
        assert (await compute(slot, lab, "java", memory_bytes=512 * MIB))["text"] == "0"
