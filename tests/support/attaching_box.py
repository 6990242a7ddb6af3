"""A service in a box whose results have files attached."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attaching_plugin import ATTACHING_PLUGIN, READING_PLUGIN
from plugin_files import write_plugin

from prover_framework.model.views import GroupView
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins
from prover_framework.testing import Box
from prover_framework.testing.box import box_of


@contextmanager
def attaching_plugins(directory: Path) -> Iterator[Plugins]:
    """Load a plugin that attaches, and one that reads what it judges."""
    sys.path.insert(0, str(directory))
    try:
        sources = (("attaching", ATTACHING_PLUGIN), ("reading", READING_PLUGIN))
        yield load([write_plugin(directory, *source) for source in sources], strict=True)
    finally:
        sys.path.remove(str(directory))


@contextmanager
def attaching_box(directory: Path) -> Iterator[Box]:
    """Run a service with both."""
    with attaching_plugins(directory) as plugins, box_of(plugins) as box:
        yield box


def attach(
    box: Box, group: str, sizes: Mapping[str, int], *, name: str = "attaching", **more: str
) -> GroupView:
    """Have a result computed with files of some sizes."""
    return box.submit({"job_group_id": group, name: {"sizes": dict(sizes), **more}})
