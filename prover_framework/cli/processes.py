"""``prover up``, ``prover api`` and ``prover worker``: the processes of the service."""

import asyncio
import logging
from collections.abc import Callable

import attrs
import click

from prover_framework.api.server import serve
from prover_framework.cli.common import STOP_SIGNALS, run, settings, start_logging
from prover_framework.errors import ProverError
from prover_framework.model import DEFAULT_QUEUE
from prover_framework.receipts.keys import KeyDirectory
from prover_framework.runtime import Runtime, load_plugins, open_runtime
from prover_framework.settings import Settings
from prover_framework.worker import Worker

log = logging.getLogger(__name__)

_host = click.option("--host", help="Address to listen on; overrides PROVER_HOST.")
_port = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on, 0 for a free one; overrides PROVER_PORT.",
)
_queue = click.option(
    "--queue", default=DEFAULT_QUEUE, show_default=True, help="Name of the queue to serve."
)


@click.command()
@_host
@_port
@_queue
def up(host: str | None, port: int | None, queue: str) -> None:
    """Run API and worker together. Ctrl-C stops both and loses nothing."""
    _run(_chosen(host, port), api=True, queue=queue)


@click.command()
@_host
@_port
def api(host: str | None, port: int | None) -> None:
    """Run the HTTP API alone."""
    _run(_chosen(host, port), api=True, queue=None)


@click.command()
@_queue
def worker(queue: str) -> None:
    """Run a worker alone. Start as many as you like."""
    _run(settings(), api=False, queue=queue)


def _chosen(host: str | None, port: int | None) -> Settings:
    chosen = settings()
    return attrs.evolve(
        chosen,
        host=chosen.host if host is None else host,
        port=chosen.port if port is None else port,
    )


def _run(chosen: Settings, *, api: bool, queue: str | None) -> None:
    start_logging(chosen.log_level)
    run(_serve_until_signalled(chosen, api=api, queue=queue))


def _tell_signer(chosen: Settings) -> None:
    """Tell whether receipts will be signed.

    Raises:
        SettingsError: There is a key, and it can not be used.
    """
    signer = KeyDirectory(chosen.key_path).signer()
    if signer is None:
        log.info("receipts are not signed: there is no key in %s", chosen.key_path)
    else:
        log.info("receipts are signed by key %s", signer.key_id)


async def _serve_until_signalled(chosen: Settings, *, api: bool, queue: str | None) -> None:
    if queue is not None:
        chosen.require_queue(queue)
    async with open_runtime(chosen, load_plugins(chosen)) as runtime:
        _tell_signer(chosen)
        stopping = asyncio.Event()
        worker = _worker(runtime, queue) if queue is not None else None

        def stop() -> None:
            stopping.set()
            if worker:
                worker.stop()

        _on_signals(stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                if api:
                    tasks.create_task(
                        serve(
                            runtime.service,
                            chosen.host,
                            chosen.port,
                            stopping,
                            receipts=runtime.receipts,
                        )
                    )
                if worker:
                    tasks.create_task(worker.run())
        except* ProverError as group:
            # What can be explained is told in its own words, not as a group of one.
            raise group.exceptions[0] from None


def _worker(runtime: Runtime, queue: str) -> Worker:
    return Worker(
        runtime.settings,
        runtime.plugins,
        runtime.jobs,
        runtime.headers,
        runtime.queue,
        queue_name=queue,
        receipts=runtime.receipts,
    )


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)


COMMANDS = (up, api, worker)
