"""How many processors this process may use: those of the machine, less what a container leaves it.

A limit on processors in a container is a share of time, not a set of them: the machine's number
would start more computations at a time than there is time for.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")

# The controller's directory in version 1 of control groups has one of these names.
V1_CONTROLLERS = ("cpu,cpuacct", "cpuacct,cpu", "cpu")


def usable_processors(root: Path = ROOT) -> int:
    """Return how many processors this process can keep busy, at least 1.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    return max(1, int(min([float(there), *quotas(root)])))


def quotas(root: Path = ROOT) -> Iterator[float]:
    """Yield the limits, in processors, of the control groups that this process is in.

    A group is limited by its own quota and by those of the groups above it. Where the system tells
    of none, as on other systems than Linux, there are none.
    """
    mounted = root / "sys" / "fs" / "cgroup"
    for line in _lines(root / "proc" / "self" / "cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            yield from _above(mounted, path, _v2)
        elif "cpu" in controllers.split(","):
            for name in V1_CONTROLLERS:
                yield from _above(mounted / name, path, _v1)


def _above(mounted: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the limits of a group and those above it; a container may see its own as the root."""
    below = PurePosixPath(path.lstrip("/"))
    for group in (below, *below.parents):
        if (limit := read(mounted / group)) is not None:
            yield limit


def _v2(group: Path) -> float | None:
    for line in _lines(group / "cpu.max"):
        quota, _, period = line.partition(" ")
        return _ratio(quota, period)
    return None


def _v1(group: Path) -> float | None:
    quota, period = (
        next(iter(_lines(group / f"cpu.cfs_{name}_us")), "") for name in ("quota", "period")
    )
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    # Without a limit the quota is "max", or -1.
    with suppress(ValueError):
        if int(quota) > 0 and int(period) > 0:
            return int(quota) / int(period)
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
