"""Where commands find the service: in this process, with its database and queue, or at a URL.

Commands say what they want of `Operations`; that there are two kinds of these is known here alone.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click
from attrs import frozen

from prover_framework.cli.common import (
    NO_PLUGINS,
    require_namespace,
    require_stored,
    run,
    settings,
    telling_of_new,
)
from prover_framework.errors import GroupNotFound, SettingsError
from prover_framework.jobs.feed import EventFeed, Interest
from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.callers import Caller
from prover_framework.model.charts import GroupCharts
from prover_framework.model.listing import GroupPage, GroupQuery
from prover_framework.model.names import DEFAULT_NAMESPACE, group_id_of, group_key
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.views import GroupView
from prover_framework.model.workers import WorkersView
from prover_framework.operations import OfferedType, Operations
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import dump_receipt
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.settings import Settings
from prover_framework.urls import parse_http_url
from prover_framework.verification.checks import Report

if TYPE_CHECKING:
    from prover_framework.app import Runtime

T = TypeVar("T")

# How often a command that waits looks at the database. It is the only listener of its feed.
LOOK_SECONDS = 0.2

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
    return _key(chosen_namespace(), group_id)


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


@frozen
class LocalOperations:
    """See `Operations`; what is in this process does it.

    Args:
        runtime: The service.
        namespace: Of the groups; None for the usual one, and for all in lists.
    """

    runtime: "Runtime"
    namespace: str | None = None

    def key(self, group_id: str) -> str:
        """Return what a group is stored under.

        Raises:
            GroupNotFound: No group can have this id.
        """
        return _key(self.namespace, group_id)

    async def submit(self, body: bytes, *, priority: int = USUAL_PRIORITY) -> Accepted:
        """Submit a group, as the body of ``POST /api/job``; the same body again does no harm."""
        service = self.runtime.service
        caller = Caller(namespace=self.namespace or DEFAULT_NAMESPACE)
        acceptance = await service.submit(service.parse(body), caller, priority=priority)
        return Accepted(
            group_id_of(acceptance.group_id),
            tuple(f"{title}: {reason}" for title, reason in acceptance.unsent),
        )

    async def status(self, group_id: str, *, verbose: bool = False) -> GroupView:
        """Return a group with its jobs; with ``verbose`` all that is stored of them."""
        if verbose:
            return await self.runtime.service.verbose_status(self.key(group_id))
        return await self.runtime.service.status(self.key(group_id))

    async def changes(self, group_id: str) -> AsyncGenerator[None]:
        """Say, until it is closed, that something of a group may have changed; `status` says what.

        Raises:
            StoreError: The database cannot be read.
        """
        key = frozenset({self.key(group_id)})
        feed = EventFeed(self.runtime.database, poll_seconds=LOOK_SECONDS)
        try:
            async with feed.listen(Interest(groups=key, follows=key)) as news:
                async for _ in news:
                    yield
        finally:
            await feed.close()

    async def charts(self, group_id: str) -> GroupCharts:
        """Return what illustrates the results of a group, as their plugins describe it."""
        return await self.runtime.charts.document(self.key(group_id))

    async def find(self, query: GroupQuery) -> GroupPage:
        """Return a page of the groups that a query asks for."""
        return await self.runtime.service.find(attrs.evolve(query, namespace=self.namespace))

    async def act(
        self,
        action: Action,
        group_id: str,
        job_id: str | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> ActionReport:
        """Act on a group, or on one of its jobs."""
        return await self.runtime.service.actions.on_group(
            action, self.key(group_id), job_id, dry_run=dry_run, force=force
        )

    async def act_on_found(
        self, action: Action, query: GroupQuery, *, dry_run: bool = False, force: bool = False
    ) -> ActionReport:
        """Act on a page of what a query finds."""
        return await self.runtime.service.actions.on_found(
            action,
            attrs.evolve(query, namespace=self.namespace),
            dry_run=dry_run,
            force=force,
        )

    async def receipt(self, group_id: str, job_id: str | None = None) -> bytes:
        """Return the receipt of a group or of one of its jobs, as JSON."""
        receipts = self.runtime.receipts
        if job_id is not None:
            return dump_receipt(await receipts.of_proof(self.key(group_id), job_id))
        return dump_receipt(await receipts.of_group(self.key(group_id)))

    async def attachment(self, group_id: str, job_id: str, name: str) -> AsyncIterator[bytes]:
        """Read what is attached to a result, a piece at a time."""
        found = await self.runtime.receipts.attachment(self.key(group_id), job_id, name)
        async for chunk in found.chunks:
            yield chunk

    async def verify(self, receipt: bytes, trusted_hash: str | None = None) -> Report:
        """Verify a receipt with what the service has."""
        answer = await self.runtime.verification.verify(receipt, trusted_hash)
        return structure(parse_json(answer), Report)

    async def proof_types(self) -> tuple[OfferedType, ...]:
        """Return the proof types that can be asked for."""
        return tuple(
            OfferedType(
                name=one.name, title=one.title, required=one.required, parameters=one.parameters
            )
            for one in self.runtime.service.catalogue().proof_types
        )

    async def workers(self) -> WorkersView:
        """Return all workers, and the queues that are paused."""
        return await self.runtime.service.workers.all()

    async def pause(self, queue: str, reason: str = "") -> None:
        """Have no worker take jobs of a queue."""
        self.runtime.settings.require_queue(queue)
        await self.runtime.service.workers.pause(queue, reason)

    async def resume(self, queue: str) -> bool:
        """Have workers take jobs of a queue again; return whether it was paused."""
        return await self.runtime.service.workers.resume(queue)

    async def drain(self, worker: str) -> None:
        """Have a worker finish what it has, and end."""
        await self.runtime.service.workers.drain(worker)


@asynccontextmanager
async def open_operations(
    chosen: Settings, load: Callable[[], Plugins], namespace: str | None = None
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

        async with open_runtime(chosen, load()) as runtime:
            yield LocalOperations(runtime, namespace)
    else:
        try:
            from prover_framework.client import AsyncClient
        except ModuleNotFoundError as error:
            if error.name != "httpx":
                raise
            raise SettingsError(
                'a service at a URL needs httpx: pip install "prover-framework[client]"'
            ) from None
        async with AsyncClient(chosen.url, chosen.api_key, namespace=namespace) as client:
            yield client


def with_operations(
    load: Callable[[], Plugins],
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
    chosen, namespace = chosen_settings(), chosen_namespace()
    if chosen.url is None and not stores:
        require_stored(chosen)

    async def work() -> T:
        async with open_operations(chosen, load, namespace) as operations:
            return await use(operations)

    if chosen.url is not None:
        return run(work())
    with telling_of_new(chosen):
        return run(work())


def no_plugins() -> Plugins:
    """Load none: what reads waits for no plugin, and works where a plugin hangs."""
    return NO_PLUGINS


def installed_plugins() -> Plugins:
    """Load those that are installed."""
    from prover_framework.app import load_plugins

    return load_plugins(settings())


def _key(namespace: str | None, group_id: str) -> str:
    try:
        return group_key(namespace or DEFAULT_NAMESPACE, group_id)
    except ValueError:
        raise GroupNotFound(group_id) from None
