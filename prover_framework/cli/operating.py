"""Where commands find the service: in this process, with its database and queue, or at a URL.

Commands say what they want of `Operations`; that there are two kinds of these is known here alone.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from prover_framework.cli.common import (
    require_namespace,
    require_stored,
    run,
    settings,
    stored_key,
    telling_of_new,
)
from prover_framework.errors import SettingsError
from prover_framework.operations import Operations, Reading
from prover_framework.settings import Settings
from prover_framework.urls import parse_http_url

if TYPE_CHECKING:
    from prover_framework.plugins.registry import Plugins

T = TypeVar("T")

_URL = "prover_framework.url"
_NAMESPACE = "prover_framework.namespace"


def _note_url(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.meta[_URL] = value
    return value


url_option = click.option(
    "--url",
    expose_value=False,
    is_eager=True,
    callback=_note_url,
    help="URL of a service, instead of this machine's; overrides PROVER_URL. PROVER_API_KEY is its "
    "key.",
)


def _note_namespace(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.meta[_NAMESPACE] = require_namespace(value)
    return value


namespace_option = click.option(
    "--namespace",
    expose_value=False,
    callback=_note_namespace,
    help="Namespace of the groups that it is about, as API keys have one. Default: that of "
    "requests without a key, or of PROVER_API_KEY; lists have all that can be seen.",
)


def chosen_namespace() -> str | None:
    """Return the namespace that the command was given; None for the usual one."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get(_NAMESPACE)


def stored_group(group_id: str) -> str:
    """Return what a group of the chosen namespace is stored under.

    Raises:
        GroupNotFound: No group can have this id.
    """
    return stored_key(chosen_namespace(), group_id)


def chosen_settings() -> Settings:
    """Return the settings, with the URL that the command was given.

    Raises:
        SettingsError: They are wrong.
    """
    chosen = settings()
    ctx = click.get_current_context(silent=True)
    url = None if ctx is None else ctx.meta.get(_URL)
    return chosen if url is None else attrs.evolve(chosen, url=read_url(url))


def note_url_in(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Note the URL of a command line that is still to be read, for options that depend on it."""
    for place, argument in enumerate(arguments):
        if argument.startswith("--url="):
            ctx.meta[_URL] = argument.removeprefix("--url=")
        elif argument == "--url" and place + 1 < len(arguments):
            ctx.meta[_URL] = arguments[place + 1]


def read_url(text: str) -> str:
    """Return a URL of a service.

    Raises:
        BadParameter: It is none.
    """
    try:
        parse_http_url(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    return text


@asynccontextmanager
async def open_operations(
    chosen: Settings, load: Callable[[], "Plugins"], namespace: str | None = None
) -> AsyncIterator[Operations]:
    """Open the service that the settings name.

    Args:
        chosen: The settings.
        load: Loads the plugins that are needed where it is in this process.
        namespace: Of the groups that it is about; None for the usual one.
    """
    if chosen.url is None:
        # Imported where it is used: help, and a service at a URL, do without its parts.
        from prover_framework.app import open_runtime
        from prover_framework.cli.local import LocalOperations

        async with open_runtime(chosen, load()) as runtime:
            yield LocalOperations(runtime, namespace)
    else:
        async with _open_client(chosen.url, chosen.api_key, namespace) as client:
            yield client


@asynccontextmanager
async def open_reading(chosen: Settings, namespace: str | None = None) -> AsyncIterator[Reading]:
    """Open no more of the service that the settings name than who reads needs.

    It waits for no plugin, and works where one hangs.

    Args:
        chosen: The settings.
        namespace: Of the groups that it is about; None for the usual one.
    """
    if chosen.url is None:
        # Imported where it is used, as above.
        from prover_framework.cli.local import open_local_reading

        async with open_local_reading(chosen, namespace) as reading:
            yield reading
    else:
        async with _open_client(chosen.url, chosen.api_key, namespace) as client:
            yield client


def _open_client(
    url: str, api_key: str | None, namespace: str | None
) -> AbstractAsyncContextManager[Operations]:
    try:
        from prover_framework.client import AsyncClient
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise SettingsError(
            'a service at a URL needs httpx: pip install "prover-framework[client]"'
        ) from None
    return AsyncClient(url, api_key, namespace=namespace)


def with_operations(
    load: Callable[[], "Plugins"],
    use: Callable[[Operations], Coroutine[Any, Any, T]],
    *,
    stores: bool = False,
) -> T:
    """Run asynchronous work with the service open that the command is for.

    Args:
        load: Loads the plugins that are needed where it is in this process.
        use: The work.
        stores: Whether it may begin a database; who only reads is told that there is none.

    Raises:
        SettingsError: There is no database, and the work does not begin one.
    """
    chosen, namespace = _of_command(stores=stores)

    async def work() -> T:
        async with open_operations(chosen, load, namespace) as operations:
            return await use(operations)

    if chosen.url is not None:
        return run(work())
    with telling_of_new(chosen):
        return run(work())


def with_reading(use: Callable[[Reading], Coroutine[Any, Any, T]]) -> T:
    """Run asynchronous work that needs only what is stored by the service of the command.

    Raises:
        SettingsError: There is no database.
    """
    chosen, namespace = _of_command(stores=False)

    async def work() -> T:
        async with open_reading(chosen, namespace) as reading:
            return await use(reading)

    return run(work())


def _of_command(*, stores: bool) -> tuple[Settings, str | None]:
    chosen = chosen_settings()
    if chosen.url is None and not stores:
        require_stored(chosen)
    return chosen, chosen_namespace()


def installed_plugins() -> "Plugins":
    """Load those that are installed."""
    from prover_framework.sandbox.loading import load_plugins

    return load_plugins(settings())
