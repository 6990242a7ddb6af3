"""The two states of the project that are measured in one run: this one, and the baseline.

The baseline is the commit from which the performance of this project is counted. Its files are
taken out of the repository into a folder that git ignores, with a virtual environment of its own.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent

BASELINE = "4c37a01"

FOLDER = ROOT / ".baseline"

# Written last: an installation that was interrupted is begun again.
INSTALLED = ".installed"

PLUGINS = ("twap", "reserve_price", "max_return")


class NoBaseline(Exception):
    """The baseline cannot be had in this clone; the message says why and what to do."""


@frozen
class Checkout:
    """A state of the project that can be run.

    Args:
        name: What tables call it.
        root: Its files.
        bin: The folder of its interpreter and commands.
    """

    name: str
    root: Path
    bin: Path

    @property
    def prover(self) -> Path:
        """Its command line."""
        return self.bin / "prover"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.bin / "python"


def this() -> Checkout:
    """Return the state that these files are of."""
    return Checkout("now", ROOT, Path(sys.executable).parent)


def baseline() -> Checkout:
    """Return the baseline; the first call takes its files out and installs them, in minutes.

    Raises:
        NoBaseline: The repository does not hold its commit, or it cannot be installed.
    """
    root = FOLDER / BASELINE
    checkout = Checkout("baseline", root, root / ".venv" / "bin")
    if not (root / INSTALLED).exists():
        _take_out(root)
        _install(checkout)
        (root / INSTALLED).touch()
    return checkout


def commit() -> str:
    """Return this state's commit, with a mark where files differ from it."""
    try:
        return _git("describe", "--always", "--abbrev=7", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "no commit"


def _take_out(root: Path) -> None:
    try:
        _git("cat-file", "-e", f"{BASELINE}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        raise NoBaseline(_why_missing()) from None
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with subprocess.Popen(
        ["git", "-C", ROOT, "archive", BASELINE], stdout=subprocess.PIPE
    ) as archive:
        subprocess.run(["tar", "-x", "-C", root], stdin=archive.stdout, check=True)


def _why_missing() -> str:
    try:
        shallow = _git("rev-parse", "--is-shallow-repository") == "true"
    except (OSError, subprocess.CalledProcessError):
        return f"these files are no clone of the repository, which holds the baseline {BASELINE}"
    if shallow:
        return f"the clone is shallow and lacks the baseline {BASELINE}: git fetch --unshallow"
    return f"the repository lacks the baseline {BASELINE}: git fetch origin"


def _install(checkout: Checkout) -> None:
    print(f"The baseline {BASELINE} is installed once, in {checkout.root}.", file=sys.stderr)
    venv = checkout.bin.parent
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    projects = [".", *(f"plugins/{name}" for name in PLUGINS)]
    pip = [str(checkout.python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    editable = [part for project in projects for part in ("-e", project)]
    done = subprocess.run(
        [*pip, "install", "-c", "constraints.txt", *editable],
        cwd=checkout.root,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NoBaseline(f"the baseline {BASELINE} cannot be installed: {done.stderr.strip()}")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
