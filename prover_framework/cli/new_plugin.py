"""``prover new-plugin``: a distribution with a proof type, to begin from."""

import re
import secrets
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from string import Template

import click
from attrs import frozen

from prover_framework.model.names import GROUP_ID_KEY
from prover_framework.receipts.evidence import EVIDENCE

CORE = "prover-framework"

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
NAME_RULE = (
    "lower-case letters and digits, with single '-' or '_' in between, and begin with a letter"
)

# The lines of the templates have room for this much.
MAX_NAME_LENGTH = 40

# The name is a field of the generated result, where these have another meaning or none.
TAKEN = frozenset({EVIDENCE, GROUP_ID_KEY, "occurred_hour", "self"})

TEMPLATES = files("prover_framework.cli") / "plugin_template"

# Which template makes which file; the paths have placeholders, too.
FILES = (
    ("pyproject.toml.template", "pyproject.toml"),
    ("README.md.template", "README.md"),
    ("module.py.template", "src/$module/__init__.py"),
    ("test_module.py.template", "tests/test_$name.py"),
)

# Tells type checkers that the package has types (PEP 561).
EMPTY_FILE = "src/$module/py.typed"


@frozen(kw_only=True)
class Names:
    """What a plugin is called in the places that need a name.

    Args:
        name: The proof type: the key in requests and results.
        title: What messages to people call it.
        distribution: What pip installs.
        module: What Python imports.
    """

    name: str
    title: str
    distribution: str
    module: str


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Directory to make. Default: the name of the distribution, here.",
)
def new_plugin(name: str, directory: Path | None) -> None:
    """Write a new proof type NAME as a distribution of its own.

    It is complete and tested: parameters and result as classes, hooks, tests with the conformance
    kit, README. It proves the highest hourly base fee until its one function is another one.

    \b
    Example:
      prover new-plugin highest-hour
    """  # noqa: D301 - click looks for the character itself
    names = names_for(name)
    target = directory or Path(names.distribution)
    write_plugin(names, target)
    click.echo(
        f"{target} has the proof type {names.name}. Next:\n"
        f"  cd {target}\n"
        f"  pip install -e '.[testing]'\n"
        f"  pytest\n"
        f"Then put your own formula into the function prove in src/{names.module}/__init__.py."
    )


def names_for(text: str) -> Names:
    """Derive all names of a plugin from the one that was asked for.

    Raises:
        click.BadParameter: It makes no such names.
    """
    name = text.replace("-", "_").removeprefix("prover_")
    if not NAME.fullmatch(text) or len(name) > MAX_NAME_LENGTH:
        raise _bad(f"{text!r} must be 1 to {MAX_NAME_LENGTH} {NAME_RULE}")
    if iskeyword(name):
        raise _bad(f"{text!r} is a keyword of Python, and the result's field could not be named so")
    if name in TAKEN:
        raise _bad(f"{text!r} has another meaning in requests or results")
    distribution = f"prover-{name.replace('_', '-')}"
    try:
        found = version(distribution)
    except PackageNotFoundError:
        return Names(
            name=name,
            title=" ".join(word.capitalize() for word in name.split("_")),
            distribution=distribution,
            module=f"prover_{name}",
        )
    raise _bad(f"{distribution} {found} is installed already: uninstall it or choose another name")


def write_plugin(names: Names, target: Path) -> None:
    """Write the files of a plugin into a directory that does not exist yet, all or none.

    Raises:
        click.BadParameter: The directory exists, or nothing can be made beside it.
        OSError: A file cannot be written; nothing is left of what was.
    """
    if target.exists() or target.is_symlink():
        raise click.BadParameter(f"{target} exists already", param_hint="--directory")
    if not target.parent.is_dir():
        raise click.BadParameter(
            f"{target.parent} is no directory to make {target.name} in", param_hint="--directory"
        )
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        for path, content in _contents(names):
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _contents(names: Names) -> list[tuple[str, str]]:
    values = {
        "name": names.name,
        "title": names.title,
        "distribution": names.distribution,
        "module": names.module,
        "framework_versions": _compatible(version(CORE)),
    }

    def filled(text: str) -> str:
        return Template(text).substitute(values)

    return [
        (filled(EMPTY_FILE), ""),
        *(
            (filled(path), filled((TEMPLATES / template).read_text(encoding="utf-8")))
            for template, path in FILES
        ),
    ]


def _compatible(installed: str) -> str:
    """Return the versions of the core that a plugin written for this one can expect to fit."""
    major, minor = map(int, installed.split(".")[:2])
    # Before 1.0 a minor version may change what plugins see, from then on only a major one.
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def _bad(why: str) -> click.BadParameter:
    return click.BadParameter(why, param_hint="NAME")


COMMANDS = (new_plugin,)
