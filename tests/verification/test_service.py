"""Receipts are verified in processes that can be ended; the service goes on without one."""

import asyncio
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import psutil
import pytest
from attrs import frozen
from hostile_receipts import TRAP, sprung
from plugin_files import write_plugin

from prover_framework.errors import VerificationEnded, VerifierBusy, VerifierUnavailable
from prover_framework.model.findings import Outcome
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import dump_receipt
from prover_framework.settings import Settings
from prover_framework.testing import series_of
from prover_framework.testing.box import SETTINGS, Box, service_in_a_box
from prover_framework.verification.checks import CheckName
from prover_framework.verification.process import MEMORY_BYTES, NICENESS
from prover_framework.verification.service import VerificationService, read_report

PROCESS = "prover_framework.verification.process"

HANGS, IS_KILLED, WANTS_MEMORY, RAISES = 101, 102, 103, 104

# Longer than anything here takes.
PATIENCE_SECONDS = 60.0

# Long enough to start what a plugin is called in, on a busy machine.
SECONDS = 5.0


@frozen
class World:
    """A service that has made the receipt of a trap, with nothing in it yet."""

    settings: Settings
    plugins: Plugins
    receipt: bytes

    def run(
        self, use: Callable[[VerificationService], Coroutine[Any, Any, None]], **more: Any
    ) -> None:
        """Use a verification service with its settings, or others."""
        changes = {name: more.pop(name) for name in list(more) if hasattr(Settings, name)}
        settings = attrs.evolve(self.settings, **{"verify_seconds": SECONDS, **changes})

        async def work() -> None:
            service = VerificationService(settings, self.plugins, **more)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await use(service)
            finally:
                await service.close()
            assert not processes()

        asyncio.run(work())


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    directory = tmp_path_factory.mktemp("plugins")
    sys.path.insert(0, str(directory))
    name = write_plugin(directory, "trap", TRAP).module
    yield importlib.import_module(name)
    del sys.modules[name]
    sys.path.remove(str(directory))


@pytest.fixture(scope="module")
def world(trap: ModuleType) -> Iterator[World]:
    with service_in_a_box(trap, series=series_of([(50, 2), (70, 3)]), settings=SETTINGS) as box:
        yield _world(box)


def _world(box: Box) -> World:
    hours = {"start_timestamp": 0, "end_timestamp": 7200}
    box.submit({"job_group_id": "g", "trap": {**hours, "way": 0}})
    [receipt] = box.receipt("g").receipts
    runtime = box._runtime
    return World(runtime.settings, runtime.plugins, dump_receipt(receipt))


def processes(of: int | None = None) -> list[psutil.Process]:
    """Return the verification processes below a process, without their supervisors."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if PROCESS in process.cmdline() and process.ppid() not in (of, os.getpid()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def accepts(world: World, service: VerificationService) -> bool:
    return read_report(await service.verify(world.receipt)).accepted


def test_a_good_receipt_is_accepted_by_a_process_that_is_kept(world: World) -> None:
    async def use(service: VerificationService) -> None:
        assert not processes(), "none is started before it is needed"
        assert await accepts(world, service)
        [first] = processes()
        assert await accepts(world, service)
        assert processes() == [first]

    world.run(use)


def test_the_process_gives_way_to_jobs_and_has_limits(world: World) -> None:
    async def use(service: VerificationService) -> None:
        assert await accepts(world, service)
        [process] = processes()
        assert process.nice() == psutil.Process().nice() + NICENESS
        assert process.rlimit(resource.RLIMIT_DATA)[0] == MEMORY_BYTES

    world.run(use)


def test_it_is_told_no_more_than_it_needs_and_nobody_else_is_told(world: World) -> None:
    secret = "sqlite:///" + str(world.settings.sqlite_path.absolute())

    async def use(service: VerificationService) -> None:
        assert await accepts(world, service)
        for process in psutil.Process().children(recursive=True):
            shown = " ".join([*process.cmdline(), *process.environ().values()])
            assert secret not in shown
            assert "node-with-a-key" not in shown

    world.run(
        use, database_url=secret, rpc_url="https://node-with-a-key", sqs_queue_url="https://x"
    )


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (HANGS, r"was ended after 5 s, as long as one may take here \(PROVER_VERIFY_SECONDS\)"),
        (IS_KILLED, "took its process down: it was ended by SIGKILL"),
        (WANTS_MEMORY, "needed more memory than its limit of 2048 MiB"),
        (RAISES, "failed by an error of its own, which the log tells"),
    ],
)
def test_whatever_becomes_of_a_process_another_takes_its_place(
    world: World, way: int, said: str
) -> None:
    async def use(service: VerificationService) -> None:
        assert await accepts(world, service)
        [first] = processes()
        with pytest.raises(VerificationEnded, match=said):
            await service.verify(sprung(world.receipt, way))
        assert not first.is_running()
        assert await accepts(world, service)
        [second] = processes()
        assert second.pid != first.pid

    world.run(use)


def test_a_process_that_died_unused_is_replaced(world: World) -> None:
    async def use(service: VerificationService) -> None:
        assert await accepts(world, service)
        [first] = processes()
        first.kill()
        running = service._workers[0]._process
        assert running is not None
        await running.process.wait()
        assert await accepts(world, service)

    world.run(use)


def test_so_many_wait_and_no_more(world: World) -> None:
    async def use(service: VerificationService) -> None:
        hanging = asyncio.create_task(service.verify(sprung(world.receipt, HANGS)))
        waiting = asyncio.create_task(service.verify(world.receipt))
        await asyncio.sleep(0)
        with pytest.raises(VerifierBusy, match="try again in 5 s") as caught:
            await service.verify(world.receipt)
        assert caught.value.retry_seconds == SECONDS
        with pytest.raises(VerifierBusy):
            service.require_room()
        with pytest.raises(VerificationEnded):
            await hanging
        assert read_report(await waiting).accepted
        service.require_room()

    world.run(use, waiting=1)


def test_two_processes_verify_at_a_time(world: World) -> None:
    async def use(service: VerificationService) -> None:
        hanging = asyncio.create_task(service.verify(sprung(world.receipt, HANGS)))
        assert await accepts(world, service)
        assert not hanging.done()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

    world.run(use, waiting=0, verify_processes=2, verify_seconds=PATIENCE_SECONDS)


def test_whoever_gives_up_ends_the_work_and_leaves_the_place_to_others(world: World) -> None:
    async def use(service: VerificationService) -> None:
        assert await accepts(world, service)
        [first] = processes()
        hanging = asyncio.create_task(service.verify(sprung(world.receipt, HANGS)))
        waiting = asyncio.create_task(service.verify(world.receipt))
        await asyncio.sleep(0)
        waiting.cancel()
        hanging.cancel()
        await asyncio.gather(hanging, waiting, return_exceptions=True)
        assert not first.is_running()
        assert await accepts(world, service)

    world.run(use, verify_seconds=30.0)


def test_what_is_verified_with_may_be_away_for_a_while(world: World, tmp_path: Path) -> None:
    file = tmp_path / "prover.sqlite3"
    file.write_text("this is no database, but long enough to be taken for the head of one" * 99)

    async def use(service: VerificationService) -> None:
        with pytest.raises(VerifierUnavailable, match=r"cannot be verified now: .*not a database"):
            await service.verify(world.receipt)
        assert not processes()
        file.unlink()
        report = read_report(await service.verify(world.receipt))
        assert not report.accepted, "there are no headers in a new one"

    world.run(use, data_dir=tmp_path)


def test_the_operator_names_the_headers_and_the_trusted_block(world: World, tmp_path: Path) -> None:
    file = tmp_path / "headers.csv"
    lines = [
        f"{number},{time},25"
        for number, time in enumerate(range(1_699_999_200, 1_700_006_401, 1200))
    ]
    file.write_text("\n".join(["number,timestamp,base_fee_per_gas", *lines]))

    async def use(service: VerificationService) -> None:
        rows = {row.check: row for row in read_report(await service.verify(world.receipt)).checks}
        assert "headers.csv does not have it" in rows[CheckName.INPUT].reason
        assert rows[CheckName.CHAIN].asked
        assert rows[CheckName.CHAIN].outcome is Outcome.NOT_POSSIBLE

    world.run(use, verify_headers=str(file), trusted_hash="0x" + "ab" * 32)


def test_an_answer_is_bounded(world: World) -> None:
    """As many rows as can be, each as long as can be."""
    from hostile_receipts import group

    member = json.loads(world.receipt)
    member["seals"] = [{"kind": f"k{place}"} for place in range(16)]
    member["statement"]["method_version"] = "x" * 20_000
    crowd = {**group(), "receipts": [member] * 64}

    async def use(service: VerificationService) -> None:
        text = await service.verify(json.dumps(crowd).encode())
        assert not read_report(text).accepted
        assert len(text) < 2**19

    world.run(use, verify_seconds=30.0)


# A service that is killed while its verification process is busy.
KILLED = """
import asyncio, sys
from pathlib import Path
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.settings import Settings
from prover_framework.verification.service import VerificationService

async def main():
    module, data_dir, receipt = sys.argv[1:]
    plugins = load([Candidate(module, module, module, "")], strict=True)
    service = VerificationService(Settings(data_dir=Path(data_dir), verify_seconds=300.0), plugins)
    await service.verify(Path(receipt).read_bytes())

asyncio.run(main())
"""


def test_the_process_ends_with_the_service_even_if_that_is_killed(
    world: World, trap: ModuleType, tmp_path: Path
) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(sprung(world.receipt, HANGS))
    parent = subprocess.Popen(
        [sys.executable, "-c", KILLED, trap.__name__, str(world.settings.data_dir), str(receipt)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not (found := processes(parent.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.wait()
    for process in found:
        process.wait(PATIENCE_SECONDS)
