"""Write down each call of a plugin's hook: which plugin, which hook, how long, what came of it.

Only what came of a call is told, in a short line: arguments and results can be of any size.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from prover_framework.logs import TRACE_LOGGER
from prover_framework.text import describe_error

log = logging.getLogger(TRACE_LOGGER)


def watch_calls(manager: pluggy.PluginManager, names: Mapping[str, str]) -> None:
    """Log the calls of all hooks of a plugin manager.

    Args:
        manager: The manager.
        names: What operators call its plugins, by the names that it has for them.
    """
    # Who asks for this wants to see it, whatever else is logged.
    log.setLevel(logging.INFO)
    begun = threading.local()

    def before(*_: object) -> None:
        begun.at = time.perf_counter()

    def after(
        outcome: "pluggy.Result[Any]",
        hook: str,
        methods: Sequence[pluggy.HookImpl],
        _: Mapping[str, Any],
    ) -> None:
        milliseconds = (time.perf_counter() - begun.at) * 1000
        for method in methods:
            log.info(
                "plugin %s: its hook %s %s after %.3f ms",
                names.get(method.plugin_name, method.plugin_name),
                hook,
                _told(outcome),
                milliseconds,
            )

    manager.add_hookcall_monitoring(before, after)


def _told(outcome: "pluggy.Result[Any]") -> str:
    if outcome.exception is not None:
        return f"raised {describe_error(outcome.exception)}"
    return f"returned {type(outcome.get_result()).__name__}"
