"""``prover new-plugin``: a distribution with a plugin of any kind, to begin from."""

import re
import secrets
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from keyword import iskeyword
from pathlib import Path
from string import Template
from types import MappingProxyType

import attrs
import click
from attrs import frozen

from prover_framework.inputs.builtin import MODULES
from prover_framework.model.names import GROUP_ID_KEY
from prover_framework.model.receipts import SIGNATURE
from prover_framework.receipts.evidence import EVIDENCE

CORE = "prover-framework"

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
NAME_RULE = (
    "lower-case letters and digits, with single '-' or '_' in between, and begin with a letter"
)

# The lines of the templates have room for this much.
MAX_NAME_LENGTH = 40

TEMPLATES = files("prover_framework.cli") / "plugin_template"

# What all kinds have in common: which template makes which file.
COMMON = (("pyproject.toml.template", "pyproject.toml"),)

# What each kind has in a folder of its own. The paths have placeholders, too.
OWN = (
    ("README.md.template", "README.md"),
    ("module.py.template", "src/$module/__init__.py"),
    ("test_module.py.template", "tests/test_$name.py"),
)

# Tells type checkers that the package has types (PEP 561).
EMPTY_FILE = "src/$module/py.typed"


@frozen(kw_only=True)
class PluginKind:
    """A kind of plugin that can be written.

    Args:
        folder: Where its templates are.
        description: What its distribution is, in one line.
        begin: What the author changes first.
        taken: Names that have another meaning for plugins of the kind.
    """

    folder: str
    description: str
    begin: str
    taken: frozenset[str] = frozenset()


PROOF_TYPE = PluginKind(
    folder="proof_type",
    description="Proof type for prover-framework: the highest hourly base fee of a range.",
    begin="put your own formula into the function prove",
    # The name is a field of the generated result, where these have another meaning or none.
    taken=frozenset({EVIDENCE, GROUP_ID_KEY, "occurred_hour", "self"}),
)

KINDS: Mapping[str, PluginKind] = MappingProxyType(
    {
        "proof-type": PROOF_TYPE,
        "input-kind": PluginKind(
            folder="input_kind",
            description="Kind of input for prover-framework: entries of a published table.",
            begin="read a format of your own in the function find",
            taken=frozenset(module.NAME for module in MODULES),
        ),
        "seal": PluginKind(
            folder="seal",
            description="Kind of seal for prover-framework: a code made with a shared key.",
            begin="make a seal of your own in the function code",
            taken=frozenset({SIGNATURE}),
        ),
        "composer": PluginKind(
            folder="composer",
            description="Composer for prover-framework: one table of a group's numbers.",
            begin="write a layout of your own in the function table",
        ),
        "observer": PluginKind(
            folder="observer",
            description="Observer for prover-framework: writes the end of each job to a file.",
            begin="do what you want to be done in the function write",
        ),
    }
)


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
    "--kind",
    type=click.Choice(list(KINDS)),
    default="proof-type",
    show_default=True,
    help="What the plugin brings.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Directory to make. Default: the name of the distribution, here.",
)
def new_plugin(name: str, kind: str, directory: Path | None) -> None:
    """Write a new plugin NAME as a distribution of its own.

    It is complete and tested: classes, hooks, tests with the conformance kit, README. A proof type
    proves the highest hourly base fee until its one function is another one; the other kinds, too,
    do something small that works.

    \b
    Examples:
      prover new-plugin highest-hour
      prover new-plugin ended-jobs --kind observer
    """  # noqa: D301 - click looks for the character itself
    chosen = KINDS[kind]
    names = names_for(name, chosen)
    target = directory or Path(names.distribution)
    write_plugin(names, target, chosen)
    click.echo(
        f"{target} has the {kind.replace('-', ' ')} {names.name}. Next:\n"
        f"  cd {target}\n"
        f"  pip install -e '.[testing]'\n"
        f"  pytest\n"
        f"Then {chosen.begin} in src/{names.module}/__init__.py."
    )


def names_for(text: str, kind: PluginKind = PROOF_TYPE) -> Names:
    """Derive all names of a plugin from the one that was asked for.

    Args:
        text: What was asked for.
        kind: What the plugin is to be.

    Raises:
        click.BadParameter: It makes no such names.
    """
    name = text.replace("-", "_").removeprefix("prover_")
    if not NAME.fullmatch(text) or len(name) > MAX_NAME_LENGTH:
        raise _bad(f"{text!r} must be 1 to {MAX_NAME_LENGTH} {NAME_RULE}")
    if iskeyword(name):
        raise _bad(f"{text!r} is a keyword of Python, and nothing there could be named so")
    if name in kind.taken:
        raise _bad(f"{text!r} has another meaning in the service")
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


def write_plugin(names: Names, target: Path, kind: PluginKind = PROOF_TYPE) -> None:
    """Write the files of a plugin into a directory that does not exist yet, all or none.

    Args:
        names: What it is called.
        target: The directory.
        kind: What it is.

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
        for path, content in _contents(names, kind):
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _contents(names: Names, kind: PluginKind) -> list[tuple[str, str]]:
    values = {
        **attrs.asdict(names),
        "variable": names.name.upper(),
        "description": kind.description,
        "framework_versions": _compatible(version(CORE)),
    }

    def filled(text: str) -> str:
        return Template(text).substitute(values)

    def read(template: Traversable) -> str:
        return filled(template.read_text(encoding="utf-8"))

    return [
        (filled(EMPTY_FILE), ""),
        *((filled(path), read(TEMPLATES / template)) for template, path in COMMON),
        *((filled(path), read(TEMPLATES / kind.folder / template)) for template, path in OWN),
    ]


def _compatible(installed: str) -> str:
    """Return the versions of the core that a plugin written for this one can expect to fit."""
    major, minor = map(int, installed.split(".")[:2])
    # Before 1.0 a minor version may change what plugins see, from then on only a major one.
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def _bad(why: str) -> click.BadParameter:
    return click.BadParameter(why, param_hint="NAME")


COMMANDS = (new_plugin,)
