"""Pages of the documentation as sessions: what a page says to type is run, in its order.

The rules are in docs/how-to/write-documentation.md, for whoever writes a page.
"""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parents[2]

# The address of the API on all pages. A session has a free port in its place.
API = "127.0.0.1:3000"

# Longer than any page takes on a busy machine, and within the time limit of the test of one.
PAGE_SECONDS = 240.0

ELLIPSIS = "…"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_MARK = re.compile(r"^ *<!-- (?P<text>.+?) -->$")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

NOT_RUN = "not run: "
SESSION = "session: "

# What a session has of this machine's variables.
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

# Commands of the environment in which a session runs, and the functions behind them.
_COMMANDS = {
    "prover": "prover_framework.cli:main",
    "pip": "pip._internal.cli.main:main",
    "pytest": "pytest:console_main",
}

_FIRST_LINES = """\
set -eo pipefail
trap 'set +e; kill $(jobs -p) 2>/dev/null; wait' EXIT
"""


@frozen
class Block:
    """A fenced block of a page.

    Args:
        language: What stands behind the fence: ``sh``, ``json``, ``text``...
        text: What is in it, without the indentation of the fence.
        line: Number of the line with the fence.
        mark: The HTML comment directly above; empty where there is none.
    """

    language: str
    text: str
    line: int
    mark: str

    @property
    def reason_not_run(self) -> str | None:
        """Why the commands are not run; None where they are."""
        return self.mark.removeprefix(NOT_RUN) if self.mark.startswith(NOT_RUN) else None


@frozen
class Page:
    """A page, as its author wrote it."""

    name: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        """All fenced blocks, in their order."""
        return list(_blocks(self.text.splitlines()))

    @property
    def needs(self) -> frozenset[str]:
        """What the page says that its session has."""
        marks = (_MARK.match(line) for line in self.text.splitlines())
        return frozenset(
            mark["text"].removeprefix(SESSION)
            for mark in marks
            if mark and mark["text"].startswith(SESSION)
        )

    @property
    def commands(self) -> list[Block]:
        """The blocks of commands that are run."""
        return [b for b in self.blocks if b.language == "sh" and b.reason_not_run is None]

    @property
    def answers(self) -> list[tuple[Block, Block]]:
        """Blocks of commands that are run, each with the block that shows what it prints."""
        pairs = zip(self.blocks, self.blocks[1:], strict=False)
        run = self.commands
        return [(a, b) for a, b in pairs if a in run and b.language in ("json", "text")]


def pages() -> list[Page]:
    """Return the README and all pages of the documentation."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(str(file.relative_to(ROOT)), file.read_text()) for file in files]


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    mark = ""
    places = iter(enumerate(lines, start=1))
    for number, line in places:
        if found := _MARK.match(line):
            mark = found["text"]
        elif fence := _FENCE.match(line):
            indent = fence["indent"]
            inner: list[str] = []
            for _, text in places:
                if text == f"{indent}```":
                    break
                inner.append(text.removeprefix(indent))
            else:
                raise AssertionError(f"the block in line {number} does not end")
            yield Block(fence["language"], "".join(f"{t}\n" for t in inner), number, mark)
            mark = ""
        elif line:
            mark = ""


class SessionFailed(AssertionError):
    """A page does not do what it says; the message names its line."""


def run_page(
    page: Page,
    directory: Path,
    *,
    places: Mapping[str, str] | None = None,
) -> None:
    """Run a page's commands in one shell, and compare what they print with what the page shows.

    Args:
        page: The page.
        directory: An empty directory for the session: home, working directory, environment.
        places: Addresses that the page names, and where the session has them.

    Raises:
        SessionFailed: A command failed, or printed something else than the page shows.
    """
    work, home, printed = (directory / name for name in ("work", "home", "printed"))
    home.mkdir()
    printed.mkdir()
    port = _free_port()
    replaced = {API: f"127.0.0.1:{port}", **(places or {})}
    if "in a clone" in page.needs:
        _clone(work)
        # Scripts and examples of settings name the same addresses as the pages.
        for file in filter(Path.is_file, work.iterdir()):
            text = file.read_text()
            if (moved := _replace(text, replaced)) != text:
                file.write_text(moved)
        environment = work / ".venv"
    else:
        work.mkdir()
        environment = directory / "venv"
    _make_environment(environment)
    script = directory / "session.sh"
    script.write_text(_script(page, printed, replaced))
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = subprocess.Popen(
        ["bash", script],
        cwd=work,
        env={
            **kept,
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "PROVER_PORT": str(port),
            # The width of the terminal in which what the pages show was printed.
            "COLUMNS": "120",
            "AWS_EC2_METADATA_DISABLED": "true",
            # A session asks no package index: what it installs is here.
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            # pip reads this one the other way round: 0 switches the isolation off.
            "PIP_NO_BUILD_ISOLATION": "0",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        raise SessionFailed(
            f"{_last(page, printed)} has not ended after {PAGE_SECONDS:g} s"
        ) from None
    finally:
        # Whatever happens to the test, no server of a page outlives it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise SessionFailed(
            f"{_last(page, printed)} ended with status {process.returncode}\n{output}"
        )
    for command, shown in page.answers:
        text = _printed(printed, command, replaced)
        try:
            compare(shown, text)
        except AssertionError as error:
            raise SessionFailed(f"{page.name}:{shown.line}: {error}\n{text}") from None


def _script(page: Page, printed: Path, replaced: Mapping[str, str]) -> str:
    parts = [_FIRST_LINES]
    for block in page.commands:
        out = printed / str(block.line)
        commands = _replace(block.text, replaced)
        parts.append(f"{{\n{commands}}} >{out}.out 2>{out}.err\n")
    return "".join(parts)


def _replace(text: str, replaced: Mapping[str, str]) -> str:
    for said, real in replaced.items():
        text = text.replace(said, real)
    return text


def _last(page: Page, printed: Path) -> str:
    """Name the block that was run last, with all that it has printed."""
    lines = [block.line for block in page.commands]
    line = max(number for number in lines if (printed / f"{number}.err").exists())
    output = "".join((printed / f"{line}.{kind}").read_text() for kind in ("out", "err"))
    return f"{page.name}:{line}: the block of commands\n{output}"


def _printed(printed: Path, block: Block, replaced: Mapping[str, str]) -> str:
    text = (printed / f"{block.line}.out").read_text()
    for said, real in replaced.items():
        text = text.replace(real, said)
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _clone(target: Path) -> None:
    """Copy the files that a clone of the repository has."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _make_environment(directory: Path) -> None:
    """Make an environment that has what this one has; what is installed there stays there."""
    venv.create(directory, symlinks=True)
    base = {"base": str(directory), "platbase": str(directory)}
    inner = Path(sysconfig.get_path("purelib", vars=base))
    outer = sysconfig.get_path("purelib")
    (inner / "shared.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    for name, function in _COMMANDS.items():
        module, _, call = function.partition(":")
        program = directory / "bin" / name
        program.write_text(
            f"#!{directory}/bin/python\nimport sys\nfrom {module} import {call}\n"
            f"sys.argv[0] = {name!r}\nsys.exit({call}())\n"
        )
        program.chmod(0o755)
    # The makefile would install what is there already.
    for mark in (".run", ".dev"):
        (directory / mark).touch()


def compare(shown: Block, printed: str) -> None:
    """Compare what a page shows with what was printed.

    JSON is compared with the last line, field by field; text line by line, in order. An ellipsis
    stands for what differs from run to run, or is left out.

    Raises:
        AssertionError: They differ, and where.
    """
    if shown.language == "json":
        last = printed.strip().rpartition("\n")[2]
        try:
            real = json.loads(last)
        except ValueError:
            raise AssertionError(f"what was printed last is no JSON: {last!r}") from None
        compare_json(json.loads(shown.text), real, "$")
        return
    rest = [" ".join(line.split()) for line in printed.splitlines()]
    for line in filter(None, (" ".join(line.split()) for line in shown.text.splitlines())):
        place = next((i for i, real in enumerate(rest) if _fits(line, real)), None)
        assert place is not None, f"this line was not printed here: {line}"
        rest = rest[place + 1 :]


def compare_json(shown: Any, real: Any, where: str, *, values: bool = True) -> None:
    """Compare a value that a page shows with the real one.

    Args:
        shown: What the page shows.
        real: What there is.
        where: Where the two stand, for the message.
        values: Compare numbers and texts; otherwise their types alone, where there is one.

    Raises:
        AssertionError: They differ, and where.
    """
    if shown == ELLIPSIS:
        return
    match shown:
        case dict():
            assert isinstance(real, dict), f"{where} is {real!r}"
            keys = set(shown) - {ELLIPSIS}
            assert keys <= set(real), f"{where} has no {sorted(keys - set(real))}"
            more = sorted(set(real) - keys)
            assert ELLIPSIS in shown or not more, f"{where} has {more}, too"
            for key in keys:
                compare_json(shown[key], real[key], f"{where}.{key}", values=values)
        case list():
            assert isinstance(real, list), f"{where} is {real!r}"
            items = [item for item in shown if item != ELLIPSIS]
            more_items = len(items) < len(shown)
            assert len(items) == len(real) or (more_items and len(items) <= len(real)), (
                f"{where} has {len(real)} items"
            )
            for place, item in enumerate(items):
                compare_json(item, real[place], f"{where}[{place}]", values=values)
        case _ if not values:
            assert real is None or type(shown) is type(real), f"{where} is {real!r}"
        case str():
            assert isinstance(real, str), f"{where} is {real!r}"
            both_times = _TIME.fullmatch(shown) and _TIME.fullmatch(real)
            assert both_times or _fits(shown, real), f"{where} is {real!r}"
        case float():
            close = isinstance(real, float) and math.isclose(shown, real, rel_tol=1e-6)
            assert close, f"{where} is {real!r}"
        case _:
            assert shown == real, f"{where} is {real!r}"
            assert type(shown) is type(real), f"{where} is {real!r}"


def _fits(shown: str, real: str) -> bool:
    # A space beside an ellipsis may be left out with it.
    parts = (re.escape(part.strip()) for part in shown.split(ELLIPSIS))
    return re.fullmatch(r"\s*.*\s*".join(parts), real.strip(), re.DOTALL) is not None
