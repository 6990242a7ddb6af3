"""Modules that end the interpreter or hang are found in a child process."""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from waiting import gone, wait_until

from prover_framework.plugins import loading as plugins
from prover_framework.plugins.calls import Candidate
from prover_framework.sandbox.import_check import find_deadly

numbers = count()

# Above what importing these few lines takes on a busy machine, below anybody's patience.
TIMEOUT = 2.0

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    monkeypatch.syspath_prepend(tmp_path)

    def module(source: str) -> str:
        name = f"probed_by_a_test_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        return name

    yield module
    assert not [name for name in sys.modules if name.startswith("probed_by_a_test_")]


def test_sound_and_merely_broken_modules_are_not_deadly(write: Write) -> None:
    modules = [
        write("x = 1"),
        write("1 / 0"),
        write("def broken(:"),
        "a_module_that_is_not_there",
        write("print('x' * 100_000); import sys; print('y', file=sys.stderr)"),
        write("input()"),
        write("import atexit, os; atexit.register(os._exit, 3)"),
        write("import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"),
    ]
    assert find_deadly(modules, timeout=50) == {}
    assert find_deadly([]) == {}


def test_modules_that_end_the_interpreter_are_named_and_the_others_are_still_tried(
    write: Write,
) -> None:
    fine = write("x = 1")
    leaves = write("import os; os._exit(0)")
    exits = write("raise SystemExit(3)")
    interrupts = write("raise KeyboardInterrupt")
    crashes = write("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")

    deadly = find_deadly([leaves, fine, exits, interrupts, fine, crashes, fine], timeout=20)

    assert set(deadly) == {leaves, exits, interrupts, crashes}
    assert deadly[leaves] == "loading it ends the interpreter (exit status 0)"
    assert deadly[exits] == "loading it ends the interpreter (exit status 3)"
    assert deadly[crashes] == "loading it ends the interpreter (signal 11)"


def test_a_module_that_waits_for_ever_is_ended_with_all_it_started(
    write: Write, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    hangs = write(
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    fine = write("x = 1")

    deadly = find_deadly([fine, hangs, fine], timeout=TIMEOUT)

    assert deadly == {hangs: "loading it did not come to an end within 2 s"}
    pid = int(note.read_text("utf-8"))
    wait_until(lambda: gone(pid), seconds=10)


HOOKS = """
import os, time
from prover_framework import hookimpl
PROVER_API = 1

@hookimpl
def proof_type():
    {}
"""


def test_what_a_plugin_does_when_it_registers_is_tried_as_well(write: Write) -> None:
    exits = write(HOOKS.format("os._exit(9)"))
    hangs = write(HOOKS.format("time.sleep(600)"))
    raises = write(HOOKS.format("1 / 0"))
    leaves = write(HOOKS.format("raise SystemExit"))
    assert find_deadly([raises, exits, leaves, hangs, raises], timeout=TIMEOUT) == {
        exits: "loading it ends the interpreter (exit status 9)",
        hangs: "loading it did not come to an end within 2 s",
    }


def test_a_plugin_that_eats_memory_at_its_import_is_found(write: Write) -> None:
    eats = write("food = [bytearray(2**20) for _ in range(2**20)]")
    fine = write("x = 1")
    assert find_deadly([fine, eats, fine], memory_bytes=2**29) == {
        eats: "loading it needs more than 512 MiB of memory"
    }


def test_the_limit_on_time_is_for_each_module(write: Write) -> None:
    slow = [write("import time; time.sleep(1.2)") for _ in range(3)]
    assert find_deadly(slow, timeout=TIMEOUT) == {}


@pytest.mark.parametrize(
    "left",
    [
        "import os, threading\nthreading.Timer(0.5, os._exit, (7,)).start()",
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.5)",
        "import resource\nfood = bytearray(300 * 2**20)",
    ],
)
def test_the_innocent_one_is_not_blamed_for_what_another_has_left(write: Write, left: str) -> None:
    guilty = write(left)
    innocent = write("import time\ntime.sleep(1)\nfood = bytearray(300 * 2**20)")
    assert innocent not in find_deadly([guilty, innocent], timeout=20, memory_bytes=700 * 2**20)


@pytest.mark.parametrize("then", ["", "os._exit(1)", "time.sleep(600)"])
def test_what_has_left_its_session_ends_with_the_probe(
    write: Write, tmp_path: Path, then: str
) -> None:
    note = tmp_path / "pid"
    escapes = write(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    open({str(note)!r} + '.part', 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(note)!r} + '.part', {str(note)!r})\n"
        "    time.sleep(600)\n"
        f"while not os.path.exists({str(note)!r}): time.sleep(0.001)\n" + then
    )
    assert set(find_deadly([escapes], timeout=TIMEOUT)) == ({escapes} if then else set())
    pid = int(note.read_text("utf-8"))
    wait_until(lambda: gone(pid), seconds=10)


def test_a_module_of_the_working_directory_hides_no_installed_one(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (directory / "attrs.py").write_text("import os; os._exit(9)", "utf-8")
    monkeypatch.chdir(directory)
    assert find_deadly([write("import attrs")], timeout=20) == {}


def test_the_probe_keeps_deadly_plugins_out_of_the_process_that_loads(write: Write) -> None:
    candidates = [
        Candidate("deadly", write("import os; os._exit(1)"), "prover-deadly", "1"),
        *(candidate for candidate in plugins.installed() if candidate.name == "twap"),
    ]
    loaded = plugins.load(candidates, import_check=find_deadly)
    assert [bool(plugin.failure) for plugin in loaded.found] == [True, False]
    assert loaded.found[0].failure == "loading it ends the interpreter (exit status 1)"
    assert set(loaded.hooks) == {"twap"}
