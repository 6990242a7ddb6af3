"""The installed plugins, as the settings say."""

import logging

from prover_framework.plugins import loading as plugin_loading
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.import_check import find_deadly
from prover_framework.settings import Settings
from prover_framework.variables import unowned

log = logging.getLogger(__name__)


def load_plugins(settings: Settings) -> Plugins:
    """Load the installed plugins as the settings say.

    Raises:
        PluginError: The settings are strict and a plugin cannot be used, or name one that is not
            installed.
    """
    plugins = plugin_loading.load(
        plugin_loading.installed(),
        allow=settings.plugins,
        deny=settings.plugins_disabled,
        strict=settings.plugins_strict,
        trace=settings.plugin_trace,
        import_check=find_deadly,
        attachment_bytes=settings.attachments_mb * 2**20,
    ).requiring(settings.required)
    if missing := sorted({*(settings.required or ())} - {*plugins.hooks}):
        # A worker need not have what others compute.
        log.warning(
            "PROVER_REQUIRED names %s: not installed here, so no group can be asked for it here",
            ", ".join(missing),
        )
    for each in unowned(settings.given_names, plugins.owners):
        log.warning("%s", each)
    return plugins
