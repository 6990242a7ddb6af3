"""Put the parts together: the one place where database, queue and plugins are made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from prover_framework import plugins as plugin_loading
from prover_framework.chain.source import TAGS, HeaderSource
from prover_framework.errors import SettingsError
from prover_framework.jobs import RetryPolicy
from prover_framework.observers import Observers
from prover_framework.plugins import Plugins
from prover_framework.probe import find_deadly
from prover_framework.queues.base import DeadLetters, Queue
from prover_framework.queues.embedded import EmbeddedQueue
from prover_framework.queues.embedded_dead import EmbeddedDeadLetters
from prover_framework.receipts.desk import ReceiptDesk
from prover_framework.service import ProvingService
from prover_framework.settings import Settings
from prover_framework.store.database import Database
from prover_framework.store.headers import HeaderStore
from prover_framework.store.jobs import JobStore
from prover_framework.store.receipts import ReceiptStore

if TYPE_CHECKING:
    from prover_framework.chain.node import EthereumNode


@frozen
class Runtime:
    """Everything that API, worker and command line need, made once and handed down."""

    settings: Settings
    plugins: Plugins
    database: Database
    jobs: JobStore
    headers: HeaderStore
    queue: Queue
    service: ProvingService
    receipts: ReceiptDesk


def load_plugins(settings: Settings) -> Plugins:
    """Load the installed plugins as the settings say.

    Raises:
        PluginError: The settings are strict and a plugin cannot be used, or name one that is not
            installed.
    """
    return plugin_loading.load(
        plugin_loading.installed(),
        allow=settings.plugins,
        deny=settings.plugins_disabled,
        strict=settings.plugins_strict,
        trace=settings.plugin_trace,
        probe=find_deadly,
    )


def make_database(settings: Settings) -> Database:
    """Return the database that the settings name, yet to be opened."""
    return Database(settings.database_url or settings.sqlite_path.absolute())


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database and require that its schema is this version's.

    Raises:
        SchemaMismatch: It is not, and what to do; an empty embedded database gets its tables.
        StoreError: The database can not be used.
    """
    async with make_database(settings) as database:
        await database.require_schema()
        yield database


@asynccontextmanager
async def open_runtime(settings: Settings, plugins: Plugins) -> AsyncIterator[Runtime]:
    """Open all parts; close them in the reverse order when the body is left."""
    observers = Observers(plugins.observers)
    async with observers, open_database(settings) as database:
        jobs = JobStore(
            database,
            RetryPolicy(
                max_attempts=settings.max_attempts,
                max_losses=settings.max_losses,
                base_seconds=settings.retry_seconds,
            ),
            observers.tell if plugins.observers else None,
        )
        async with _open_queue(settings, database) as queue:
            headers = HeaderStore(database)
            service = ProvingService(plugins, jobs, queue)
            receipts = ReceiptDesk(settings, plugins, jobs, ReceiptStore(database), headers)
            try:
                yield Runtime(
                    settings=settings,
                    plugins=plugins,
                    database=database,
                    jobs=jobs,
                    headers=headers,
                    queue=queue,
                    service=service,
                    receipts=receipts,
                )
            finally:
                await service.close()
                await receipts.close()
                await jobs.drain()


@asynccontextmanager
async def open_node(settings: Settings, tag: str = TAGS[0]) -> AsyncIterator["EthereumNode"]:
    """Open the node of the settings, to fetch headers from.

    Args:
        settings: They name it.
        tag: Which of its blocks is the newest one.

    Raises:
        SettingsError: They do not.
        SourceError: It is no URL of a node.
    """
    if settings.rpc_url is None:
        raise SettingsError("no node to fetch headers from: name it by --rpc-url or PROVER_RPC_URL")
    # Imported where it is used: few processes need an HTTP client, RLP and keccak.
    from prover_framework.chain import node

    pace = node.Pace(batch=settings.rpc_batch, requests_per_second=settings.rpc_requests_per_second)
    async with node.open_node(settings.rpc_url, tag=tag, pace=pace) as source:
        yield source


@asynccontextmanager
async def open_indexer(
    settings: Settings, *, confirmations: int, light: bool
) -> AsyncIterator[HeaderSource]:
    """Open the indexer of the settings, to read headers from.

    Args:
        settings: They name it.
        confirmations: How many blocks have to follow one before it is taken.
        light: Take only what the base fee needs, which can not be verified.

    Raises:
        SettingsError: They do not.
        SourceError: It can not be used, and why.
    """
    if settings.indexer_url is None:
        raise SettingsError("no indexer: name it by --indexer-url or PROVER_INDEXER_URL")
    from prover_framework.chain import indexer

    async with indexer.open_indexer(
        settings.indexer_url, confirmations=confirmations, light=light
    ) as source:
        yield source


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """Open the dead letters of the queues, wherever these are."""
    if settings.queue_urls:
        from prover_framework.queues import sqs_dead

        async with sqs_dead.open_dead_letters(settings.queue_urls) as letters:
            yield letters
    else:
        async with open_database(settings) as database:
            yield EmbeddedDeadLetters(database)


@asynccontextmanager
async def _open_queue(settings: Settings, database: Database) -> AsyncIterator[Queue]:
    if settings.queue_urls:
        # Imported where it is used: AWS's library would double the memory of an embedded service.
        from prover_framework.queues.sqs import open_queue

        async with open_queue(settings.queue_urls) as queue:
            yield queue
    else:
        embedded = EmbeddedQueue(database)
        try:
            yield embedded
        finally:
            await embedded.close()
