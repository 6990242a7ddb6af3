"""Which code computed a result: the digest of a plugin's files, and versions of what it uses."""

import platform
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from prover_framework.errors import PluginError

DIGEST_DOMAIN = b"prover-framework/package/1\0"

FRAMEWORK = "prover-framework"

# What an installation, an interpreter or an editor leaves beside a package's own files.
NO_SOURCE = re.compile(r"__pycache__|.*\.(dist|egg)-info|.*\.py[co]|\..*|.*~")


def package_digest(module: str, *, whole: bool = True) -> bytes:
    """Return the digest of the files of the package that a module is in, 32 bytes.

    It is the SHA-256 of a domain tag and, for each file of the package in the order of their
    paths, the SHA-256 of its path below the package (with ``/``) and that of its content. Caches,
    hidden files and what an installer records do not count, so that an editable installation has
    the same digest as a wheel.

    Args:
        module: Import path of a module that can be imported.
        whole: Take the outermost package that it is in; else the innermost one.

    Raises:
        PluginError: The files cannot be read.
    """
    total = sha256(DIGEST_DOMAIN)
    try:
        for name, file in _files(module, whole=whole):
            total.update(sha256(name.encode()).digest())
            total.update(sha256(file.read_bytes()).digest())
    except OSError as error:
        raise PluginError(f"the files of {module} cannot be read: {error}") from None
    return total.digest()


def _files(module: str, *, whole: bool) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package that a module is in, and that is not a namespace for others."""
    parts = module.split(".")
    for depth in range(1 if whole else max(len(parts) - 1, 1), len(parts) + 1):
        source = getattr(import_module(".".join(parts[:depth])), "__file__", None)
        if source is not None:
            break
    else:
        raise PluginError(f"{module} has no file, so nobody can tell what its code is")
    file = Path(source)
    if file.stem != "__init__":
        yield file.name, file
        return
    package = file.parent
    found = {
        path.relative_to(package).as_posix(): path
        for path in package.rglob("*")
        if path.is_file()
        and not any(NO_SOURCE.fullmatch(part) for part in path.relative_to(package).parts)
    }
    yield from sorted(found.items())


def software_of(distribution: str | None = None) -> dict[str, str]:
    """Return the versions of Python, this framework, a plugin's distribution and what that needs.

    One that is not installed (a plugin that is run from a folder) is left out.
    """
    found = {"python": platform.python_version()}
    of_plugin = (distribution, *_requirements(distribution)) if distribution else ()
    for name in (FRAMEWORK, *of_plugin):
        try:
            found[_normal(name)] = version(name)
        except PackageNotFoundError:
            continue
    return found


def version_in(software: Mapping[str, str], distribution: str) -> str | None:
    """Return the version of a distribution in what `software_of` has returned somewhere."""
    return software.get(_normal(distribution))


def machine() -> str:
    """Return the kind of this machine, such as ``Linux x86_64``."""
    return f"{platform.system()} {platform.machine()}"


def _requirements(distribution: str) -> Iterator[str]:
    try:
        lines = requires(distribution) or ()
    except PackageNotFoundError:
        return
    for line in lines:
        requirement, _, marker = line.partition(";")
        if "extra" not in marker and (name := re.match(r"[A-Za-z0-9._-]+", requirement)):
            yield name[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
