"""Call a hook under watch: what a plugin touches beside its arguments is written down.

Run as a program, this reads a call from its standard input, imports the plugin, calls its hooks
and writes an account of it. Python tells of every file that is opened,
every socket and every process by its audit events
(https://docs.python.org/3/library/audit_events.html); what a library does in C goes unseen.
"""

import json
import os
import subprocess
import sys
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, define, frozen

from prover_framework.model.proofs import JobRequest
from prover_framework.model.work import Work
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.hooks import COMPUTE, HOOKS
from prover_framework.sandbox.process import ONE_THREAD, PASSED_VARIABLES
from prover_framework.sandbox.protocol import HookCall, dump_call, parse_call
from prover_framework.serialization.converter import structure, unstructure, unstructure_object
from prover_framework.serialization.json_text import parse_json

# What a pure computation has no business with, by the beginnings of the events' names.
FORBIDDEN = (
    "fcntl.flock",
    "fcntl.lockf",
    "os.chdir",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "os.utime",
    "pty.spawn",
    "socket.",
    "sqlite3.connect",
    "subprocess.Popen",
    "syslog.",
)

READING = ("os.listdir", "os.scandir")

WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC

# Where a check attaches what it makes again, in the place of the computation.
AGAIN = ".again"

# A plugin that opens files by the thousand is as guilty after a few.
MAX_NOTES = 10


@frozen(kw_only=True)
class Account:
    """What came of a call under watch.

    Args:
        result: JSON form of what the hook returned.
        touched: What was touched and when, as sentences; the first few.
    """

    result: dict[str, Any]
    touched: tuple[str, ...]


def call_watched(call: HookCall, *, seconds: float, directory: Path) -> Account:
    """Have a hook called under watch, in a process of its own.

    With `compute`, the hooks that are called before it and after it are called, too.

    The process has another working directory, time zone and hash seed than any other, so that a
    result that depends on one of them is another result.

    Args:
        call: The call.
        seconds: How long it may take; for `compute` twice what the limit is at the least.
        directory: An empty directory to work in.

    Raises:
        subprocess.CalledProcessError: It failed; its ``stderr`` says why.
        subprocess.TimeoutExpired: It took too long.
    """
    # As a file: as a module of its package it would load the whole kit first.
    done = subprocess.run(  # noqa: S603 - the interpreter that runs this, and this file
        [sys.executable, "-P", __file__],
        input=dump_call(call).decode(),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds,
        cwd=directory,
        env={
            **{name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ},
            **ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p),  # noqa: PTH100
            "PYTHONHASHSEED": "1559",
            "TZ": "Asia/Kathmandu",
        },
    )
    # The plugin may print, too; the account comes last.
    return structure(parse_json(done.stdout.splitlines()[-1].encode()), Account)


@define
class _Watch:
    """Writes down the events that a pure plugin does not cause."""

    during: str
    plugin: Path
    code: tuple[Path, ...]
    libraries: tuple[Path, ...]
    # Where attachments are written.
    places: tuple[Path, ...]
    notes: list[str] = Factory(list)

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take an audit event. Whatever this raised would be raised in the plugin."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, (str, bytes)):
                return
            place = Path(os.fsdecode(path)).absolute()
            if place == Path(os.devnull) or self._is_within(place, self.places):
                return
            if isinstance(flags, int) and flags & WRITING:
                self._write_down(f"opened {place} for writing")
            elif not self._is_code(place):
                self._write_down(f"read {place}")
        elif event in READING:
            path = arguments[0]
            place = Path(os.fsdecode(path) if isinstance(path, (str, bytes)) else ".").absolute()
            if not self._is_within(place, (*self.code, *self.libraries, self.plugin)):
                self._write_down(f"listed {place}")
        elif event.startswith(FORBIDDEN):
            shown = ", ".join(ascii(argument) for argument in arguments)
            self._write_down(f"did {event}({shown[:200]})")

    def _write_down(self, what: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{self.during} {what}")

    def _is_code(self, place: Path) -> bool:
        """Tell whether reading a file is importing, or reading what a package brings along."""
        if self._is_within(place, (*self.libraries, self.plugin)):
            return True
        return place.name.endswith(tuple(all_suffixes())) and self._is_within(place, self.code)

    @staticmethod
    def _is_within(place: Path, roots: tuple[Path, ...]) -> bool:
        return any(place.is_relative_to(root) for root in roots)


def main() -> None:
    """Make one call under watch and write the account."""
    call = parse_call(sys.stdin.buffer.read())
    # Writing down what was compiled is Python's doing, not the plugin's.
    sys.dont_write_bytecode = True
    watch = _Watch(
        during="its import",
        plugin=_package_of(call.module),
        code=tuple(Path(entry).absolute() for entry in sys.path if entry),
        libraries=(Path(sys.prefix), Path(sys.base_prefix)),
        places=() if call.place is None else (Path(call.place.directory),),
    )
    sys.addaudithook(watch.note)
    plugins = load([Candidate(call.module, call.module, call.module, "")], strict=True)
    account = Account(result=_call_hooks(plugins, call, watch), touched=tuple(watch.notes))
    print(f"\n{json.dumps(unstructure(account))}")


def _call_hooks(plugins: Plugins, call: HookCall, watch: _Watch) -> dict[str, Any]:
    if call.hook == COMPUTE.name:
        return _compute(plugins, call, watch)
    watch.during = f"its hook {call.hook}"
    result = HOOKS[call.hook].perform(call.arguments, plugins, Work())
    watch.during = "afterwards it"
    return result


def _compute(plugins: Plugins, call: HookCall, watch: _Watch) -> dict[str, Any]:
    """Compute, after what is asked before and with what is asked afterwards."""
    (proof,) = plugins.hooks.values()
    arguments: dict[str, Any] = COMPUTE.read(call.arguments, plugins)
    parameters = arguments["parameters"]
    watch.during = "its hook validate"
    proof.validate(parameters)
    watch.during = "its hook inputs"
    proof.inputs(parameters)
    watch.during = "its hook dispatch"
    proof.dispatch(JobRequest(proof.proof_type.name, parameters))
    work = Work(place=call.place)
    watch.during = "its hook compute"
    result = proof.compute(**arguments, work=work)
    work.close()
    watch.during = "its hook verify"
    proof.verify(claimed=result, **arguments, work=_checking(call, work))
    watch.during = "afterwards it"
    return unstructure_object(result)


def _checking(call: HookCall, work: Work) -> Work:
    """Return what a check is given: it finds what the computation has attached."""
    if call.place is None:
        return Work()
    directory = str(Path(call.place.directory) / AGAIN)
    claimed = {name: str(path) for name, path in work.attached.items()}
    return Work(place=attrs.evolve(call.place, directory=directory, claimed=claimed))


def _package_of(module: str) -> Path:
    """Return the directory of a module's package, or the file of a module that is none."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    origin = Path(spec.origin).absolute()
    return origin.parent if spec.submodule_search_locations else origin


if __name__ == "__main__":
    main()
