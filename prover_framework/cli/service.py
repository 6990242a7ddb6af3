"""``prover up``, ``prover api`` and ``prover worker``: the processes of the service."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable

import attrs
import click

from prover_framework.app import make_worker, open_runtime
from prover_framework.cli.check import check_worker
from prover_framework.cli.common import run, settings, stop_signals
from prover_framework.cli.early import SIGNALLED
from prover_framework.errors import ProverError
from prover_framework.files import FOR_OTHERS
from prover_framework.log_context import logging_about
from prover_framework.logs import LogForm, start_logging
from prover_framework.model.names import DEFAULT_QUEUE
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.loading import load_plugins
from prover_framework.sandbox.protection import protect_service, scrub_environment
from prover_framework.seals.keys import KeyDirectory
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings, plugin_variables_in, secret_variables
from prover_framework.systemd import Systemd, alive
from prover_framework.web.connections import ConnectionLimits
from prover_framework.web.descriptors import connections_within, raise_descriptor_limit
from prover_framework.web.server import Exposure, serve, serve_monitoring
from prover_framework.worker.worker import GIVE_UP_SECONDS, Worker

log = logging.getLogger(__name__)

# One Ctrl-C can arrive twice, from the terminal and from a program that has started this one. A
# second one comes later.
TWICE_SECONDS = 0.5

_host = click.option("--host", help="Address to listen on; overrides PROVER_HOST.")
_port = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on, 0 for a free one; overrides PROVER_PORT.",
)
_open = click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Let everybody use the API who can reach it; overrides PROVER_OPEN.",
)
_queue = click.option(
    "--queue", default=DEFAULT_QUEUE, show_default=True, help="Name of the queue to serve."
)


@click.command()
@_host
@_port
@_open
@_queue
def up(host: str | None, port: int | None, queue: str, *, is_open: bool) -> None:
    """Run API and worker together. Ctrl-C stops both and loses nothing."""
    _run(_chosen(host, port, is_open=is_open), api=True, queue=queue)


@click.command()
@_host
@_port
@_open
def api(host: str | None, port: int | None, *, is_open: bool) -> None:
    """Run the HTTP API alone."""
    _run(_chosen(host, port, is_open=is_open), api=True, queue=None)


@click.group(invoke_without_command=True)
@_queue
@click.pass_context
def worker(context: click.Context, queue: str) -> None:
    """Run a worker alone. Start as many as you like."""
    if context.invoked_subcommand is None:
        _run(settings(), api=False, queue=queue)


worker.add_command(check_worker)


def _chosen(host: str | None, port: int | None, *, is_open: bool) -> Settings:
    chosen = settings()
    return attrs.evolve(
        chosen,
        host=chosen.host if host is None else host,
        port=chosen.port if port is None else port,
        is_open=is_open or chosen.is_open,
    )


def _run(chosen: Settings, *, api: bool, queue: str | None) -> None:
    start_logging(chosen.log_level, LogForm(chosen.log_format))
    # Plugins are imported after this.
    scrub_environment((*secret_variables(), *plugin_variables_in(os.environ)))
    descriptors = raise_descriptor_limit()
    limits = ConnectionLimits(connections=connections_within(chosen, descriptors))
    if api and limits.connections < chosen.max_connections:
        log.warning(
            "the API keeps %d connections open, not %d: this process may open %d files",
            limits.connections,
            chosen.max_connections,
            descriptors,
        )
    run(_serve_until_signalled(chosen, limits if api else None, queue=queue))


def _tell_signer(chosen: Settings) -> None:
    """Tell whether receipts will be signed.

    Raises:
        NotSigned: There is a key, or must be one, and it cannot be used.
    """
    keys = KeyDirectory(chosen.key_path)
    signer = SignatureMaker(keys, required=chosen.require_signature).signer()
    if signer is None:
        log.info("receipts are not signed: there is no key in %s", chosen.key_path)
    else:
        log.info("receipts are signed by key %s", signer.key_id)


def _tell_data(chosen: Settings, database: str) -> None:
    """Tell where everything is: a default directory depends on where the command was started."""
    log.info("data directory %s, database %s", chosen.data_dir.absolute(), database)


def _tell_plugins(plugins: Plugins) -> None:
    """Tell which plugins were found and cannot be used, and why."""
    for plugin in plugins.found:
        if plugin.failure is not None:
            name = plugin.candidate.name
            with logging_about(plugin=name):
                log.warning("plugin %s is not used: %s", name, plugin.failure)


def _tell_exposure(chosen: Settings) -> None:
    """Tell whether others can read the embedded database, as one that was made before may be."""
    file = chosen.sqlite_path
    if chosen.database_url is None and (mode := file.stat().st_mode & FOR_OTHERS):
        log.warning(
            'the database %s is open to others (mode %03o): "chmod 600 %s*" closes it',
            file,
            0o600 | mode,
            file,
        )


async def _serve_until_signalled(
    chosen: Settings, limits: ConnectionLimits | None, *, queue: str | None
) -> None:
    """Run the API, if there are limits for it, and a worker, if there is a queue for it."""
    if queue is not None:
        chosen.require_queue(queue)
    plugins = load_plugins(chosen)
    _tell_plugins(plugins)
    systemd = Systemd.of(os.environ)
    async with open_runtime(chosen, plugins) as runtime:
        _tell_data(chosen, runtime.database.name)
        _tell_signer(chosen)
        _tell_exposure(chosen)
        protect_service()
        stopping = asyncio.Event()
        worker = make_worker(runtime, queue) if queue is not None else None

        def stop() -> None:
            log.info("stopping; a second Ctrl-C ends everything at once")
            systemd.stopping()
            stopping.set()
            if worker:
                worker.stop()
            # Nobody waits for a database that is silent beyond what was promised.
            asyncio.get_running_loop().call_later(
                chosen.stop_seconds + GIVE_UP_SECONDS, runtime.database.give_up
            )

        _on_signals(stop)
        _settle_memory()
        exposure = Exposure(is_open=chosen.is_open, allowed_hosts=chosen.allowed_hosts)
        try:
            async with alive(systemd), asyncio.TaskGroup() as tasks:
                if limits:
                    tasks.create_task(
                        serve(
                            runtime.service,
                            chosen.host,
                            chosen.port,
                            stopping,
                            lambda _: systemd.ready(),
                            receipts=runtime.receipts,
                            callers=runtime.callers,
                            exposure=exposure,
                            limits=limits,
                            verification=runtime.verification,
                            monitoring=runtime.monitoring,
                            charts=runtime.charts,
                            pages=runtime.pages,
                            feed=runtime.feed,
                            access_log=chosen.access_log,
                        )
                    )
                elif chosen.monitoring_port is not None:
                    tasks.create_task(
                        serve_monitoring(
                            runtime.monitoring,
                            chosen.monitoring_host,
                            chosen.monitoring_port,
                            stopping,
                            exposure=exposure,
                        )
                    )
                if worker:
                    tasks.create_task(_run_worker(worker, None if limits else stopping))
                if limits is None:
                    systemd.ready()
        except ExceptionGroup as group:
            # What can be explained is told in its own words, not as a group of one. (An error that
            # is raised in an except* of Python 3.11.2 comes out in a group again.)
            explained = group.subgroup(ProverError)
            if explained is None:
                raise
            raise explained.exceptions[0] from None


def _settle_memory() -> None:
    """Let the collector pass over what was made by now and stays: modules, classes, plugins.

    To look through all of it takes some tens of milliseconds, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


async def _run_worker(worker: Worker, stopping: asyncio.Event | None) -> None:
    """Run a worker; where the process is there for nothing else, let it end with the worker."""
    await worker.run()
    if stopping is not None:
        stopping.set()


def _on_signals(stop: Callable[[], None]) -> None:
    """Stop at the first signal; end at once at a second Ctrl-C."""
    loop = asyncio.get_running_loop()
    stopped_at: float | None = None

    def signalled(number: signal.Signals) -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = loop.time()
            stop()
        elif number is signal.SIGINT and loop.time() - stopped_at >= TWICE_SECONDS:
            log.warning("ended at once: other workers take over its jobs when their leases expire")
            logging.shutdown()
            # Nothing has to be written: supervisors end what they keep when this process ends.
            os._exit(SIGNALLED + signal.SIGINT)

    for number in stop_signals():
        loop.add_signal_handler(number, signalled, number)


COMMANDS = (up, api, worker)
